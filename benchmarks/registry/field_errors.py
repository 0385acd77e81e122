"""Mistakes in a model's fields that only a look at several of them finds, each with its place."""

from __future__ import annotations

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from ..errors import SettingsError
from .registry import UnknownNameError

__all__ = ["Mistake", "mistake", "mistaken_spec", "refusal"]

Mistake = InitErrorDetails


def mistake(message: str, *place: int | str) -> Mistake:
    """What is wrong, at the field or entry where it stands, seen from the model whose validator finds it."""
    # The message goes in as a value, since braces in the text itself would be taken for placeholders.
    return Mistake(type=PydanticCustomError("value_error", "{message}", {"message": message}), loc=place, input=None)


def mistaken_spec(error: SettingsError, *place: int | str) -> Mistake:
    """The mistake in a spec that a registry refused: its name or its settings."""
    return mistake(str(error), *place, "name" if isinstance(error, UnknownNameError) else "settings")


def refusal(*mistakes: Mistake) -> ValidationError:
    """What a validator raises; a plain ValueError would stand at the whole model."""
    return ValidationError.from_exception_data("", list(mistakes))
