"""The examples in the docstrings of the motion room run and say what they say."""

import doctest
import importlib
import pkgutil

import hftrainer.bench
import hftrainer.motion


def test_examples_run():
    names = [info.name for room in (hftrainer.motion, hftrainer.bench)
             for info in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")]  # fmt: skip
    attempted, failed = 0, []
    for name in names:
        result = doctest.testmod(importlib.import_module(name))
        attempted += result.attempted
        failed += [name] * bool(result.failed)
    assert attempted > 60 and not failed, f"{failed}, {attempted} lines"
