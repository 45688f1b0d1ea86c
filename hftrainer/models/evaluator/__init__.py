"""Text-motion evaluators: networks that put sentences and motions into one space, their words and their files."""

from hftrainer.models.evaluator.contrast import ContrastConfig, ContrastEvaluator, ContrastNetwork
from hftrainer.models.evaluator.evaluator import Evaluator
from hftrainer.models.evaluator.loading import AnyEvaluator, load_evaluator
from hftrainer.models.evaluator.network import EvaluatorConfig, TextMotionEvaluator
from hftrainer.models.evaluator.ranking import built_in_evaluator, find_evaluator, rank, similarity
from hftrainer.models.evaluator.sentences import Motion272Evaluator, MotionClipEvaluator
from hftrainer.models.evaluator.words import WordVectors

__all__ = [
    "AnyEvaluator", "ContrastConfig", "ContrastEvaluator", "ContrastNetwork", "Evaluator", "EvaluatorConfig",
    "Motion272Evaluator", "MotionClipEvaluator", "TextMotionEvaluator", "WordVectors", "built_in_evaluator",
    "find_evaluator", "load_evaluator", "rank", "similarity",
]  # fmt: skip
