"""MotionGPT's stages in one place: the motion tokenizer, the language model on many tasks, then on instructions.

Source: Jiang et al. 2023, section 3.3. Stage 1 is ``hftrainer.training.tokenizer``, stages 2 and 3 are
``hftrainer.training.language``, the tasks and templates of the paper ``hftrainer.training.mixture``.
"""

from hftrainer.training.language import TEMPLATES, LanguageSettings, LanguageTask, TokenClip, spellings
from hftrainer.training.mixture import Mixture
from hftrainer.training.tokenizer import TokenizerSettings, TokenizerTask, world_joints

__all__ = [
    "TEMPLATES",
    "LanguageSettings",
    "LanguageTask",
    "Mixture",
    "TokenClip",
    "TokenizerSettings",
    "TokenizerTask",
    "spellings",
    "world_joints",
]
