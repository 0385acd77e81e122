"""Checks of NNI config lists, before wrapping; NNI itself accepts lists that cannot work."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ...utils.text import did_you_mean

__all__ = ["check_config"]

_PRUNABLE = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_GRANULARITIES = (None, "default", "out_channel", [1], (1,))
_RATIOS = {"sparse_ratio": "[0, 1)", "min_sparse_ratio": "[0, 1)", "max_sparse_ratio": "(0, 1]"}


def check_config(model: nn.Module, config_list: Sequence[Mapping[str, Any]]) -> None:
    """Refuse config lists that FOADPruner cannot apply.

    Args:
        model: the model whose layers are named, not wrapped.
        config_list: NNI 3.0's config list.

    Raises:
        TypeError: not a list of dicts.
        ValueError: an empty list, a key or value that NNI does not know, a ratio out of its range, a name, type or
            expression that matches no layer, layers that are neither convolutions nor linear, one layer under two
            names, another granularity than output channels, layers of one dependency group that differ in width or
            ratio, or a global group without one ratio. The message names the entry and the value.
    """
    from nni.compression.base.config import default_config_schema, select_modules_by_config, trans_legacy_config_list
    from schema import SchemaError

    if not isinstance(config_list, (list, tuple)) or not all(isinstance(config, Mapping) for config in config_list):
        raise TypeError(f"config_list must be a list of dicts, got {config_list!r}")
    if not config_list:
        raise ValueError("config_list is empty: name layers to prune, as in [{'op_types': ['Conv2d']}]")
    coupled: dict[Any, dict[str, tuple[int, Any]]] = defaultdict(dict)
    ranked: dict[Any, set[Any]] = defaultdict(set)
    configs = trans_legacy_config_list([dict(config) for config in config_list])
    for number, (config, given) in enumerate(zip(configs, config_list, strict=True)):
        where = f"config_list[{number}]"
        settings = [config, *config.get("target_settings", {}).values()]
        for setting in settings:
            _check_setting(where, setting)
        try:
            default_config_schema("pruning").validate(config)
        except SchemaError as error:
            raise ValueError(f"{where}: {error}") from None
        targets = set(config.get("target_names") or ("weight", "bias")) | set(config.get("target_settings", {}))
        if not {"weight"} <= set(config.get("target_names") or ("weight",)) or not targets <= {"weight", "bias"}:
            raise ValueError(f"{where}: FOADPruner's targets are weight and bias, got {sorted(targets)}")
        _check_names(where, model, config)
        selected, _, _ = select_modules_by_config(model, config)
        # In lists of NNI before 3.0, an entry may exclude layers of all others.
        if not selected and not given.get("exclude"):
            raise ValueError(f"{where} selects no layer of the model")
        _check_one_name(where, selected)
        for name, layer in selected.items():
            if not isinstance(layer, _PRUNABLE):
                raise ValueError(
                    f"{where} selects {name!r}, a {type(layer).__name__}: FOADPruner prunes the output channels of "
                    "convolutions and linear layers"
                )
            for setting in settings:
                if setting.get("dependency_group_id") is not None:
                    coupled[setting["dependency_group_id"]][name] = (layer.weight.shape[0], _share(setting))
                if setting.get("global_group_id") is not None:
                    ranked[setting["global_group_id"]].add(setting.get("sparse_ratio"))
    for group, ratios in ranked.items():
        if len(ratios - {None}) != 1:
            found = ", ".join(sorted(map(str, ratios)))
            raise ValueError(f"global group {group!r} needs one sparse_ratio for all of its layers, got {found}")
    for group, layers in coupled.items():
        for what, values in (("widths", [w for w, _ in layers.values()]), ("ratios", [r for _, r in layers.values()])):
            if len(set(values)) > 1:
                found = ", ".join(sorted(f"{name!r}: {value}" for name, value in zip(layers, values, strict=True)))
                raise ValueError(f"dependency group {group!r} joins layers of different {what}: {found}")


def _share(setting: Mapping[str, Any]) -> Any:
    """The ratio that is removed, or without one the bounds of the published rule."""
    if setting.get("sparse_ratio") is not None:
        return setting["sparse_ratio"]
    return ", ".join(f"{key}={setting[key]:g}" for key in _RATIOS if setting.get(key) is not None) or None


def _check_one_name(where: str, selected: Mapping[str, nn.Module]) -> None:
    names: dict[nn.Module, str] = {}
    for name, layer in selected.items():
        other = names.setdefault(layer, name)
        if other != name:
            first, second = sorted((other, name))
            raise ValueError(
                f"{where} selects one layer under two names, {first!r} and {second!r}, and NNI wraps a layer once: "
                "add one of them to exclude_op_names"
            )


def _check_setting(where: str, setting: Mapping[str, Any]) -> None:
    for key, allowed in _RATIOS.items():
        value = setting.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{where}: {key} must be a number in {allowed}, got {value!r}")
        if not 0 <= value <= 1 or value == (1 if allowed.endswith(")") else 0):
            raise ValueError(f"{where}: {key} must be in {allowed}, got {value!r}")
    if setting.get("granularity") not in _GRANULARITIES:
        raise ValueError(
            f"{where}: FOADPruner prunes whole output channels, got granularity {setting['granularity']!r}"
        )
    if setting.get("sparse_threshold") is not None and setting.get("dependency_group_id") is not None:
        raise ValueError(f"{where}: NNI has no sparse_threshold for a dependency group; give a sparse_ratio")


def _check_names(where: str, model: nn.Module, config: Mapping[str, Any]) -> None:
    names = [name for name, _ in model.named_modules(remove_duplicate=False) if name]
    types = sorted({type(module).__name__ for module in model.modules()})
    for key, known in (("op_names", names), ("exclude_op_names", names), ("op_types", types)):
        for wanted in config.get(key, ()):
            if wanted not in known:
                hint = did_you_mean(wanted, known)
                raise ValueError(f"{where}: {key} has {wanted!r}, which matches no layer of the model{hint}")
    for key in ("op_names_re", "exclude_op_names_re"):
        for expression in config.get(key, ()):
            if not any(re.match(expression, name) for name in names):
                raise ValueError(f"{where}: {key} has {expression!r}, which matches no layer of the model")
