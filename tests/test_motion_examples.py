"""The examples in the docstrings of the motion room run and say what they say."""

import doctest
import importlib
import pkgutil

import hftrainer.motion


def test_examples_run():
    names = [info.name for info in pkgutil.walk_packages(hftrainer.motion.__path__, "hftrainer.motion.")]
    attempted, failed = 0, []
    for name in [*names, "hftrainer.bench"]:
        result = doctest.testmod(importlib.import_module(name))
        attempted += result.attempted
        failed += [name] * bool(result.failed)
    assert attempted > 60 and not failed, f"{failed}, {attempted} lines"
