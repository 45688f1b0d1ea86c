"""What a minute of six figures costs in the player, in a real browser, and how large its page is.

    python tools/player_speed.py [-o results/player.json]    # needs what tests/test_player_browser.py needs

Told is the time of the page's own thread for a picture: poses, camera, what the graphics card is asked to do. What the
card then takes is another matter: a headless Chromium has none and draws by the processor. The exit status is 1 when a
bar does not hold.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from hftrainer.motion import Motion  # noqa: E402
from hftrainer.motion.files.atomic import written_whole  # noqa: E402
from hftrainer.rendering.player import write_player  # noqa: E402
from hftrainer.rendering.speed import marching  # noqa: E402
from tests.browsing import Browser, absent  # noqa: E402

#: Milliseconds of a picture at 60 a second, and bytes of a page without its motions.
PICTURE, PAGE = 1000 / 60, 1_500_000
FIGURES, SECONDS = 6, 60


def measured(browser: Browser, page: Path, style: str, seconds: float) -> dict[str, Any]:
    """Milliseconds of the page's thread and pictures a second, while it plays."""
    browser.play(page, 960, 640)
    browser.tell("press", key="b" if browser.state["style"] != style else "Home")
    browser.ask("hftrainerPlayer.play()")
    browser.tell("ready", what="hftrainerPlayer.state().pictures > 3", seconds=180)
    first, began = browser.state, time.perf_counter()
    time.sleep(seconds)
    last, took = browser.state, time.perf_counter() - began
    drawn = last["pictures"] - first["pictures"]
    busy = last["milliseconds"] * last["pictures"] - first["milliseconds"] * first["pictures"]
    each = busy / max(drawn, 1)
    return {
        "milliseconds_per_picture": round(each, 2), "pictures": drawn, "bar": round(PICTURE, 1),
        "holds": drawn > 0 and each < PICTURE, "pictures_per_second_without_a_card": round(drawn / took, 1),
        "style": last["style"],
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description="the player's cost")
    parser.add_argument("-o", "--output", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement (default 20)")
    args = parser.parse_args()
    if reason := absent():
        print(reason, file=sys.stderr)
        return 2
    minute = [Motion(marching(20 * SECONDS), "joints", 20, name=f"clip {k}") for k in range(FIGURES)]
    with tempfile.TemporaryDirectory() as folder:
        bare = write_player(minute[0][:1], Path(folder) / "one.html").stat().st_size
        page = write_player(minute, Path(folder) / "six.html", autoplay=False)
        browser = Browser()
        try:
            styles = {style: measured(browser, page, style, args.seconds) for style in ("skeleton", "body")}
        finally:
            browser.close()
        report = {
            "what": f"{FIGURES} figures of {SECONDS} s in one player, the time of the page's own thread",
            "page_of_one_frame": {"bytes": bare, "bar": PAGE, "holds": bare < PAGE},
            "page_of_all_bytes": page.stat().st_size, **styles,
        }  # fmt: skip
    text = json.dumps(report, indent=2) + "\n"
    if args.output:
        with written_whole(args.output) as beside:
            beside.write_text(text, encoding="utf-8")
    print(text, end="")
    return 0 if all(part["holds"] for part in report.values() if isinstance(part, dict)) else 1


if __name__ == "__main__":
    sys.exit(main())
