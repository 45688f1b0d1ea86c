"""One offline HTML file that plays motions in three dimensions: for a browser, for a friend, for a notebook.

The page holds its program and its numbers and asks for nothing from elsewhere. The program is built from ``player/``
of the repository by ``make player`` and lies in the wheel as ``player.js``.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
import os
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hftrainer.errors import NoRouteError
from hftrainer.motion.clip import Motion
from hftrainer.motion.files.atomic import written_whole
from hftrainer.rendering.player_tracks import Blob, figure_parts, mesh, metric_rows, track

#: Motions on one page.
MOST = 6
STYLES = ("skeleton", "body")
LAYOUTS = ("side", "overlay")
_PROGRAM = Path(__file__).with_name("player.js")
_HEIGHT = 560  # pixels in a notebook

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover">
<title>{title}</title>
<style>:root {{ color-scheme: light dark }} body {{ margin: 0; font: 15px/1.5 system-ui, sans-serif }}
#word {{ padding: 2rem; max-width: 40rem }}</style>
</head>
<body>
<div id="player"><p id="word">{word}</p></div>
<script type="text/plain" id="motions">{data}</script>
<script type="text/plain" id="program">{program}</script>
<script>
(async () => {{
  const word = document.getElementById("word");
  if (!window.DecompressionStream) {{ word.textContent = "This page needs a browser of 2023 or later."; return; }}
  const unpack = id => {{
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), c => c.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
  }};
  window.hftrainerMotions = await unpack("motions");
  const script = document.createElement("script");
  script.textContent = new TextDecoder().decode(await unpack("program"));
  document.body.append(script);
}})();
</script>
</body>
</html>
"""


def program() -> str:
    """The player's program, JavaScript.

    Raises:
        FileNotFoundError: this checkout has none yet; the message says which command makes it.
    """
    if not _PROGRAM.is_file():
        raise FileNotFoundError(
            "the player must be built once in a checkout; its program is not there. "
            "Run: make player (it needs Node.js with npm)."
        )
    return _PROGRAM.read_text(encoding="utf-8")


def player_page(motion: Motion | Sequence[Motion], **options: Any) -> str:
    """One HTML page that plays a motion, or up to six beside or over each other at the same time.

    Args:
        motion: one to six motions.
        **options: those of ``player_data``.

    Returns:
        The page; it asks for nothing from elsewhere.

    Raises:
        ValueError, NoRouteError: as ``player_data``.
        FileNotFoundError: a checkout in which the player was not built.
    """
    code, data = program(), player_data(motion, **options)
    (length,) = struct.unpack_from("<I", data)
    return _PAGE.format(
        title=html.escape(json.loads(data[4 : 4 + length])["title"]),
        word="The player is being unpacked …<noscript> It needs JavaScript.</noscript>",
        data=_packed(data),
        program=_packed(code.encode()),
    )


def player_data(
    motion: Motion | Sequence[Motion],
    *,
    captions: str | Sequence[str | None] | None = None,
    names: Sequence[str] | None = None,
    metrics: Sequence[Mapping[str, Any] | None] | None = None,
    title: str | None = None,
    style: str = "skeleton",
    layout: str = "side",
    autoplay: bool = True,
) -> bytes:
    """What the player's program reads: a header as JSON, and the arrays it points into.

    Args:
        motion: any motions that convert to joints, each at its own rate; the shorter ones hold their last pose.
        captions: what stands beside each motion, one for all or one for each; by default the sentence it was made from.
        names: what each is called; by default ``Motion.name``, numbered where several are called alike.
        metrics: measures that stand beside each motion.
        title: of the page; by default the first caption or name.
        style: ``"skeleton"`` or ``"body"``, as the page opens; it can be changed there.
        layout: ``"side"`` or ``"overlay"``, likewise.
        autoplay: whether it plays at once.

    Returns:
        Four bytes that say how long the header is (little endian), the header, the arrays. It packs well.

    Raises:
        ValueError: no motion or more than six, an unknown style or layout, or not one caption, name or table each.
        NoRouteError: a motion cannot become joints.

    >>> import numpy as np
    >>> player_data(Motion(np.zeros((2, 22, 3)), "joints", 20), title="still")[4:19]
    b'{"title":"still'
    """
    motions = [motion] if isinstance(motion, Motion) else list(motion)
    if not 1 <= len(motions) <= MOST:
        raise ValueError(f"a player must have 1 to {MOST} motions; got {len(motions)}. Make several pages.")
    for what, value, known in (("style", style, STYLES), ("layout", layout, LAYOUTS)):
        if value not in known:
            raise ValueError(f"{what} must be one of {', '.join(known)}; got {value!r}.")
    if captions is None:
        captions = [m.about.get("prompt") for m in motions]
    said = [captions] * len(motions) if isinstance(captions, str) else list(captions)
    called = list(names) if names is not None else _numbered([m.name for m in motions])
    tables = list(metrics) if metrics is not None else [None] * len(motions)
    for what, values in (("caption", said), ("name", called), ("table of metrics", tables)):
        if len(values) != len(motions):
            raise ValueError(f"there must be one {what} for each motion; got {len(values)} for {len(motions)}.")
    blob = Blob()
    tracks = []
    for each, caption, name, rows in zip(motions, said, called, tables, strict=True):
        about = {"name": name, "caption": caption or "", "metrics": metric_rows(rows)}
        about["came"] = " → ".join([*each.route, each.representation.name])
        tracks.append(about | track(each, blob))
    title = title or next((text for text in said if text), None) or ", ".join(called)
    header = {
        "title": title, "style": style, "layout": layout, "autoplay": autoplay, "figure": figure_parts(),
        "mesh": mesh(blob), "motions": tracks,
    }  # fmt: skip
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + 4) % 4)
    return struct.pack("<I", len(text)) + text + bytes(blob.data)


def write_player(motion: Motion | Sequence[Motion], path: str | os.PathLike[str], **options: Any) -> Path:
    """Write the page of ``player_page``.

    Args:
        motion: one to six motions.
        path: the ``.html`` file; it appears when it is whole.
        **options: those of ``player_data``.

    Returns:
        The path written.

    Raises:
        ValueError, NoRouteError, FileNotFoundError: as ``player_page``.
        OSError: the place cannot be written.
    """
    page = player_page(motion, **options)
    with written_whole(path) as beside:
        beside.write_text(page, encoding="utf-8")
    return Path(path)


def notebook_html(motion: Motion) -> str | None:
    """What a notebook shows of a motion: the player in a frame, or ``None`` for a motion that has no joints.

    Where the player was not built, the motion in words and the command that builds it.
    """
    try:
        page = player_page(motion, autoplay=False)
    except NoRouteError:
        return None
    except FileNotFoundError as exc:
        return f"<pre>{html.escape(repr(motion))}</pre><p>{html.escape(str(exc))}</p>"
    return (
        f'<iframe title="{html.escape(motion.name)}" style="width:100%;height:{_HEIGHT}px;border:0;border-radius:12px" '
        f'allow="fullscreen" srcdoc="{html.escape(page)}"></iframe>'
    )


def _numbered(names: list[str]) -> list[str]:
    """Names told apart."""
    alike = {name for name in names if names.count(name) > 1}
    return [f"{name} {names[: at + 1].count(name)}" if name in alike else name for at, name in enumerate(names)]


def _packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()
