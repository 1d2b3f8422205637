"""Which layers read a changed stream, and which of them can be solved in one pass."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.compress.prune import AxisIndices
from pfa_gate.compress.regress import Call, Epilogue, calls
from pfa_gate.graph import Program
from pfa_gate.graph.editing import with_ancestors
from pfa_gate.graph.epilogue import epilogue_of
from pfa_gate.graph.program import shape_of


@dataclass(frozen=True)
class LayerPair:
    """One layer of the compressed model that reads a changed stream, and its origin in the full model.

    Attributes:
        small, whole: its call in the compressed and in the full program.
        filters: int64, which channels of the full layer's output it still makes, in order; None for all.
        drift: the other operands (compressed, full) of the sum it ends in; None where there is no sum, or where
            they depend on a layer that is solved later.
    """

    small: Call
    whole: Call
    filters: Tensor | None
    drift: tuple[Node, Node] | None = None

    @property
    def wanted(self) -> tuple[list[Node], list[Node]]:
        """Nodes whose values it is solved on, in the compressed and in the full program."""
        extra = self.drift or ()
        return [self.small.source, *extra[:1]], [self.whole.node, *extra[1:]]


def pairs(full: Program, program: Program, axis_indices: AxisIndices) -> list[LayerPair]:
    """The layers of the compressed program that read a changed stream, in forward order."""
    origins = {call.weight: call for call in calls(full)}
    changed: set[Node] = set()
    found = []
    for call in calls(program):
        axes = axis_indices.get(call.weight, {})
        reads = call.inputs in axes or not changed.isdisjoint(with_ancestors([call.source]))
        if reads or axes:
            changed.add(call.node)
        if reads and call.weight in origins:
            filters = axes.get(call.outputs)
            places = None if filters is None else torch.as_tensor(filters)
            found.append(LayerPair(call, origins[call.weight], _channels(origins[call.weight], places)))
    return [replace(pair, drift=_drift(full, program, pair, found[place:])) for place, pair in enumerate(found)]


def stages(found: Sequence[LayerPair]) -> Iterator[list[LayerPair]]:
    """Pairs that can be solved in one pass, because none of them reads what another makes."""
    stage: list[LayerPair] = []
    for pair in found:
        goals = with_ancestors(pair.wanted[0])
        if any(other.small.node in goals for other in stage):
            yield stage
            stage = []
        stage.append(pair)
    if stage:
        yield stage


def _channels(whole: Call, filters: Tensor | None) -> Tensor | None:
    """The places that stay of the weight's axis as channels of the output; a transposed weight holds one group's."""
    if filters is None or whole.outputs == 0 or whole.groups == 1:
        return filters
    width = shape_of(whole.node)[1] // whole.groups
    return (torch.arange(whole.groups)[:, None] * width + filters).flatten()


def _drift(full: Program, program: Program, pair: LayerPair, unsolved: Sequence[LayerPair]) -> tuple[Node, Node] | None:
    small, whole = _sum(program, pair.small), _sum(full, pair.whole)
    if small is None or whole is None:
        return None
    goals = with_ancestors([small])
    return None if any(other.small.node in goals for other in unsolved) else (small, whole)


def _sum(program: Program, call: Call) -> Node | None:
    followed: Epilogue = epilogue_of(program, call)
    return followed.added
