"""Whether the tensors of torch's own layers have the shapes that the layers' integer attributes give."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils import parametrize

__all__ = ["HOOK_SUFFIXES", "layer_problem"]

_GATES = {"LSTM": 4, "GRU": 3}
# torch.nn.utils.weight_norm, spectral_norm and prune store a weight under these, and compute it from them in a hook.
HOOK_SUFFIXES = ("_v", "_orig")


def layer_problem(layer: nn.Module) -> str | None:
    """What does not fit in a layer of torch or of a subclass; None for others, and where everything fits."""
    try:
        shapes = _shapes(layer)
    except ZeroDivisionError:
        shapes = None
    if shapes is None:
        return "its integer attributes do not fit each other"
    for leaf, shape in shapes.items():
        for tensor in _tensors(layer, leaf):
            if tuple(tensor.shape) != shape:
                return f"its {leaf} has the shape {tuple(tensor.shape)} instead of {shape}"
    return None


def _tensors(layer: Any, leaf: str) -> list[Tensor]:
    if parametrize.is_parametrized(layer, leaf):
        # Computing it could change buffers, as spectral_norm does.
        original = getattr(layer.parametrizations[leaf], "original", None)
        return [original] if isinstance(original, Tensor) else []
    stored: Mapping[str, Any] = {**layer._parameters, **layer._buffers}
    found = [stored.get(leaf + suffix) for suffix in ("", *HOOK_SUFFIXES)]
    return [tensor for tensor in found if tensor is not None]


def _shapes(layer: Any) -> dict[str, tuple[int, ...]] | None:
    """Shapes by name; empty for a layer that is not known, None for attributes that do not fit each other."""
    if isinstance(layer, _ConvNd):
        into, out = layer.in_channels, layer.out_channels
        if into % layer.groups or out % layer.groups:
            return None
        sides = (into, out // layer.groups) if isinstance(layer, _ConvTransposeNd) else (out, into // layer.groups)
        return {"weight": (*sides, *layer.kernel_size), "bias": (out,)}
    if isinstance(layer, nn.Linear):
        return {"weight": (layer.out_features, layer.in_features), "bias": (layer.out_features,)}
    if isinstance(layer, _NormBase):
        return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (layer.num_features,))
    if isinstance(layer, nn.GroupNorm):
        if layer.num_channels % layer.num_groups:
            return None
        return dict.fromkeys(("weight", "bias"), (layer.num_channels,))
    if isinstance(layer, (nn.LayerNorm, nn.RMSNorm)):
        return dict.fromkeys(("weight", "bias"), tuple(layer.normalized_shape))
    if isinstance(layer, nn.PReLU):
        return {"weight": (layer.num_parameters,)}
    if isinstance(layer, (nn.Embedding, nn.EmbeddingBag)):
        return {"weight": (layer.num_embeddings, layer.embedding_dim)}
    if isinstance(layer, nn.RNNBase):
        return _recurrent(layer)
    if isinstance(layer, nn.MultiheadAttention):
        return _attention(layer)
    return {}


def _attention(layer: nn.MultiheadAttention) -> dict[str, tuple[int, ...]] | None:
    width = layer.embed_dim
    if layer.num_heads * layer.head_dim != width or layer.out_proj.weight.shape != (width, width):
        return None
    return {
        "in_proj_weight": (3 * width, width),
        "in_proj_bias": (3 * width,),
        "q_proj_weight": (width, width),
        "k_proj_weight": (width, layer.kdim),
        "v_proj_weight": (width, layer.vdim),
        "bias_k": (1, 1, width),
        "bias_v": (1, 1, width),
    }


def _recurrent(layer: nn.RNNBase) -> dict[str, tuple[int, ...]]:
    rows = _GATES.get(layer.mode, 1) * layer.hidden_size
    out, directions = layer.proj_size or layer.hidden_size, 2 if layer.bidirectional else 1
    shapes: dict[str, tuple[int, ...]] = {}
    for number in range(layer.num_layers):
        into = out * directions if number else layer.input_size
        for end in ("", "_reverse"):
            place = f"l{number}{end}"
            shapes |= {f"weight_ih_{place}": (rows, into), f"weight_hh_{place}": (rows, out)}
            shapes |= {f"bias_ih_{place}": (rows,), f"bias_hh_{place}": (rows,)}
            shapes |= {f"weight_hr_{place}": (layer.proj_size, layer.hidden_size)}
    return shapes
