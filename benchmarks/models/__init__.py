"""Networks a suite can name."""

from .build import MODELS, build_model, classifier_of, register_model
from .vgg import DigitsVGG

__all__ = ["MODELS", "DigitsVGG", "build_model", "classifier_of", "register_model"]
