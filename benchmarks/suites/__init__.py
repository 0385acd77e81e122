"""The suites that come with the package."""

from ..registry import Registry
from ..suite import Suite
from .cifar10_resnet56 import COMPENSATION, QUARTER
from .quickstart import QUICKSTART

__all__ = ["COMPENSATION", "QUARTER", "QUICKSTART", "SUITES"]

SUITES: Registry[Suite] = Registry("suite")
for _suite in (QUICKSTART, COMPENSATION, QUARTER):
    SUITES.add(_suite.name, _suite)
