"""``python -m tests.guided KIND [OPTION …]``: spoiled motion files, led by which lines of a reader each one reaches.

Takes the package atheris (Linux) and passes options on to libFuzzer, ``-max_total_time=60`` for instance. Inputs that
reach new lines are kept in ``.fuzz/KIND`` and begin the next run; a file that breaks the law of ``tests.test_fuzz`` is
written as ``crash-…``: mend the reader, and keep the file as ``tests/fuzz/motion-NAME.KIND``.
"""

import importlib
import pkgutil
import sys
import tempfile
from pathlib import Path

KINDS = (".npz", ".npy", ".bvh", ".csv", ".trc", ".c3d", ".amc", ".asf")
#: Longer inputs find nothing more and take longer.
LONGEST = 1 << 16


def main() -> int:
    """Fuzz one kind until it breaks or time is up."""
    if len(sys.argv) < 2 or sys.argv[1] not in KINDS:
        print(f"KIND must be one of {', '.join(KINDS)}.", file=sys.stderr)
        return 2
    import atheris  # the tests are collected without it

    kind = sys.argv.pop(1)
    with atheris.instrument_imports(include=["hftrainer.motion.files"]):
        import hftrainer.motion.files as readers

        for module in pkgutil.iter_modules(readers.__path__):
            importlib.import_module(f"hftrainer.motion.files.{module.name}")
    from tests import fuzzing
    from tests.conftest import ROOT
    from tests.test_fuzz import survives

    kept = ROOT / ".fuzz" / kind
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        seeds = fuzzing.seeds(folder)
        first = [*seeds[kind], *(file.read_bytes() for file in (ROOT / "tests" / "fuzz").glob(f"motion-*{kind}"))]
        for number, data in enumerate(first):
            (kept / f"seed-{number}").write_bytes(data)

        def one(data: bytes) -> None:
            file = folder / f"case{kind}"
            file.write_bytes(data)
            survives(file, seeds)

        atheris.Setup([*sys.argv, f"-max_len={LONGEST}", f"-artifact_prefix={ROOT / '.fuzz'}/", str(kept)], one)
        atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
