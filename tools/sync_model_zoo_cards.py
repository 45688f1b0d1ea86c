"""Cards of the model zoo from docs/model_zoo: ``hftrainer cards`` by the name that the cards give it.

    python tools/sync_model_zoo_cards.py [--check] [--remote] [--write-local] [--push] [--only SLUG_OR_REPO]
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from hftrainer.cli import main  # noqa: E402

if __name__ == "__main__":
    raise SystemExit(main(["cards", "--root", str(ROOT), *sys.argv[1:]]))
