"""What must not be removed from, found before anything is."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch_pruning.dependency import Group

__all__ = ["refuse_unremovable"]


def refuse_unremovable(model: nn.Module, groups: Sequence[Group]) -> None:
    """Refuse groups with parameters that removal would split, or write past.

    Raises:
        ValueError: two layers have one parameter, and would each get a smaller copy of its own without a word; or the
            weight of a layer is computed from other parameters.
    """
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for parameter in module.parameters(recurse=False):
            owners.setdefault(id(parameter), []).append(name)
    touched = {item.dep.target.module: None for group in groups for item in group}
    for module in touched:
        parameters = module.parameters(recurse=False) if isinstance(module, nn.Module) else [module]
        for parameter in parameters:
            names = owners.get(id(parameter), [])
            if len(names) > 1:
                raise ValueError(
                    f"layers {' and '.join(map(repr, names))} share a parameter, which removing channels would split: "
                    "name them in ignored_layers, with the layers that read them"
                )
    for name, module in model.named_modules():
        # Old-style hooks leave the result among the plain attributes; looking at a parametrized one would compute it.
        if module in touched and (is_parametrized(module) or isinstance(module.__dict__.get("weight"), Tensor)):
            raise ValueError(
                f"the weight of layer {name!r} is computed from other parameters, as weight_norm, spectral_norm and "
                "torch.nn.utils.prune do, and channels cannot be removed from it: make it a plain parameter first "
                "(torch.nn.utils.parametrize.remove_parametrizations, torch.nn.utils.prune.remove), or name the layer "
                "in ignored_layers, with the layers that read it"
            )
