"""Where the samples are in a value of the graph: it is turned until they come first, one after the other."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.utils import _pytree as pytree

_ATEN = torch.ops.aten
_RESHAPES = (
    _ATEN.view.default,
    _ATEN.reshape.default,
    _ATEN._unsafe_view.default,
    _ATEN.flatten.using_ints,
)


def samples_of(args: tuple[Any, ...], kwargs: Mapping[str, Any], otherwise: int) -> int:
    """How many samples a call has: the length of its first tensor."""
    leaves = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.ndim]
    return leaves[0].shape[0] if leaves else otherwise


def batch_first(node: Node, value: Tensor, axis: int, samples: int) -> tuple[Tensor, int]:
    """A value with its samples in front, as torch's own attention has it not, and where its filters are then.

    Args:
        node: of the graph; its recorded shape tells which axis grows with the batch.
        value: what it gave.
        axis: that of the filters.
        samples: of the batch.
    """
    place = _growing(node.meta["val"].shape)
    if place is None:
        return value, axis
    if place > 0:
        return value.movedim(place, 0), axis + (axis < place)
    before = _before_the_batch(node)
    if before > 1 and len(value) % (before * samples) == 0:
        value = value.reshape(before, samples, -1, *value.shape[1:]).movedim(1, 0).flatten(0, 2)
    return value, axis


def _growing(shape: Sequence[object]) -> int | None:
    """The one axis that grows with the batch; None if it is not known."""
    found = [place for place, size in enumerate(shape) if not isinstance(size, int)]
    return found[0] if len(found) == 1 else None


def _before_the_batch(node: Node) -> int:
    """Where axes were flattened into the first one: how many rows each sample has before the next axis is the batch.

    1 if the samples lie one after the other, or it cannot be known.
    """
    here, wanted = node, str(node.meta["val"].shape[0])
    while not wanted.isidentifier():  # the batch alone is a symbol; flattened with six tokens it is 6*s0
        source = next((each for each in here.all_input_nodes if _grows(each)), None)
        if source is None:
            return 1
        shape = source.meta["val"].shape
        if str(shape[0]) != wanted:
            place = _growing(shape)
            if here.target not in _RESHAPES or place is None:
                return 1
            if place > 0:
                return prod(shape[:place])
            wanted = str(shape[0])
        here = source
    return 1


def _grows(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and not all(isinstance(size, int) for size in value.shape)
