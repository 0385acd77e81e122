"""From a criterion's name and settings to a scorer of Torch-Pruning's groups."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import torch
import torch_pruning as tp

from ..registry.registry import Registry, Spec
from .spec import CriterionContext

C = TypeVar("C", bound=Callable[..., Any])

Scorer: TypeAlias = Callable[[Any], "torch.Tensor | None"]
"""Torch-Pruning's contract: takes a coupled group, returns a score for each channel (low is removed first) or None."""


CRITERIA: Registry[Scorer] = Registry("criterion", given=1)


def register_criterion(name: str, *, needs_context: bool | None = None) -> Callable[[C], C]:
    """Decorator that adds a user-defined criterion to suites and to the output of ``foad-bench list``.

    A function that scores the channels of a group is enough; low scores are removed first. The parameters after the
    group are settings that a suite may give, and the first line of the docstring is what lists show:

        >>> import torch
        >>> from foad_plugins.benchmarks.criteria import register_criterion
        >>> @register_criterion("loudest-weight")
        ... def loudest_weight(group, power: float = 1.0) -> torch.Tensor:
        ...     '''Largest weight of each filter of the group's first layer.'''
        ...     item = group[0]
        ...     filters = item.dep.layer.weight.detach()[item.idxs].flatten(1)
        ...     return filters.abs().amax(1) ** power

    A subclass of Torch-Pruning's ``Importance`` can be registered too; its parameters are the settings. A criterion
    that needs images, labels or the seed is a factory ``(context: CriterionContext, **settings) -> scorer``, a
    function or a class.

    Args:
        name: what suites call it.
        needs_context: whether it is a factory that takes the :class:`CriterionContext` first. If None, that is so
            where the first parameter is called ``context`` or annotated ``CriterionContext``; the first parameter of
            a scoring function must then be called ``group`` or annotated ``Group``.

    Raises:
        TypeError: if it is unclear what the function or class expects.
        ValueError: if the name is empty or taken.
    """

    def add(criterion: C) -> C:
        CRITERIA.register(name)(as_factory(criterion, needs_context))
        return criterion

    return add


def build_criterion(spec: Spec, context: CriterionContext) -> Scorer:
    """The criterion that ``spec`` names, ready to score.

    Raises:
        UnknownNameError: if no criterion has that name.
        SettingsError: a ValueError, if a setting is unknown or out of range.
    """
    return CRITERIA.make(spec, context)


def as_factory(criterion: Callable[..., Any], needs_context: bool | None = None) -> Callable[..., Any]:
    """A factory ``(context, **settings) -> scorer`` from anything that can be registered.

    Raises:
        TypeError: if it is unclear what the first parameter is.
    """
    what = f"criterion {getattr(criterion, '__name__', criterion)!r}"
    if not callable(criterion):
        raise TypeError(f"{what}: a function or a class is registered, got {type(criterion).__name__}")
    settings = list(inspect.signature(criterion).parameters.values())
    first = settings[0] if settings else None
    if needs_context or (needs_context is None and _is(first, "context", "CriterionContext")):
        return criterion
    make: Callable[..., Any] = criterion
    if inspect.isclass(criterion):
        _check_class(criterion, first, what, needs_context)
    elif first is not None and (needs_context is False or _is(first, "group", "Group")):
        make, settings = functools.partial(functools.partial, criterion), settings[1:]
    else:
        raise TypeError(
            f"{what}: its first parameter must be `context` (it then returns a scorer) or `group` (it then scores), by "
            f"name or by annotation, got {f'`{first}`' if first is not None else 'none'}"
        )

    def factory(context: object, **given: Any) -> Any:
        return make(**given)

    # Settings are checked against this signature, and lists show this docstring.
    given = inspect.Parameter("context", inspect.Parameter.POSITIONAL_ONLY)
    factory.__signature__ = inspect.Signature([given, *map(_keyword, settings)])  # type: ignore[attr-defined]
    factory.__doc__ = inspect.getdoc(criterion)
    factory.__name__ = factory.__qualname__ = getattr(criterion, "__name__", type(criterion).__name__)
    return factory


def _check_class(criterion: type, first: inspect.Parameter | None, what: str, needs_context: bool | None) -> None:
    if not issubclass(criterion, tp.importance.Importance):
        raise TypeError(
            f"{what}: the first parameter of its __init__ must be `context`, by name or by annotation; only a subclass "
            "of Torch-Pruning's Importance needs none"
        )
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    required = first is not None and first.kind in positional and first.default is inspect.Parameter.empty
    if needs_context is None and first is not None and required:
        raise TypeError(
            f"{what}: is `{first.name}` the context or a setting? Register it with needs_context=True if it is the "
            "context, with needs_context=False if it is a setting"
        )


def _keyword(parameter: inspect.Parameter) -> inspect.Parameter:
    """The parameter as keyword-only; ``*args`` and ``**kwargs`` are unchanged."""
    if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
        return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
    return parameter


def _is(parameter: inspect.Parameter | None, name: str, kind: str) -> bool:
    """Whether a parameter has this name, or an annotation (which may be a string) whose last word is ``kind``."""
    if parameter is None:
        return False
    annotation = parameter.annotation
    written = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return parameter.name == name or written.strip("\"'").rpartition(".")[2] == kind
