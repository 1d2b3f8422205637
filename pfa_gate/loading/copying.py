"""A model of one's own to work on."""

import copy
import warnings
from collections.abc import Iterator
from typing import TypeVar

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


def _computed(model: nn.Module) -> Iterator[Tensor]:
    for module in model.modules():
        yield from (value for value in vars(module).values() if isinstance(value, Tensor) and not value.is_leaf)
