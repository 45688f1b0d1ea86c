"""Write the tables of the pages from the JSON in ``results/``, between marks.

    python tools/tables.py           # writes
    python tools/tables.py --check   # exit status 1 if a page's table is not that of its JSON

``hftrainer leaderboard results/ --into PAGE`` does the same for one page. What a mark is and which tables there are
stands in ``hftrainer/evaluation/tables.py``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from hftrainer.evaluation.tables import write_tables  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description="tables of the pages")
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if a table is old")
    check = parser.parse_args().check
    old = write_tables([ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))], ROOT / "results", check)
    print("\n".join(f"{'old' if check else 'written'}: {page.name}" for page in old) or "all tables are as results say")
    return 1 if check and old else 0


if __name__ == "__main__":
    sys.exit(main())
