"""Networks a suite can name."""

from .build import MODELS, build_model, register_model
from .densenet_cifar import DenseNet40
from .foad_resnet import FOADResNet
from .googlenet_cifar import GoogLeNetCIFAR
from .mobilefacenet import MobileFaceNet
from .resnet_cifar import CIFARResNet
from .torchvision_models import torchvision_factory
from .vgg import DigitsVGG
from .vgg_cifar import VGG16CIFAR

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
