"""What a motion is: needs numpy and scipy only."""

from hftrainer.motion.clip import Motion

__all__ = ["Motion"]
