"""A trained model on one image and one text: fill masks, score the match, ground phrases, draw them."""

from vlp.infer.answer import Answer, Filled, Grounded
from vlp.infer.predictor import Predictor

__all__ = ["Answer", "Filled", "Grounded", "Predictor"]
