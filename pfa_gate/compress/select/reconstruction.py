"""Selection by reconstruction: the filters that their readers can best do without go first, eliminated by blocks."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.fx import Node
from torch.utils import _pytree as pytree

from pfa_gate.compress.regress import FEWEST, SCARCE, Equations, draw, patches, position_count, spread
from pfa_gate.compress.select.importance import l1
from pfa_gate.compress.select.selection import Evidence, Orders
from pfa_gate.graph import Group, Program, Slice, inputs_of
from pfa_gate.graph.calls import Call, calls, epilogue_of, matrix_of
from pfa_gate.graph.group import OTHER_GROUP, Indices
from pfa_gate.graph.layout import fastest_layout
from pfa_gate.graph.program import shape_of
from pfa_gate.model.device import inputs_on


@dataclass(frozen=True)
class GroupReader:
    """How one layer reads the filters of a group.

    Attributes:
        gram: X'X of the centred inputs, float64 [G, D, D].
        weights: float64 [G, D, O], each output times what follows scales it by.
        columns: int64 [C, m], the columns of each filter; columns of no filter here are never removed.
    """

    gram: Tensor
    weights: Tensor
    columns: Tensor


@dataclass(frozen=True)
class Elimination:
    """All filters of a group in the order in which they are removed.

    Attributes:
        order: int64 [C], a permutation.
        losses: float64 [C], the share of their own outputs, summed over readers, that each removal costs beyond those
            before it, the filters left being refitted.
    """

    order: Indices
    losses: npt.NDArray[np.float64]


def eliminate(readings: Sequence[GroupReader], width: int, ridge: float = 1e-3) -> Elimination:
    """All filters in the order in which they are removed, cheapest first, the others refitted each time.

    Args:
        readings: of the layers that read the group; each counts by the share of its own output that is lost.
        width: C, the filters of the group.
        ridge: added to the diagonal of each gram matrix, relative to its mean.

    Example:
        >>> rows = torch.randn(50, 3, dtype=torch.float64)
        >>> rows[:, 2] = rows[:, 0] + 1e-3 * rows[:, 2]
        >>> weights = torch.tensor([[[1.0], [1.0], [1.0]]], dtype=torch.float64)
        >>> reading = GroupReader((rows.T @ rows)[None], weights, torch.arange(3)[:, None])
        >>> found = eliminate([reading], 3)
        >>> int(found.order[0]) in (0, 2), bool(found.losses[0] < 1e-3)
        (True, True)
    """
    states = [_ReaderState(reading, ridge) for reading in readings]
    alive = list(range(width))
    order, losses = list[int](), list[float]()
    while alive:
        costs = np.zeros(len(alive))
        for state in states:
            costs += state.costs(len(alive)).numpy()
        place = int(np.lexsort((np.array(alive), costs))[0])
        losses.append(float(costs[place]))
        for state in states:
            state.remove(place, len(alive))
        alive[place], alive[-1] = alive[-1], alive[place]
        order.append(alive.pop())
    return Elimination(np.array(order, dtype=np.int64), np.array(losses))


class _ReaderState:
    """Weights and inverse gram of one reader while its columns go.

    The columns of no filter come first, then those of each filter, the filters still there before those that are gone:
    what is left is a corner of the matrix, and the work shrinks with it.
    """

    def __init__(self, reading: GroupReader, ridge: float) -> None:
        others = torch.ones(reading.gram.shape[1], dtype=torch.bool)
        others[reading.columns] = False
        order = torch.cat([others.nonzero().flatten(), reading.columns.flatten()])
        gram = reading.gram[:, order[:, None], order]
        diagonal = gram.diagonal(dim1=1, dim2=2)
        load = ridge * diagonal.mean(1, keepdim=True)
        diagonal.add_(load.clamp_min(torch.finfo(torch.float64).tiny))
        self._first, self._size = int(others.sum()), reading.columns.shape[1]
        self._weights = reading.weights[:, order]
        self._inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram))
        whole = (reading.weights * (reading.gram @ reading.weights)).sum()
        self._share = 1 / float(whole) if float(whole) > 0 else 0.0

    def costs(self, alive: int) -> Tensor:
        """What removing each of the first filters would cost, float64 [alive]."""
        left, groups, size = slice(self._first, self._block(alive).start), len(self._weights), self._size
        blocks = self._inverse[:, left, left].view(groups, alive, size, alive, size).diagonal(dim1=1, dim2=3)
        weights = self._weights[:, left].view(groups, alive, size, -1)
        lost: Tensor = (weights * torch.linalg.solve(blocks.movedim(3, 1), weights)).sum((0, 2, 3))
        return lost * self._share

    def remove(self, place: int, alive: int) -> None:
        """Let the last of the first filters take this one's place, and the rest take over what it did."""
        mine, gone = self._block(place), self._block(alive - 1)
        for table in (self._weights, self._inverse, self._inverse.transpose(1, 2)):
            table[:, mine], table[:, gone] = table[:, gone].clone(), table[:, mine].clone()
        left = slice(0, gone.start)
        weights, inverse, across = self._weights[:, left], self._inverse[:, left, left], self._inverse[:, left, gone]
        readings = torch.cat([self._weights[:, gone], self._inverse[:, gone, left]], 2)
        step = torch.linalg.solve(self._inverse[:, gone, gone], readings)
        weights.baddbmm_(across, step[:, :, : weights.shape[2]], alpha=-1)
        inverse.baddbmm_(across, step[:, :, weights.shape[2] :], alpha=-1)

    def _block(self, place: int) -> slice:
        start = self._first + place * self._size
        return slice(start, start + self._size)


Losses = npt.NDArray[np.float64]
ROWS = 16  # patches for each column of a reader, as far as there are so many


def reconstruction(evidence: Evidence) -> Orders:
    """Filters by what their readers lose when they go and the others are refitted (optimal brain surgeon, in blocks).

    Each reader's outputs are weighted by the batch norm that follows. The full model runs once, without labels, over as
    many samples as the readers need. A group that no reader mixes, such as a branch of a sum under `residual: pad`, is
    ordered by the L1 norm of its weights.

    Example:
        >>> from pfa_gate.graph import record_model, trace_program
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
        >>> _ = torch.nn.init.zeros_(net[1].weight[:, 1].data)
        >>> program = record_model(net, (torch.zeros(2, 4),), {})
        >>> groups = trace_program(program).groups[:1]
        >>> int(reconstruction(Evidence(program, groups, {}, [torch.randn(64, 4)]))["0"][0])
        1
    """
    found = _eliminations(evidence)
    unread = [group for group in evidence.groups if not found[group.name].losses.any()]
    return {name: each.order for name, each in found.items()} | dict(l1(replace(evidence, groups=unread)))


def reader_losses(evidence: Evidence) -> dict[str, Losses]:
    """What the readers of each group lose with every further filter removed, in the order of `reconstruction`.

    Returns:
        For each group that a reader mixes, float64 [C]: the share of the readers' outputs, weighted by
        the batch norm that follows, that each removal costs beyond those before it.

    Example:
        >>> from pfa_gate.graph import record_model, trace_program
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
        >>> program = record_model(net, (torch.zeros(2, 4),), {})
        >>> groups = trace_program(program).groups[:1]
        >>> reader_losses(Evidence(program, groups, {}, [torch.randn(64, 4)]))["0"].shape
        (3,)
    """
    return {name: found.losses for name, found in _eliminations(evidence).items() if found.losses.any()}


def _eliminations(evidence: Evidence) -> dict[str, Elimination]:
    program = evidence.program
    every_call = calls(program)
    found = [(group, call, part) for group in evidence.groups for call, part in _readers(every_call, group)]
    every = {call.weight: call for _, call, _ in found}.values()
    chosen, samples = _chosen(evidence.batches, max((_needed(program, call) for call in every), default=0))
    wanted = [_GramRequest(call, _columns(program, call), samples) for call in every]
    grams = _grams(wanted, evidence, chosen)
    eliminations = {}
    for group in evidence.groups:
        mine = [(call, part) for owner, call, part in found if owner is group and call.weight in grams]
        readings = [_reading(program, call, part, grams[call.weight]) for call, part in mine]
        eliminations[group.name] = eliminate(readings, group.width)
    return eliminations


def _readers(every: Iterable[Call], group: Group) -> Iterable[tuple[Call, Slice]]:
    """Of all calls those that mix the group's filters; a depthwise convolution keeps them apart, others read on."""
    parts = {(part.parameter, part.axis): part for part in group.slices}
    for call in every:
        part = parts.get((call.weight, call.inputs))
        if part is not None and call.geometry is not None and call.geometry.transposed and call.groups > 1:
            continue
        if part is not None and call.readable:
            yield call, part


@dataclass(frozen=True)
class _GramRequest:
    """A call whose gram matrix is wanted, of how many columns, from how many samples."""

    call: Call
    columns: int
    samples: int

    def draw(self, shape: tuple[int, ...], seed: int) -> Tensor:
        """Positions in an output of this shape, enough over all samples for the columns."""
        count = math.ceil(ROWS * self.columns / self.samples)
        return draw(shape[0], position_count(self.call, shape), count, seed)


def _columns(program: Program, call: Call) -> int:
    return matrix_of(call, program.tensors[call.weight]).shape[1]


def _needed(program: Program, call: Call) -> int:
    """Samples that hold enough patches for the columns of a call."""
    return max(FEWEST, math.ceil(SCARCE * _columns(program, call) / position_count(call, shape_of(call.node))))


def _chosen(batches: Iterable[Any], samples: int) -> tuple[set[int], int]:
    """Batches that have so many samples together, from all over the probe, and how many they have."""
    sizes = [_samples(batch) for batch in batches]
    chosen, total = set[int](), 0
    for batch in spread(len(sizes)):
        if total < samples:
            chosen.add(batch)
            total += sizes[batch]
    return chosen, total


def _samples(batch: Any) -> int:
    leaves = pytree.tree_leaves(inputs_of(batch))
    return next(len(leaf) for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim)


def _grams(wanted: Iterable[_GramRequest], evidence: Evidence, chosen: set[int]) -> dict[str, Tensor]:
    """X'X of the centred patches that each call reads, float64 [groups, D, D], from one pass over chosen batches."""
    sources: dict[str, list[_GramRequest]] = {}
    for request in wanted:
        sources.setdefault(request.call.source.name, []).append(request)
    equations: dict[str, Equations] = {}

    def take(request: _GramRequest, value: Tensor, batch: int) -> None:
        call, shape = request.call, (len(value), *shape_of(request.call.node)[1:])
        rows = patches(call, value, shape, request.draw(shape, evidence.seed + batch))
        if call.weight not in equations:
            equations[call.weight] = Equations(rows.shape[0], rows.shape[2], 1, rows.device, parts=1)
        equations[call.weight].add(rows, rows[:, :, :1])

    layout = fastest_layout(evidence.running)
    for batch, each in enumerate(evidence.batches):
        if batch not in chosen:
            continue

        def observe(node: Node, value: Any, batch: int = batch) -> None:
            for request in sources.get(node.name, ()):
                take(request, value, batch)
            if evidence.kept is not None:
                evidence.kept.observe(batch, node, value)

        with torch.no_grad():
            args, kwargs = layout.of(inputs_on(inputs_of(each), evidence.device))
            evidence.running.run(args, kwargs, observe, layout.instead)
    return {name: each.total().gram.cpu() for name, each in equations.items()}


def _reading(program: Program, call: Call, part: Slice, gram: Tensor) -> GroupReader:
    """The columns of each filter, all in one table: a filter has as many as any other."""
    weight = matrix_of(call, program.tensors[call.weight].double())
    scale = epilogue_of(program, call).scale.reshape(call.groups, 1, -1)
    taps = gram.shape[1] // len(part.filters)
    order = np.argsort(part.filters, kind="stable")[int((part.filters == OTHER_GROUP).sum()) :]
    channels = torch.from_numpy(order).reshape(int(part.filters.max()) + 1, -1)
    columns = (channels[:, :, None] + torch.arange(taps) * len(part.filters)).flatten(1)
    return GroupReader(gram, weight * scale, columns)
