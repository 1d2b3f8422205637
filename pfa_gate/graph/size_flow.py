"""Integers of a program that follow the sizes of its inputs, as the length of a text in a `view`: found by recording.

A program is recorded at one size. Recorded at two more, a model whose operators are the same and whose integers lie on
a line shows which of them are that size, and how.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx.immutable_collections import immutable_list
from torch.utils import _pytree as pytree

from pfa_gate.graph.record import Operation, Recording, record
from pfa_gate.graph.repeat import Affine, PartingError, merged, require
from pfa_gate.model.batch import Inputs, samples_of
from pfa_gate.model.eval_mode import in_eval_mode
from pfa_gate.model.global_state import Randomness, without_garbage_collection

Axis = tuple[int, int]
"""Which of the inputs' single values, and which of its axes."""
Place = tuple[int, tuple[Any, ...]]
"""Which operator, and the path to one of its arguments."""


@dataclass(frozen=True)
class MovingSize:
    """Axes that have one size, and the integers that follow it.

    Attributes:
        axes: of the inputs.
        places: operator and argument -> how it follows.
        other: inputs at another size of these axes.
    """

    axes: frozenset[Axis]
    places: Mapping[Place, Affine]
    other: Inputs


@dataclass(frozen=True)
class SizeFlow:
    """A model's recording at an example, and what of it follows the sizes of the inputs.

    Attributes:
        model: that was recorded.
        inputs: of the recording.
        recording: at the example.
        moving: sizes that are followed.
    """

    model: nn.Module
    inputs: Inputs
    recording: Recording
    moving: tuple[MovingSize, ...] = ()

    def following(self, axes: frozenset[Axis], others: Sequence[Inputs]) -> "SizeFlow | None":
        """The same with one more size; None where what the model does there is not the same program.

        Args:
            axes: that have this size.
            others: inputs at two other sizes along these axes, and the same else.
        """
        leaf, axis = min(axes)
        sizes = [sizes_of_inputs(inputs)[leaf][axis] for inputs in (self.inputs, *others)]
        try:
            second, third = recordings(self.model, others)
        except Exception:  # a forward that was written for one size may raise anything
            return None
        try:
            found = merged(self.recording, second, (sizes[0], sizes[1]))
            require(found, third, sizes[2])
        except PartingError:
            return None
        size = MovingSize(axes, dict(_followers(found.operations)), others[0])
        if any(place in other.places for other in self.moving for place in size.places):
            return None  # a product of two sizes, say
        return replace(self, moving=(*self.moving, size))

    def holds(self, other: Inputs) -> bool:
        """Whether the model does at inputs of other sizes what follows from the sizes."""
        try:
            (found,) = recordings(self.model, [other])
        except Exception:  # a forward that was written for one size may raise anything
            return False
        try:
            merged(self._at(other), found, (1, 1))
        except PartingError:
            return False
        return True

    def multiplies(self, moving: MovingSize, products: Mapping[Place, int]) -> bool:
        """Whether integers are the samples times a size times a number, at another size and number of samples too.

        Args:
            moving: the size.
            products: operator and argument -> the number.
        """
        leaf, axis = min(moving.axes)
        other = _one_more(moving.other)
        try:
            (found,) = recordings(self.model, [other])
        except Exception:  # a forward that was written for one number of samples may raise anything
            return False
        size = samples_of(other) * sizes_of_inputs(other)[leaf][axis]
        calls = found.operations
        return all(
            number < len(calls)
            and at_path({"args": calls[number].args, "kwargs": calls[number].kwargs}, path) == each * size
            for (number, path), each in products.items()
        )

    def _at(self, other: Inputs) -> Recording:
        sizes = sizes_of_inputs(other)
        values = {
            place: follower.at(sizes[leaf][axis])
            for moving in self.moving
            for leaf, axis in [min(moving.axes)]
            for place, follower in moving.places.items()
        }
        operations = tuple(
            replace(each, args=with_values(each.args, (number, "args"), values), kwargs=with_values(dict(each.kwargs),
                    (number, "kwargs"), values))
            for number, each in enumerate(self.recording.operations)
        )  # fmt: skip
        return replace(self.recording, operations=operations)


def size_flow(model: nn.Module, inputs: Inputs) -> SizeFlow:
    """A model's recording at an example, in which nothing is followed yet.

    Args:
        model: any module; it runs in eval mode and is left as it was.
        inputs: the example.

    Example:
        >>> class Rows(nn.Module):
        ...     def forward(self, x):
        ...         return x.view(2, x.shape[1] // 2, 2)
        >>> flow = size_flow(Rows(), ((torch.zeros(2, 8),), {}))
        >>> others = [((torch.zeros(2, size),), {}) for size in (16, 12)]
        >>> flow.following(frozenset({(0, 1)}), others).moving[0].places
        {(0, ('args', 1, 1)): Affine(factor=1, offset=0, divisor=2)}
    """
    (found,) = recordings(model, [inputs])
    return SizeFlow(model, inputs, found)


def recordings(model: nn.Module, inputs: Sequence[Inputs]) -> list[Recording]:
    """What a model does with some inputs.

    Raises:
        Exception: whatever the model's forward raises.
    """
    found = []
    with in_eval_mode(model) as kept, Randomness(0).borrowed(), without_garbage_collection():
        for each in inputs:
            try:
                found.append(record(model, each))
            finally:
                kept.restore()
    return found


def sizes_of_inputs(inputs: Inputs) -> list[tuple[int, ...]]:
    """The shape of each single value; empty for what is no tensor."""
    return [tuple(leaf.shape) if isinstance(leaf, Tensor) else () for leaf in pytree.tree_leaves(inputs)]


def _one_more(inputs: Inputs) -> Inputs:
    """The same with its first sample once more at the end."""
    count = samples_of(inputs)

    def longer(leaf: Any) -> Any:
        per_sample = isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == count
        return torch.cat([leaf, leaf[:1]]) if per_sample else leaf

    made: Inputs = pytree.tree_map(longer, inputs)
    return made


def _followers(operations: Sequence[Operation]) -> Iterator[tuple[Place, Affine]]:
    for number, each in enumerate(operations):
        for part, value in (("args", each.args), ("kwargs", dict(each.kwargs))):
            yield from (((number, (part, *path)), found) for path, found in _affine(value))


def _affine(value: Any) -> Iterator[tuple[tuple[Any, ...], Affine]]:
    if isinstance(value, Affine):
        yield (), value
    elif type(value) in (list, tuple, dict):
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        yield from (((key, *path), found) for key, part in parts for path, found in _affine(part))


def with_values(value: Any, path: tuple[Any, ...], values: Mapping[Place, Any]) -> Any:
    """A value with others in some places of it; `path` leads to it, its operator's number first."""
    place = (path[0], path[1:])
    if place in values:
        return values[place]
    if isinstance(value, immutable_list):
        return [with_values(part, (*path, key), values) for key, part in enumerate(value)]
    if type(value) in (list, tuple):  # references are named tuples
        return type(value)(with_values(part, (*path, key), values) for key, part in enumerate(value))
    if isinstance(value, dict):
        return {key: with_values(part, (*path, key), values) for key, part in value.items()}
    return value


def at_path(value: Any, path: tuple[Any, ...]) -> Any:
    """What stands in a place; None where the cut has made another operator of it."""
    try:
        for key in path:
            value = value[key]
    except (LookupError, TypeError):
        return None
    return value
