"""Networks a suite can name."""

from .densenet_cifar import DenseNet40
from .foad_resnet import FOADResNet
from .googlenet_cifar import GoogLeNetCIFAR
from .mobilefacenet import MobileFaceNet
from .register import MODELS, build_model, register_model
from .resnet_cifar import CIFARResNet
from .torchvision_models import torchvision_factory
from .vgg_cifar import VGG16CIFAR
from .vgg_digits import DigitsVGG

__all__ = [
    "MODELS",
    "VGG16CIFAR",
    "CIFARResNet",
    "DenseNet40",
    "DigitsVGG",
    "FOADResNet",
    "GoogLeNetCIFAR",
    "MobileFaceNet",
    "build_model",
    "register_model",
    "torchvision_factory",
]
