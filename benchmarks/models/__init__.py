"""Networks a suite can name."""

from .build import MODELS, build_model, register_model
from .foad_resnet import FOADResNet
from .vgg import DigitsVGG

__all__ = ["MODELS", "DigitsVGG", "FOADResNet", "build_model", "register_model"]
