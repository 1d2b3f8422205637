"""The counts that modules keep of themselves, such as out_channels, brought into agreement with cut tensors.

What an attribute means is known for torch's own classes alone: the num_features of timm's transformers is the width of
their output. So a count is changed only where it agreed with the tensors before the cut. A forward that needs another
count changed does not run at the new widths, or is not proved; then the recorded graph is delivered.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from pfa_gate.errors import SurgeryError

Shapes = Mapping[str, torch.Size]
Counts = dict[str, Any]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def own_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """A module's own parameters and buffers, by attribute."""
    yield from ((name, tensor) for name, tensor in module._parameters.items() if tensor is not None)
    yield from ((name, tensor) for name, tensor in module._buffers.items() if tensor is not None)


def shapes_of(module: nn.Module) -> Shapes:
    """The shapes of a module's own tensors.

    Example:
        >>> shapes_of(nn.Linear(2, 3))
        {'weight': torch.Size([3, 2]), 'bias': torch.Size([3])}
    """
    return {name: tensor.shape for name, tensor in own_tensors(module)}


def recount(module: nn.Module, before: Shapes) -> None:
    """Bring a module's counts into agreement with its tensors, where they agreed with those of these shapes.

    Raises:
        SurgeryError: the module's class does not run at these shapes.

    Example:
        >>> layer = nn.Linear(2, 3)
        >>> before, layer.weight = shapes_of(layer), nn.Parameter(torch.zeros(1, 2))
        >>> recount(layer, before)
        >>> layer
        Linear(in_features=2, out_features=1, bias=True)
    """
    after = shapes_of(module)
    count = next((count for kinds, count in _COUNTS if isinstance(module, kinds)), _foreign)
    agreed = [name for name, size in count(module, before).items() if vars(module).get(name) == size]
    if agreed and isinstance(module, _CONVOLUTIONS) and module.groups == module.in_channels > 1:
        module.groups = after["weight"][0] * module.groups // before["weight"][0]  # each filter reads one channel
    now = count(module, after)
    vars(module).update({name: now[name] for name in agreed})
    if isinstance(module, nn.MultiheadAttention) and module.num_heads * module.head_dim != module.embed_dim:
        # Fused, it would run all the same, and not without: with gradients, say.
        raise SurgeryError("Attention of torch's own is as wide as all of its heads.")


def _convolution(module: Any, shapes: Shapes) -> Counts:
    weight = shapes.get("weight", ())
    if len(weight) < 3:
        return {}
    return {"out_channels": weight[0], "in_channels": weight[1] * module.groups}


def _transposed(module: Any, shapes: Shapes) -> Counts:
    weight = shapes.get("weight", ())
    if len(weight) < 3:
        return {}
    return {"in_channels": weight[0], "out_channels": weight[1] * module.groups}


def _sizes(*names: str) -> Callable[[Any, Shapes], Counts]:
    """Counts that are the sizes of the weight."""

    def count(_module: Any, shapes: Shapes) -> Counts:
        weight = shapes.get("weight", ())
        return dict(zip(names, weight, strict=True)) if len(weight) == len(names) else {}

    return count


def _attention(module: Any, shapes: Shapes) -> Counts:
    """Width and heads."""
    packed = shapes.get("in_proj_weight")
    query, key, value = (packed or shapes.get(f"{each}_proj_weight") for each in "qkv")
    if query is None or key is None or value is None:
        return {}
    heads = query[0] // (3 if packed else 1) // module.head_dim
    return {"embed_dim": query[1], "kdim": key[1], "vdim": value[1], "num_heads": heads}


def _recurrent(module: Any, shapes: Shapes) -> Counts:
    inputs, hidden, projection = (shapes.get(f"weight_{kind}_l0", ()) for kind in ("ih", "hh", "hr"))
    if not inputs or not hidden:
        return {}
    shown = {"proj_size": projection[0], "hidden_size": projection[1]} if projection else {"hidden_size": hidden[1]}
    return {"input_size": inputs[1], **shown}


def _recurrent_cell(_module: Any, shapes: Shapes) -> Counts:
    inputs, hidden = shapes.get("weight_ih", ()), shapes.get("weight_hh", ())
    return {"input_size": inputs[1], "hidden_size": hidden[1]} if inputs and hidden else {}


def _group_norm(_module: Any, shapes: Shapes) -> Counts:
    """Groups that were as many as the channels still are; other numbers of groups stay."""
    return {name: shapes["weight"][0] for name in ("num_channels", "num_groups") if "weight" in shapes}


def _normalised_shape(_module: Any, shapes: Shapes) -> Counts:
    return {"normalized_shape": tuple(shapes["weight"])} if "weight" in shapes else {}


def _foreign(module: Any, shapes: Shapes) -> Counts:
    """The num_features of a normalisation, in torch's own classes and in those that are written like them."""
    lengths = {shape[0] for shape in shapes.values() if len(shape) == 1}
    return {"num_features": lengths.pop()} if len(lengths) == 1 and "num_features" in vars(module) else {}


_COUNTS: tuple[tuple[Any, Callable[[Any, Shapes], Counts]], ...] = (
    (_CONVOLUTIONS, _convolution),
    (_TRANSPOSED, _transposed),
    (nn.Linear, _sizes("out_features", "in_features")),
    ((nn.Embedding, nn.EmbeddingBag), _sizes("num_embeddings", "embedding_dim")),
    (nn.Bilinear, _sizes("out_features", "in1_features", "in2_features")),
    (nn.MultiheadAttention, _attention),
    (nn.RNNBase, _recurrent),
    (nn.RNNCellBase, _recurrent_cell),
    (nn.PReLU, _sizes("num_parameters")),
    (nn.GroupNorm, _group_norm),
    ((nn.LayerNorm, nn.RMSNorm), _normalised_shape),
    (_NormBase, _foreign),
)
