"""Which sizes of a model's inputs may change beside the batch: found by running it at others, never assumed.

Axes are tried alone, and where that fails together with all that are as long, as token ids and their mask are.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from pfa_gate.model.batch import Inputs
from pfa_gate.model.eval_mode import in_eval_mode

Axis = tuple[int, int]
"""Which of the inputs' single values, and which of its axes."""
Runs = Callable[[Inputs], bool]
"""Whether the model does at these inputs what it does at others."""


@dataclass(frozen=True)
class FreeSizes:
    """Sizes of a model's inputs that may change beside the batch.

    Attributes:
        sizes: axis -> another size at which the model ran.
    """

    sizes: Mapping[Axis, int]

    def of(self, inputs: Inputs) -> Inputs:
        """The inputs at those other sizes.

        Example:
            >>> (value,), _ = FreeSizes({(0, 1): 3}).of(((torch.tensor([[1, 2]]),), {}))
            >>> value.tolist()
            [[1, 2, 1]]
        """
        return resized(inputs, self.sizes)


FIXED = FreeSizes({})


def free_sizes(model: nn.Module, inputs: Inputs, same: Runs = lambda inputs: True) -> FreeSizes:
    """Try every axis but the first of every input at another size.

    Args:
        model: in any mode; it runs in eval mode.
        inputs: an example.
        same: what else must hold at other sizes, beside that the model runs.

    Example:
        >>> images = torch.zeros(2, 3, 8, 8)
        >>> free_sizes(nn.Conv2d(3, 4, 3), ((images,), {})).sizes
        {(0, 2): 16, (0, 3): 16}
        >>> free_sizes(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), ((images,), {})).sizes
        {}
    """
    with in_eval_mode(model), torch.no_grad():

        def fits(sizes: Mapping[Axis, int]) -> bool:
            other = resized(inputs, sizes)
            try:
                model(*other[0], **other[1])
            except Exception:  # a forward that was written for one size may raise anything
                return False
            return same(other)

        found: dict[Axis, int] = {}
        for axes in axis_sets(inputs, found):
            sizes = next((each for each in _others(inputs, axes) if fits(each)), None)
            if sizes is not None and (not found or fits(found | sizes)):
                found |= sizes
    return FreeSizes(dict(sorted(found.items())))


def axis_sets(inputs: Inputs, found: Mapping[Axis, int]) -> Iterator[set[Axis]]:
    """Axes that are tried together: each alone, then those that are as long as one that did not move alone."""
    lengths = dict(_lengths(inputs))
    for axis in lengths:
        yield {axis}
    for length in sorted({length for axis, length in lengths.items() if axis not in found}):
        together = {axis for axis, other in lengths.items() if other == length and axis not in found}
        if len(together) > 1:
            yield together


def _lengths(inputs: Inputs) -> Iterator[tuple[Axis, int]]:
    """Axes that are longer than one: one of a single cell is taken for one that has no other size."""
    for place, leaf in enumerate(pytree.tree_leaves(inputs)):
        if isinstance(leaf, Tensor):
            yield from (((place, axis), size) for axis, size in enumerate(leaf.shape) if axis and size > 1)


def _others(inputs: Inputs, axes: Iterable[Axis]) -> Iterator[dict[Axis, int]]:
    """Other sizes: twice as long, half as long where it is even, as what a model halves again and again wants."""
    lengths, axes = dict(_lengths(inputs)), sorted(axes)
    yield {axis: 2 * lengths[axis] for axis in axes}
    if all(lengths[axis] % 2 == 0 and lengths[axis] > 2 for axis in axes):
        yield {axis: lengths[axis] // 2 for axis in axes}


def pairs_of_sizes(inputs: Inputs, axes: Iterable[Axis]) -> Iterator[tuple[dict[Axis, int], dict[Axis, int]]]:
    """Two other sizes at a time: shorter ones, which cost least, and longer ones where a model takes no shorter.

    Example:
        >>> [(one[0, 1], two[0, 1]) for one, two in pairs_of_sizes(((torch.zeros(2, 8),), {}), [(0, 1)])]
        [(4, 2), (16, 4), (16, 24)]
    """
    lengths, axes = dict(_lengths(inputs)), sorted(axes)
    for one, two in (((1, 2), (1, 4)), ((2, 1), (1, 2)), ((2, 1), (3, 1))):
        if all(lengths[axis] % down == 0 and lengths[axis] > down for axis in axes for _, down in (one, two)):
            first, second = ({axis: up * lengths[axis] // down for axis in axes} for up, down in (one, two))
            yield first, second


def resized(inputs: Inputs, sizes: Mapping[Axis, int]) -> Inputs:
    """Inputs of other sizes, filled from their start again where they become longer."""
    leaves, structure = pytree.tree_flatten(inputs)

    def changed(place: int, leaf: Any) -> Any:
        for (other, axis), size in sizes.items():
            if other == place:
                leaf = leaf.index_select(axis, (torch.arange(size) % leaf.shape[axis]).to(leaf.device))
        return leaf

    made: Inputs = pytree.tree_unflatten([changed(*each) for each in enumerate(leaves)], structure)
    return made
