"""What must not be removed from, found before anything is."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch_pruning.dependency import Group

__all__ = ["refuse_computed", "refuse_shared"]


def refuse_computed(model: nn.Module, groups: Sequence[Group]) -> None:
    """Refuse layers whose weights are computed from other parameters, which removal would write past.

    Raises:
        ValueError: there is one in a group; names it.
    """
    touched = _touched(groups)
    for name, module in model.named_modules():
        # Old-style hooks leave the result among the plain attributes; looking at a parametrized one would compute it.
        if module in touched and (is_parametrized(module) or isinstance(module.__dict__.get("weight"), Tensor)):
            raise ValueError(
                f"the weight of layer {name!r} is computed from other parameters, as weight_norm, spectral_norm and "
                "torch.nn.utils.prune do, and channels cannot be removed from it: make it a plain parameter first "
                "(torch.nn.utils.parametrize.remove_parametrizations, torch.nn.utils.prune.remove), or name the layer "
                "in ignored_layers, with the layers whose channels it takes in"
            )


def refuse_shared(model: nn.Module, groups: Sequence[Group]) -> None:
    """Refuse layers with one parameter: each would get a smaller copy of its own without a word.

    Raises:
        ValueError: there are some in the groups; names them.
    """
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(name)
    for module in _touched(groups):
        parameters = module.parameters(recurse=False) if isinstance(module, nn.Module) else [module]
        for parameter in parameters:
            names = owners.get(id(parameter), [])
            if len(names) > 1:
                raise ValueError(
                    f"layers {' and '.join(map(repr, names))} share a parameter, which removing channels would split: "
                    "name them in ignored_layers, with the layers that read them"
                )


def _touched(groups: Sequence[Group]) -> dict[nn.Module | nn.Parameter, None]:
    return {item.dep.target.module: None for group in groups for item in group}
