"""What is compared: the suites that come with the package, one YAML file each, their schema and loader."""

from .loader import find_suite, suite_names
from .schema import Suite

__all__ = ["Suite", "find_suite", "suite_names"]
