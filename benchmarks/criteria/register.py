"""From a criterion's name and settings to something that scores Torch-Pruning's groups."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import torch
import torch_pruning as tp

from ..registry.registry import FactoryRegistry, Spec
from .spec import CriterionContext

__all__ = [
    "CRITERIA",
    "CriterionContext",
    "Scorer",
    "as_factory",
    "build_criterion",
    "register_criterion",
]

C = TypeVar("C", bound=Callable[..., Any])

Scorer: TypeAlias = Callable[[Any], "torch.Tensor | None"]
"""Torch-Pruning's contract: a coupled group in, a score for each channel out (low goes first), or None."""


CRITERIA: FactoryRegistry[Scorer] = FactoryRegistry("criterion", given=1)


def register_criterion(name: str) -> Callable[[C], C]:
    """Decorator that adds a criterion of one's own to suites, and to what ``foad-bench list`` shows.

    A function of a group that scores its channels is enough; low goes first. Parameters behind the group are settings
    that a suite may give, and the first line of the docstring is what lists show:

        >>> import torch
        >>> from foad_plugins.benchmarks.criteria import register_criterion
        >>> @register_criterion("loudest-weight")
        ... def loudest_weight(group, power: float = 1.0) -> torch.Tensor:
        ...     '''Largest weight of each filter of the group's first layer.'''
        ...     item = group[0]
        ...     filters = item.dep.layer.weight.detach()[item.idxs].flatten(1)
        ...     return filters.abs().amax(1) ** power

    A class of Torch-Pruning's ``Importance`` is taken as it is, its parameters being the settings. What needs images,
    labels or the seed is a factory ``(context: CriterionContext, **settings) -> scorer``, a function or a class; see
    :func:`~foad_plugins.benchmarks.criteria.register.as_factory` for how these are told apart.

    Args:
        name: what suites call it.

    Raises:
        TypeError: if it cannot be told what the function or class expects.
        ValueError: if the name is empty or taken.
    """

    def add(criterion: C) -> C:
        CRITERIA.add(name, as_factory(criterion))
        return criterion

    return add


def build_criterion(spec: Spec, context: CriterionContext) -> Scorer:
    """The criterion that ``spec`` names, ready to score.

    Raises:
        UnknownNameError: if no criterion has that name.
        SettingsError: a ValueError, if a setting is unknown or out of range.
    """
    return CRITERIA.make(spec, context)


def as_factory(criterion: Callable[..., Any]) -> Callable[..., Any]:
    """A factory ``(context, **settings) -> scorer`` from anything that can be registered.

    The first parameter decides, by its name or its annotation; those behind it are settings:

    - ``context`` (``CriterionContext``): a factory already, a function or a class;
    - ``group`` (``Group``): a function that scores, asked for each group with the run's settings filled in;
    - a class of Torch-Pruning's ``Importance`` with neither: made from its settings, all of its parameters.

    Raises:
        TypeError: if it is none of these, or if a class might be meant either way.
    """
    what = f"criterion {getattr(criterion, '__name__', criterion)!r}"
    if not callable(criterion):
        raise TypeError(f"{what}: a function or a class is registered, got {type(criterion).__name__}")
    parameters = list(inspect.signature(criterion).parameters.values())
    first = parameters[0] if parameters else None
    if first is not None and _is(first, "context", "CriterionContext"):
        return criterion
    if inspect.isclass(criterion):
        return _from_class(criterion, parameters, what)
    if first is not None and _is(first, "group", "Group"):
        return _factory(criterion, parameters[1:], lambda settings: functools.partial(criterion, **settings))
    raise TypeError(
        f"{what}: its first parameter must be `context` (it then returns what scores) or `group` (it then scores), by "
        f"name or by annotation, got {f'`{first}`' if first is not None else 'none'}"
    )


def _from_class(criterion: type, parameters: list[inspect.Parameter], what: str) -> Callable[..., Any]:
    if not issubclass(criterion, tp.importance.Importance):
        raise TypeError(
            f"{what}: the first parameter of its __init__ must be `context`, by name or by annotation; only a subclass "
            "of Torch-Pruning's Importance may do without"
        )
    first = parameters[0] if parameters else None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if first is not None and first.kind in positional and first.default is inspect.Parameter.empty:
        raise TypeError(
            f"{what}: is `{first.name}` the context or a setting? Call it `context` or annotate it CriterionContext if "
            "it is the one, give it a default or make it keyword-only if it is the other"
        )
    return _factory(criterion, parameters, lambda settings: criterion(**settings))


def _factory(
    criterion: Callable[..., Any], settings: list[inspect.Parameter], make: Callable[[dict[str, Any]], Any]
) -> Callable[..., Any]:
    """With the signature that settings are checked against and the docstring that lists show."""

    def factory(context: object, **given: Any) -> Any:
        return make(given)

    named = [setting.replace(kind=_by_name(setting)) for setting in settings]
    given = inspect.Parameter("context", inspect.Parameter.POSITIONAL_ONLY)
    factory.__signature__ = inspect.Signature([given, *named])  # type: ignore[attr-defined]
    factory.__doc__ = inspect.getdoc(criterion)
    factory.__name__ = factory.__qualname__ = getattr(criterion, "__name__", type(criterion).__name__)
    return factory


def _by_name(parameter: inspect.Parameter) -> inspect._ParameterKind:
    """Settings come by name; ``*args`` and ``**kwargs`` stay what they are."""
    if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
        return inspect.Parameter.KEYWORD_ONLY
    return parameter.kind


def _is(parameter: inspect.Parameter, name: str, kind: str) -> bool:
    """By name, or by the last word of the annotation, which may be a string."""
    annotation = parameter.annotation
    written = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return parameter.name == name or written.strip("\"'").rpartition(".")[2] == kind
