"""Errors in a pydantic model that concern several fields at once, each reported at its field."""

from __future__ import annotations

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from ..errors import SettingsError
from .registry import UnknownNameError

FieldError = InitErrorDetails


def field_error(message: str, *path: int | str) -> FieldError:
    """An error at the field or list item at ``path``, relative to the model whose validator finds it."""
    # The message is passed as a value, since braces in the text itself would be taken for placeholders.
    return FieldError(type=PydanticCustomError("value_error", "{message}", {"message": message}), loc=path, input=None)


def spec_error(error: SettingsError, *path: int | str) -> FieldError:
    """The error in a spec that a registry rejected: at its name or at its settings."""
    return field_error(str(error), *path, "name" if isinstance(error, UnknownNameError) else "settings")


def validation_error(*errors: FieldError) -> ValidationError:
    """What a validator raises; a plain ValueError would be reported at the whole model."""
    return ValidationError.from_exception_data("", list(errors))
