"""Text-motion evaluators: networks that put sentences and motions into one space, their words and their files."""

from hftrainer.models.evaluator.evaluator import Evaluator
from hftrainer.models.evaluator.loading import AnyEvaluator, load_evaluator
from hftrainer.models.evaluator.network import EvaluatorConfig, TextMotionEvaluator
from hftrainer.models.evaluator.sentences import Motion272Evaluator, MotionClipEvaluator
from hftrainer.models.evaluator.words import WordVectors

__all__ = [
    "AnyEvaluator", "Evaluator", "EvaluatorConfig", "Motion272Evaluator", "MotionClipEvaluator", "TextMotionEvaluator",
    "WordVectors", "load_evaluator",
]  # fmt: skip
