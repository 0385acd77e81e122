"""Networks a suite can name."""

from .build import MODELS, build_model, register_model
from .foad_resnet import FOADResNet
from .resnet_cifar import CIFARResNet
from .vgg import DigitsVGG
from .vgg_cifar import VGG16CIFAR

__all__ = [
    "MODELS",
    "VGG16CIFAR",
    "CIFARResNet",
    "DigitsVGG",
    "FOADResNet",
    "build_model",
    "register_model",
]
