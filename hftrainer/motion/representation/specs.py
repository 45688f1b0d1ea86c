"""Every motion representation as data: its channels, widths, units and frame of reference."""

from __future__ import annotations

import difflib
from dataclasses import dataclass


@dataclass(frozen=True)
class Channel:
    """One contiguous block of a representation's last axis.

    Attributes:
        name: the block's name, for example ``"ric"``.
        start, end: half-open range on the last axis.
        unit: physical unit of the numbers.
        frame: the coordinate frame they are expressed in.
    """

    name: str
    start: int
    end: int
    unit: str
    frame: str

    @property
    def width(self) -> int:
        return self.end - self.start

    @property
    def slice(self) -> slice:
        return slice(self.start, self.end)


@dataclass(frozen=True)
class Representation:
    """What the numbers of a motion mean.

    Attributes:
        name: canonical name.
        shape: shape of one frame, ``(263,)`` or ``(22, 3)``.
        fps: the frame rate that published data of this kind has, frames per second.
        skeleton: ``"smpl22"`` or ``"kit21"``.
        channels: blocks of the flattened frame, in order, without gaps.
        rot6d: layout of its 6D rotations (see ``hftrainer.motion.rotation``), if it has any.
        aliases: other names seen in the field; they are answered with a suggestion, never accepted.
    """

    name: str
    shape: tuple[int, ...]
    fps: float
    skeleton: str
    channels: tuple[Channel, ...]
    rot6d: str | None = None
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        at = 0
        for channel in self.channels:
            if channel.start != at or channel.end <= at:
                raise ValueError(f"channel {channel.name} of {self.name} must start at {at}; got {channel.start}.")
            at = channel.end
        if at != self.width:
            raise ValueError(f"the channels of {self.name} must add up to {self.width}; got {at}.")

    @property
    def width(self) -> int:
        """Numbers per frame."""
        width = 1
        for size in self.shape:
            width *= size
        return width

    def channel(self, name: str) -> Channel:
        """The block called ``name``; a ``KeyError`` lists the names there are."""
        for channel in self.channels:
            if channel.name == name:
                return channel
        raise KeyError(f"{self.name} has no channel {name!r}; it has {', '.join(c.name for c in self.channels)}.")


def _blocks(*blocks: tuple[str, int, str, str]) -> tuple[Channel, ...]:
    channels, at = [], 0
    for name, width, unit, frame in blocks:
        channels.append(Channel(name, at, at + width, unit, frame))
        at += width
    return tuple(channels)


def _hml_blocks(joints: int, length: str) -> tuple[Channel, ...]:
    return _blocks(
        ("root_yaw_velocity", 1, "rad/frame, half the yaw step", "world"),
        ("root_velocity", 2, f"{length}/frame, x and z", "heading of the later frame"),
        ("root_height", 1, length, "world"),
        ("ric", 3 * (joints - 1), length, "heading, root x and z removed, y absolute"),
        ("rotations", 6 * (joints - 1), "rot6d_columns", "chain parent, chains restart at the root"),
        ("velocity", 3 * joints, f"{length}/frame", "heading of the earlier frame"),
        ("contacts", 4, "0 or 1: left ankle, left toe, right ankle, right toe", "none"),
    )


_SIX = "rot6d_{}"  # a 6D block's unit says its layout


def _body(layout: str, first: str) -> tuple[str, int, str, str]:
    """The turns of the 21 joints below the pelvis, or of all 22 with ``first`` saying what the root's is."""
    unit = _SIX.format(layout)
    return ("rotations", 132, unit, f"parent; root: {first}") if first else ("rotations", 126, unit, "parent")


_MOTION135 = (
    ("translation", 3, "m, pelvis minus its place in the rest pose", "world, +Y up"),
    _body("interleaved", "world"),
)
_CONTACTS = ("contacts", 4, "0 or 1: left ankle, left toe, right ankle, right toe", "none")

REPRESENTATIONS: dict[str, Representation] = {
    r.name: r
    for r in (
        Representation("joints", (22, 3), 20.0, "smpl22", _blocks(("position", 66, "m", "world, +Y up"))),
        Representation(
            "hml263", (263,), 20.0, "smpl22", _hml_blocks(22, "m"), "columns",
            ("263", "humanml263", "humanml3d", "humanml3d_263", "h3d263", "humanml3d-263"),
        ),
        Representation("joints_kit", (21, 3), 12.5, "kit21", _blocks(("position", 63, "mm", "world, +Y up"))),
        Representation(
            "kit251", (251,), 12.5, "kit21", _hml_blocks(21, "mm"), "columns", ("251", "kit", "kit-ml", "kit_251")
        ),
        Representation(
            "motion135", (135,), 30.0, "smpl22", _blocks(*_MOTION135), "interleaved",
            ("135", "motion_135", "motion-135", "smpl22_135", "smpl135", "hymotion_m2m"),
        ),
        Representation(
            "motion272", (272,), 30.0, "smpl22",
            _blocks(
                ("root_velocity", 2, "m/frame, x and z", "heading of the earlier frame"),
                ("heading_step", 6, _SIX.format("rows"), "turns the earlier heading frame into this one"),
                ("position", 66, "m", "heading, root x and z removed, y absolute"),
                ("velocity", 66, "m/frame, from the earlier frame's position", "heading, root removed"),
                _body("rows", "heading"),
            ),
            "rows",
            (
                "272", "motion_272", "ms272", "h3d272", "humanml3d_272", "motionstreamer272", "motionstreamer_272",
                "motionstreamer-272", "gotozero_272",
            ),
        ),
        Representation(
            "interhuman262", (262,), 30.0, "smpl22",
            _blocks(
                ("position", 66, "m", "the pair's, +Y up, first person at the origin facing +Z"),
                ("velocity", 66, "m/frame, to the later frame's position", "the pair's"),
                _body("interleaved", ""),
                _CONTACTS,
            ),
            "interleaved",
            ("262", "interhuman_262", "interhuman-262", "interhuman", "ih262", "intergen262", "interhuman_native_262"),
        ),
        Representation(
            "dart276", (276,), 20.0, "smpl22",
            _blocks(
                _body("interleaved", ""),
                ("position", 66, "m", "world, +Z up"),
                ("velocity", 66, "m/frame, to the later frame's position", "world, +Z up"),
                ("root_rotation", 6, _SIX.format("interleaved"), "world, +Z up"),
                ("root_turn", 6, _SIX.format("interleaved"), "turns this frame's root into the later one's"),
                ("translation", 3, "m, pelvis minus its place in the rest pose", "world, +Z up"),
                ("step", 3, "m/frame, to the later frame's translation", "world, +Z up"),
            ),
            "interleaved",
            ("276", "dart", "dart_276", "dart-276", "dartcontrol"),
        ),
        Representation(
            "babel135", (135,), 30.0, "smpl22",
            _blocks(
                ("height", 1, "m, z of the translation", "world, +Z up"),
                ("step", 2, "m/frame, x and y from the earlier frame's translation", "world, +Z up"),
                _body("rows", "world, +Z up"),
            ),
            "rows",
            ("babel", "babel_135", "babel-135", "flowmdm", "flowmdm_135"),
        ),
        Representation(
            "hymotion201", (201,), 30.0, "smpl22",
            _blocks(*_MOTION135, ("position", 66, "m", "world, pelvis at 0")),
            "interleaved",
            ("201", "hymotion", "hymotion_201", "hymotion-201", "hy-motion-201", "motion_201", "hymotion_t2m"),
        ),
    )
}


def get_spec(name: str | Representation) -> Representation:
    """The representation called ``name``.

    Raises:
        KeyError: an unknown name; the message says which known name was probably meant.

    >>> get_spec("hml263").width
    263
    """
    if isinstance(name, Representation):
        return name
    if name in REPRESENTATIONS:
        return REPRESENTATIONS[name]
    wanted = name.lower().strip()
    for spec in REPRESENTATIONS.values():
        if wanted == spec.name or wanted in spec.aliases:
            raise KeyError(f"unknown representation {name!r}; did you mean {spec.name!r}?")
    near = difflib.get_close_matches(wanted, REPRESENTATIONS, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(REPRESENTATIONS)}."
    raise KeyError(f"unknown representation {name!r}; {hint}")


def list_specs() -> tuple[str, ...]:
    """Canonical names of all representations."""
    return tuple(REPRESENTATIONS)
