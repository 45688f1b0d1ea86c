"""Text-motion evaluators: networks that put sentences and motions into one space, their words and their files."""

from hftrainer.models.evaluator.evaluator import Evaluator
from hftrainer.models.evaluator.network import EvaluatorConfig, TextMotionEvaluator
from hftrainer.models.evaluator.words import WordVectors

__all__ = ["Evaluator", "EvaluatorConfig", "TextMotionEvaluator", "WordVectors"]
