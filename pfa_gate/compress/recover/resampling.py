"""The samples of several batches dealt into new ones, so that no two readings of a probe meet the same neighbours."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from pfa_gate.model.batch import Inputs

HAND = 16  # batches that are held and dealt at a time
HELD_OUT = 16  # one sample of so many is not learnt from


def dealt(batches: Iterable[Inputs], generator: torch.Generator) -> Iterator[Inputs]:
    """As many batches of the same sizes, with the samples of every sixteen mixed.

    Args:
        batches: inputs of a model; tensors have the samples on axis 0.
        generator: of the order.

    Returns:
        Mixed batches. Where the batches of a hand differ in more than their length, text of another length say, they
        come whole, in a new order.

    Example:
        >>> batches = [((torch.arange(3),), {}), ((torch.arange(3, 5),), {})]
        >>> sizes, values = zip(*((len(args[0]), args[0].tolist()) for args, _ in dealt(batches, torch.Generator())))
        >>> sizes, sorted(sum(values, []))
        ((3, 2), [0, 1, 2, 3, 4])
    """
    hand = list[Inputs]()
    for batch in batches:
        hand.append(batch)
        if len(hand) == HAND:
            yield from _mixed(hand, generator)
            hand = []
    yield from _mixed(hand, generator)


def parted(inputs: Inputs) -> tuple[Inputs, Inputs | None]:
    """The samples of a batch that are learnt from, and those that are held out; None where it has too few.

    Example:
        >>> learnt, held = parted(((torch.arange(20),), {}))
        >>> len(learnt[0][0]), held[0][0].tolist()
        (19, [15])
    """
    leaves, spec = pytree.tree_flatten(inputs)
    size = _size(leaves)
    if size is None or size < HELD_OUT:
        return inputs, None
    last = torch.arange(size) % HELD_OUT == HELD_OUT - 1
    parts = ([leaf[rows] if isinstance(leaf, Tensor) else leaf for leaf in leaves] for rows in (~last, last))
    learnt, held = (pytree.tree_unflatten(part, spec) for part in parts)
    return learnt, held


def _mixed(hand: Sequence[Inputs], generator: torch.Generator) -> Iterator[Inputs]:
    flat = [pytree.tree_flatten(inputs) for inputs in hand]
    sizes = [_size(leaves) for leaves, _ in flat]
    if not hand or None in sizes or len({(_form(leaves), spec) for leaves, spec in flat}) > 1:
        yield from (hand[place] for place in torch.randperm(len(hand), generator=generator).tolist())
        return
    lengths = [size for size in sizes if size is not None]
    order = torch.randperm(sum(lengths), generator=generator)
    columns = [_column(column, order) for column in zip(*(leaves for leaves, _ in flat), strict=True)]
    split = [torch.split(column, lengths) if isinstance(column, Tensor) else [column] * len(hand) for column in columns]
    for leaves in zip(*split, strict=True):
        args, kwargs = pytree.tree_unflatten(list(leaves), flat[0][1])
        yield args, kwargs


def _column(leaves: Sequence[Any], order: Tensor) -> Any:
    return torch.cat(list(leaves))[order] if isinstance(leaves[0], Tensor) else leaves[0]


def _size(leaves: Sequence[Any]) -> int | None:
    """How many samples the tensors of a batch agree on; None where they do not."""
    found = {len(leaf) if leaf.ndim else 0 for leaf in leaves if isinstance(leaf, Tensor)}
    return found.pop() if len(found) == 1 else None


def _form(leaves: Sequence[Any]) -> tuple[object, ...]:
    """All of a batch but its values and its length."""
    return tuple((leaf.dtype, leaf.shape[1:]) if isinstance(leaf, Tensor) else repr(leaf) for leaf in leaves)
