"""Replacing an attribute of a module or a class in memory, so that it can be undone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Undo", "replace_attribute"]

Undo = Callable[[], None]


def replace_attribute(owner: Any, attribute: str, value: Any) -> Undo:
    """Set an attribute; returns what restores it."""
    original = vars(owner)[attribute]
    setattr(owner, attribute, value)
    return lambda: setattr(owner, attribute, original)
