"""A model of one's own to work on."""

import copy
import warnings
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


def copied(model: Model) -> Model:
    """A deep copy, in eval mode.

    Example:
        >>> copied(nn.Dropout()).training
        False
    """
    return deep_copy(model, {}).eval()


def deep_copy(model: Model, instead: dict[int, Tensor]) -> Model:
    """A deep copy that takes some tensors from `instead`, by the id of the original.

    Tensors that a module has computed and keeps, as the old `weight_norm` does, torch itself refuses to copy: the copy
    has them without their history.

    Example:
        >>> normed = nn.utils.weight_norm(nn.Linear(2, 3))
        >>> deep_copy(normed, {}).weight.shape
        torch.Size([3, 2])
    """
    computed = {id(tensor): tensor.detach().clone() for tensor in _computed(model)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # graph modules copy what torch itself deprecates
        return copy.deepcopy(model, {**computed, **instead})


def with_own_memory(model: Model) -> Model:
    """The model itself, its buffers no longer parts of larger tensors or of each other: files hold each as it is.

    A deep copy copies a slice of a table with all of the table behind it. Buffers that are one tensor stay one.

    Example:
        >>> net = nn.Module()
        >>> net.register_buffer("mask", torch.ones(1024)[:3])
        >>> with_own_memory(net).mask.untyped_storage().nbytes()
        12
    """
    own: dict[int, Tensor] = {}
    owners: dict[int, int] = {}  # memory -> the tensor it belongs to
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is None or type(buffer) is not Tensor or buffer.layout is not torch.strided:
                continue
            memory = buffer.untyped_storage()
            alone = owners.setdefault(memory.data_ptr(), id(buffer)) == id(buffer)
            if not alone or memory.nbytes() != buffer.nbytes:
                module._buffers[name] = own.setdefault(id(buffer), buffer.detach().clone().contiguous())
    return model


def _computed(model: nn.Module) -> Iterator[Tensor]:
    for module in model.modules():
        yield from (value for value in vars(module).values() if isinstance(value, Tensor) and not value.is_leaf)
