"""Integers of a program that follow the sizes of its inputs, as the length of a text in a `view`: found by recording.

A program is recorded at one size. Recorded at two more, a model whose operators are the same and whose integers lie on
a line shows which of them are that size, and how.
"""

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.fx.immutable_collections import immutable_list
from torch.utils import _pytree as pytree

from pfa_gate.graph.program import Program
from pfa_gate.graph.record import Operation, Recording, record
from pfa_gate.graph.repeat import Affine, PartingError, merged, require
from pfa_gate.model.batch import Inputs
from pfa_gate.model.eval_mode import in_eval_mode
from pfa_gate.model.global_state import Randomness, without_garbage_collection

aten = torch.ops.aten
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
    """

    axes: frozenset[Axis]
    places: Mapping[Place, Affine]


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
        sizes = [_sizes(inputs)[leaf][axis] for inputs in (self.inputs, *others)]
        try:
            second, third = recordings(self.model, others)
            found = merged(self.recording, second, (sizes[0], sizes[1]))
            require(found, third, sizes[2])
        except PartingError:
            return None
        except Exception:  # a forward that was written for one size may raise anything
            return None
        size = MovingSize(axes, dict(_followers(found.operations)))
        if any(place in other.places for other in self.moving for place in size.places):
            return None  # a product of two sizes, say
        return replace(self, moving=(*self.moving, size))

    def holds(self, other: Inputs) -> bool:
        """Whether the model does at inputs of other sizes what follows from the sizes."""
        try:
            (found,) = recordings(self.model, [other])
            merged(self._at(other), found, (1, 1))
        except PartingError:
            return False
        except Exception:  # a forward that was written for one size may raise anything
            return False
        return True

    def _at(self, other: Inputs) -> Recording:
        sizes = _sizes(other)
        values = {
            place: follower.at(sizes[leaf][axis])
            for moving in self.moving
            for leaf, axis in [min(moving.axes)]
            for place, follower in moving.places.items()
        }
        operations = tuple(
            replace(each, args=_with(each.args, (number, "args"), values), kwargs=_with(dict(each.kwargs),
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


def _sizes(inputs: Inputs) -> list[tuple[int, ...]]:
    return [tuple(leaf.shape) if isinstance(leaf, Tensor) else () for leaf in pytree.tree_leaves(inputs)]


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


def _with(value: Any, path: tuple[Any, ...], values: Mapping[Place, Any]) -> Any:
    """A value with others in some places of it; `path` leads to it, its operator's number first."""
    place = (path[0], path[1:])
    if place in values:
        return values[place]
    if isinstance(value, immutable_list):
        return [_with(part, (*path, key), values) for key, part in enumerate(value)]
    if type(value) in (list, tuple):  # references are named tuples
        return type(value)(_with(part, (*path, key), values) for key, part in enumerate(value))
    if isinstance(value, dict):
        return {key: _with(part, (*path, key), values) for key, part in value.items()}
    return value


def follow_in(module: GraphModule, program: Program, flow: SizeFlow) -> bool:
    """Let a smaller graph follow the sizes of its inputs; False, and nothing is changed, where it cannot.

    Args:
        module: made from `program`, its operators under the same names.
        program: that was recorded at the inputs of `flow`.
        flow: of the model whose program it is.
    """
    changes = list(_changes(module, program, flow))
    if None in changes or not _same_operators(program, flow.recording):
        return False
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    start = next(node for node in module.graph.nodes if node.op == "call_function")
    made: dict[tuple[Axis, Affine], Node] = {}
    for change in changes:
        if change is not None:
            node, path, axis, follower = change
            key = axis, follower
            if key not in made:
                with module.graph.inserting_before(start):
                    made[key] = _computed(module, inputs[axis[0]], axis[1], follower)
            _put(node, path, made[key])
    module.graph.lint()
    module.recompile()
    return True


_Change = tuple[Node, tuple[Any, ...], Axis, Affine]


def _changes(module: GraphModule, program: Program, flow: SizeFlow) -> Iterator[_Change | None]:
    """Arguments that a size takes the place of; None for one that the smaller graph has not as it was recorded."""
    names = {node.meta["call"]: node.name for node in program.graph.nodes if "call" in node.meta}
    nodes = {node.name: node for node in module.graph.nodes}
    for moving in flow.moving:
        axis = min(moving.axes)
        size = _sizes(flow.inputs)[axis[0]][axis[1]]
        for (number, path), follower in moving.places.items():
            node = nodes.get(names.get(number, ""))
            if node is None:
                continue  # nothing reads it
            fits = _get(node, path) == follower.at(size)
            yield (node, path, axis, follower) if fits else None


def _same_operators(program: Program, recording: Recording) -> bool:
    """Whether a program is of such a recording, whatever its numbers."""
    found = {node.meta["call"]: node.target for node in program.graph.nodes if "call" in node.meta}
    count = len(recording.operations)
    return all(number < count and recording.operations[number].operator is each for number, each in found.items())


def _get(node: Node, path: tuple[Any, ...]) -> Any:
    value: Any = node.args if path[0] == "args" else node.kwargs
    try:
        for key in path[1:]:
            value = value[key]
    except (LookupError, TypeError):  # the cut has made another operator of it
        return None
    return value


def _put(node: Node, path: tuple[Any, ...], size: Node) -> None:
    values = {(0, path): size}
    node.args = _with(node.args, (0, "args"), values)
    node.kwargs = _with(dict(node.kwargs), (0, "kwargs"), values)


def _computed(module: GraphModule, source: Node, axis: int, follower: Affine) -> Node:
    factor, offset, divisor = follower
    made = module.graph.call_function(aten.sym_size.int, (source, axis))
    for target, number, idle in ((operator.mul, factor, 1), (operator.floordiv, divisor, 1), (operator.add, offset, 0)):
        made = made if number == idle else module.graph.call_function(target, (made, number))
    return made
