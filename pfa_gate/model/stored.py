"""What a model stores: every tensor of its state, once, and which of them are its weights."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import is_traceable_wrapper_subclass


@dataclass(frozen=True)
class Stored:
    """What a model stores.

    Attributes:
        parameters: elements of its weights, trainable, frozen or quantized; shared ones once.
        bytes: of all stored tensors, buffers included; shared ones once.
    """

    parameters: int
    bytes: int


def stored(model: nn.Module, unpacked: Collection[str] = ()) -> Stored:
    """Count what a model stores.

    Weights are its parameters, and what quantized modules keep in their place: packed weights and the biases with
    them are neither parameters nor buffers of the module.

    Args:
        model: any module.
        unpacked: names of integer buffers that hold weights, which its forward pass unpacks.

    Example:
        >>> stored(nn.BatchNorm1d(3))
        Stored(parameters=6, bytes=56)
    """
    trained = {id(parameter): parameter.numel() for parameter in model.parameters()}
    buffers = dict(model.named_buffers(remove_duplicate=False))
    counted = {id(buffers[name]): buffers[name].numel() for name in unpacked if name in buffers}
    known = {id(buffer) for buffer in buffers.values()}
    places: dict[tuple[Any, ...], int] = {}
    for tensor in _state(model):
        places[storage_key(tensor)] = _bytes(tensor)
        if id(tensor) not in trained and id(tensor) not in known and _is_packed_weight(tensor):
            counted[id(tensor)] = tensor.numel()
    return Stored(sum(trained.values()) + sum(counted.values()), sum(places.values()))


def _state(model: nn.Module) -> Iterator[Tensor]:
    """The tensors of a state dict; modules may add states of their own, in which tensors lie deeper."""
    for leaf in pytree.tree_leaves(dict(model.state_dict(keep_vars=True))):
        if isinstance(leaf, Tensor) and leaf.numel():
            yield leaf


def _is_packed_weight(tensor: Tensor) -> bool:
    return tensor.is_quantized or (tensor.is_floating_point() and tensor.ndim > 0)


def storage_key(tensor: Tensor) -> tuple[Any, ...]:
    """Where a tensor lies in memory, and in which shape: what two tensors share that are stored once.

    Example:
        >>> weight = torch.zeros(2, 3)
        >>> storage_key(weight.detach()) == storage_key(weight), storage_key(weight[:1]) == storage_key(weight)
        (True, False)
    """
    if tensor.is_meta:  # weights that are fetched when they are needed have no place in memory yet
        return (id(tensor),)
    if parts := _parts(tensor):
        return tuple(storage_key(part) for part in parts)
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype


def _bytes(tensor: Tensor) -> int:
    if parts := _parts(tensor):
        return sum(_bytes(part) for part in parts)
    scales = 0
    if tensor.is_quantized and tensor.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric):
        scales = sum(_bytes(part) for part in (tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points()))
    return tensor.numel() * tensor.element_size() + scales


def _parts(tensor: Any) -> list[Tensor]:
    """The tensors that a tensor of another class, such as a quantized one, is made of; none for a plain tensor."""
    if not is_traceable_wrapper_subclass(tensor):
        return []
    names, _ = tensor.__tensor_flatten__()
    return [getattr(tensor, name) for name in names]
