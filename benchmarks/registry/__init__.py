"""Names and user code to objects, and how wrong settings are reported."""

from .registry import Registry, Spec, UnknownNameError

__all__ = ["Registry", "Spec", "UnknownNameError"]
