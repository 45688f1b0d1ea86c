"""Sizes and habits of one MDM network, as an artifact keeps them.

Source: Tevet et al., "Human Motion Diffusion Model", ICLR 2023; Tevet et al., "CLoSD", ICLR 2025, for the network that
continues a given beginning (DiP). The names that the authors' option files use stand in ``official.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

ARCHITECTURES = ("trans_enc", "trans_dec", "gru")
CONDITIONS = ("text", "action", "none")
SCHEDULES = ("cosine", "linear")
TARGET_ENCODERS = ("single", "split", "multi")
#: Joints that a target may be set for, in the order of its rows; ``traj`` and ``heading`` follow them.
GOAL_JOINTS = ("pelvis", "left_foot", "right_foot", "left_wrist", "right_wrist", "head")


@dataclass(frozen=True)
class MDMConfig:
    """Everything that decides what the network computes; 18 million numbers with the defaults.

    Attributes:
        architecture: ``trans_enc``, ``trans_dec`` or ``gru``.
        joints: ``J`` of the motion ``(B, J, F, T)``: 263 features of hml263, 251 of kit251, 25 rows of rotations.
        features: ``F``: 1, or 6 for rotations.
        first_frame: the first frame has input and output layers of its own (the authors' ``rot_vel``).
        width: ``d`` of the transformer, even.
        layers, heads, feed_forward, dropout: of the transformer.
        condition: ``text``, ``action`` or ``none``.
        text_encoder: name of the text tower: ``clip``, ``distilbert``, or another that the bundle knows.
        text_width: width of what the text tower gives.
        actions: how many actions there are; 1 where none are told apart.
        condition_dropout: how often training hides the condition; above 0 is what guidance needs.
        time_token: ``trans_dec`` puts the time step before the frames as well (the authors' ``emb_trans_dec``).
        mask_frames: padded frames take no part in attention; the networks of 2022 let them take part.
        positions: rows of the table of positions; frames and diffusion steps must be fewer.
        context_frames, predicted_frames: of DiP: frames given, and frames made in one go; 0 and 0 elsewhere.
        target_encoder: how DiP reads where joints shall be at the end: ``single``, ``split``, ``multi``, or ``None``.
        target_layers: hidden layers of that.
        goal_joints: joints that a target may be set for.
        noise_schedule: ``cosine`` or ``linear``.
        steps: diffusion steps.
        small_sigma: the sampler's variance is that of the posterior; otherwise beta.
        patch: frames that are one place of the sequence; 1 with the authors. More make a small network quick: attention
            and layers see that many times fewer places. Padded frames fill the last one up.
        recur_over_batch: the authors' ``gru`` runs from sample to sample instead of from frame to frame, so that its
            result depends on the company; only for reproducing it.

    Raises:
        ValueError: fields that no network can have.

    >>> MDMConfig(steps=50).guidable
    True
    >>> MDMConfig(architecture="trans_enc", text_encoder="distilbert", text_width=768)
    Traceback (most recent call last):
        ...
    ValueError: text_encoder distilbert must have architecture trans_dec; got trans_enc.
    """

    architecture: str = "trans_enc"
    joints: int = 263
    features: int = 1
    first_frame: bool = False
    width: int = 512
    layers: int = 8
    heads: int = 4
    feed_forward: int = 1024
    dropout: float = 0.1
    condition: str = "text"
    text_encoder: str = "clip"
    text_width: int = 512
    actions: int = 1
    condition_dropout: float = 0.1
    time_token: bool = False
    mask_frames: bool = False
    positions: int = 5000
    context_frames: int = 0
    predicted_frames: int = 0
    target_encoder: str | None = None
    target_layers: int = 1
    goal_joints: tuple[str, ...] = GOAL_JOINTS
    noise_schedule: str = "cosine"
    steps: int = 1000
    small_sigma: bool = True
    patch: int = 1
    recur_over_batch: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "goal_joints", tuple(self.goal_joints))  # a list in JSON
        for name, allowed in (
            ("architecture", ARCHITECTURES),
            ("condition", CONDITIONS),
            ("noise_schedule", SCHEDULES),
            ("target_encoder", (*TARGET_ENCODERS, None)),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}; got {getattr(self, name)!r}.")
        for name in ("joints", "features", "width", "layers", "heads", "feed_forward", "text_width", "actions",
                     "positions", "target_layers", "steps", "patch"):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}.")
        for name in ("context_frames", "predicted_frames"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0; got {getattr(self, name)}.")
        for name in ("dropout", "condition_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be 0 to 1; got {getattr(self, name)}.")
        if self.patch > 1 and (self.architecture == "gru" or self.first_frame or self.completes):
            raise ValueError(
                f"patch must be 1 for gru, for a first frame of its own, and for a network that continues; "
                f"got {self.patch}."
            )
        if self.width % 2 or self.width % self.heads:
            raise ValueError(f"width must be even and a multiple of {self.heads} heads; got {self.width}.")
        if self.steps > self.positions:
            raise ValueError(f"positions must be at least steps, {self.steps}; got {self.positions}.")
        if self.text_encoder == "distilbert" and self.condition == "text" and self.architecture != "trans_dec":
            raise ValueError(f"text_encoder distilbert must have architecture trans_dec; got {self.architecture}.")
        if self.target_encoder == "split" and self.width % len(self.goals):
            raise ValueError(f"width must be a multiple of {len(self.goals)} goals to be split; got {self.width}.")

    @property
    def guidable(self) -> bool:
        """Whether training hid the condition at times, so that the network also knows motion without one."""
        return self.condition != "none" and self.condition_dropout > 0

    @property
    def completes(self) -> bool:
        """Whether the network continues given frames (DiP)."""
        return self.context_frames + self.predicted_frames > 0

    @property
    def goals(self) -> tuple[str, ...]:
        """Rows of a target, ``G``: the joints, then ``traj`` (the pelvis on the floor) and ``heading``."""
        return (*self.goal_joints, "traj", "heading")
