"""The suites that come with the package."""

from ..registry import Registry
from ..suite import Suite
from .quickstart import QUICKSTART

__all__ = ["QUICKSTART", "SUITES"]

SUITES: Registry[Suite] = Registry("suite")
SUITES.add(QUICKSTART.name, QUICKSTART)
