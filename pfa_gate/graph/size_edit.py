"""A graph whose integers follow the sizes of its inputs, as a model's recordings show."""

import operator
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.fx import GraphModule, Node

from pfa_gate.graph.program import Program
from pfa_gate.graph.record import Recording
from pfa_gate.graph.repeat import Affine
from pfa_gate.graph.size_flow import (
    Axis,
    MovingSize,
    Place,
    SizeFlow,
    at_path,
    sizes_of_inputs,
    with_values,
)
from pfa_gate.model.batch import samples_of

aten = torch.ops.aten


def follow_in(module: GraphModule, program: Program, flow: SizeFlow) -> bool:
    """Let a smaller graph follow the sizes of its inputs; False, and nothing is changed, where it cannot.

    Args:
        module: made from `program`, its operators under the same names.
        program: that was recorded at the inputs of `flow`.
        flow: of the model whose program it is.
    """
    changes = [(moving, list(_changes(module, program, flow, moving))) for moving in flow.moving]
    if not _same_operators(program, flow.recording):
        return False
    for moving, found in changes:
        products = {each.place: each.times for each in found if each is not None and each.samples is not None}
        if None in found or (products and not flow.multiplies(moving, products)):
            return False
    inputs = [node for node in module.graph.nodes if node.op == "placeholder"]
    start = next(node for node in module.graph.nodes if node.op == "call_function")
    made: dict[Any, Node] = {}
    for change in (each for _, found in changes for each in found if each is not None):
        leaf, axis = change.axis
        key = change.axis, change.follower, change.samples, change.times
        if key not in made:
            with module.graph.inserting_before(change.samples.next if change.samples else start):
                made[key] = _computed(module, (inputs[leaf], axis), change)
        _put(change.node, change.place[1], made[key])
    module.graph.eliminate_dead_code()
    module.graph.lint()
    module.recompile()
    return True


@dataclass(frozen=True)
class _Change:
    """An argument that a size takes the place of.

    Attributes:
        node: whose it is.
        place: of it.
        axis: whose size it is.
        follower: how it follows.
        samples: the number of samples as the graph computes it, where the argument is a product with it; else None.
        times: what the product is of, beside the two.
    """

    node: Node
    place: Place
    axis: Axis
    follower: Affine
    samples: Node | None = None
    times: int = 1


def _changes(module: GraphModule, program: Program, flow: SizeFlow, moving: MovingSize) -> Iterator[_Change | None]:
    """The arguments that follow a size; None for one that the smaller graph has not as it was recorded."""
    names = {node.meta["call"]: node.name for node in program.graph.nodes if "call" in node.meta}
    nodes = {node.name: node for node in module.graph.nodes}
    axis = min(moving.axes)
    size, samples = sizes_of_inputs(flow.inputs)[axis[0]][axis[1]], samples_of(flow.inputs)
    for place, follower in moving.places.items():
        node = nodes.get(names.get(place[0], ""))
        if node is None:
            continue  # nothing reads it
        value = at_path({"args": node.args, "kwargs": node.kwargs}, place[1])
        if isinstance(value, Node):
            yield _product(_Change(node, place, axis, follower), value, size, samples)
        else:
            yield _Change(node, place, axis, follower) if value == follower.at(size) else None


def _product(change: _Change, value: Node, size: int, samples: int) -> _Change | None:
    """The change of an argument that is computed from the samples; None where it is no product with the size."""
    factor, offset, divisor = change.follower
    plain = value.target is operator.mul and isinstance(value.args[0], Node) and isinstance(value.args[1], int)
    source, times = value.args if plain else (None, 0)
    if not isinstance(source, Node) or source.target is not aten.sym_size.int or not isinstance(times, int):
        return None
    if offset or divisor != 1 or times % size or factor * size != times * samples:
        return None
    return replace(change, samples=source, times=times // size)


def _same_operators(program: Program, recording: Recording) -> bool:
    """Whether a program is of such a recording, whatever its numbers."""
    found = {node.meta["call"]: node.target for node in program.graph.nodes if "call" in node.meta}
    count = len(recording.operations)
    return all(number < count and recording.operations[number].operator is each for number, each in found.items())


def _put(node: Node, path: tuple[Any, ...], size: Node) -> None:
    values = {(0, path): size}
    node.args = with_values(node.args, (0, "args"), values)
    node.kwargs = with_values(dict(node.kwargs), (0, "kwargs"), values)


def _computed(module: GraphModule, source: tuple[Node, int], change: _Change) -> Node:
    factor, offset, divisor = change.follower
    made = module.graph.call_function(aten.sym_size.int, source)
    if change.samples is not None:
        made = made if change.times == 1 else module.graph.call_function(operator.mul, (made, change.times))
        return module.graph.call_function(operator.mul, (change.samples, made))
    for target, number, idle in ((operator.mul, factor, 1), (operator.floordiv, divisor, 1), (operator.add, offset, 0)):
        made = made if number == idle else module.graph.call_function(target, (made, number))
    return made
