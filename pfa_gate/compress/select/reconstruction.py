"""Selection by reconstruction: the filters that their readers can best do without go first, eliminated by blocks."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.compress.regress import FEWEST, SCARCE, Equations, Sums, draw, patches, position_count, spread
from pfa_gate.compress.select.elimination import Elimination, GroupReader, eliminate
from pfa_gate.compress.select.importance import l1
from pfa_gate.compress.select.readers import columns_of, readers
from pfa_gate.compress.select.selection import Evidence, Orders
from pfa_gate.graph import Program, Slice, inputs_of
from pfa_gate.graph.calls import Call, calls, epilogue_of, matrix_of
from pfa_gate.graph.layout import fastest_layout
from pfa_gate.graph.program import shape_of
from pfa_gate.model.batch import samples_of
from pfa_gate.model.device import inputs_on

Losses = npt.NDArray[np.float64]
_PRIME = 1_000_003  # far more than there are batches
ROWS = 16  # patches for each column of a reader, as far as there are so many
COLUMNS = 8192  # of the widest reader that is looked at: its matrices take 0.5 GB each


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


def too_wide(evidence: Evidence) -> dict[str, str]:
    """Why `reconstruction` orders a group by the L1 norm although layers read it: each of them has too many columns.

    Returns:
        The reason for each such group.

    Example:
        >>> from pfa_gate.graph import record_model, trace_program
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
        >>> program = record_model(net, (torch.zeros(2, 4),), {})
        >>> too_wide(Evidence(program, trace_program(program).groups[:1], {}, []))
        {}
    """
    every, found = calls(evidence.program), dict[str, str]()
    for group in evidence.groups:
        columns = [_columns(evidence.program, call) for call, _ in readers(every, group)]
        if columns and min(columns) > COLUMNS:
            found[group.name] = f"it is read through {min(columns):,} columns, more than {COLUMNS:,}"
    return found


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


@dataclass(frozen=True)
class Reading:
    """A layer that reads a group, and what it reads of the full model.

    Attributes:
        call: of the layer.
        matrix: how it reads the filters.
        mean: of the patches, float64 [G, D].
    """

    call: Call
    matrix: GroupReader
    mean: Tensor


def _eliminations(evidence: Evidence) -> dict[str, Elimination]:
    widths = {group.name: group.width for group in evidence.groups}
    found = group_readings(evidence)
    return {name: eliminate([each.matrix for each in mine], widths[name]) for name, mine in found.items()}


def group_readings(evidence: Evidence) -> dict[str, list[Reading]]:
    """The layers that read each group, from one pass of the full model over as many samples as they need.

    A layer of more than 8,192 columns is left out.
    """
    program = evidence.program
    every_call = calls(program)
    reading = [(group, call, part) for group in evidence.groups for call, part in readers(every_call, group)]
    found = [each for each in reading if _columns(program, each[1]) <= COLUMNS]
    sums = grams(evidence, list({call.weight: call for _, call, _ in found}.values()))
    readings: dict[str, list[Reading]] = {group.name: [] for group in evidence.groups}
    for group, call, part in found:
        if call.weight in sums:
            read = sums[call.weight]
            readings[group.name].append(Reading(call, _reading(program, call, part, read.gram), read.row_mean))
    return readings


def grams(evidence: Evidence, found: Sequence[Call]) -> dict[str, Sums]:
    """What layers read of a model, from one pass over as many samples as they need.

    Args:
        evidence: the model, and the probe.
        found: calls of layers of its program, of 8,192 columns at most.

    Returns:
        By the weights' names the sums of these rows, on the CPU; they have no targets.

    Example:
        >>> from pfa_gate.graph import record_model
        >>> program = record_model(torch.nn.Linear(2, 3), (torch.zeros(2, 2),), {})
        >>> rows = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
        >>> grams(Evidence(program, [], {}, [rows]), calls(program))["weight"].gram.tolist()
        [[[2.0, 0.0], [0.0, 0.0]]]
    """
    program = evidence.program
    chosen, samples = _chosen(evidence.batches, max((_needed(program, call) for call in found), default=0))
    return _sums([_GramRequest(call, _columns(program, call), samples) for call in found], evidence, chosen)


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
    sizes = [samples_of(inputs_of(batch)) for batch in batches]
    chosen, total = set[int](), 0
    for batch in spread(len(sizes)):
        if total < samples:
            chosen.add(batch)
            total += sizes[batch]
    return chosen, total


def _sums(wanted: Iterable[_GramRequest], evidence: Evidence, chosen: set[int]) -> dict[str, Sums]:
    """Sums of the patches that each call reads, from one pass over the chosen batches."""
    sources: dict[str, list[_GramRequest]] = {}
    for request in wanted:
        sources.setdefault(request.call.source.name, []).append(request)
    equations: dict[str, Equations] = {}

    def take(request: _GramRequest, value: Tensor, seed: int) -> None:
        call, shape = request.call, (len(value), *shape_of(request.call.node)[1:])
        rows = patches(call, value, shape, request.draw(shape, seed))
        if call.weight not in equations:
            equations[call.weight] = Equations(rows.shape[0], rows.shape[2], 1, rows.device, parts=1)
        equations[call.weight].add(rows, rows[:, :, :1])

    layout = fastest_layout(evidence.running)
    for seed, batch, each in _runs(evidence, chosen):

        def observe(node: Node, value: Any, seed: int = seed, batch: int = batch) -> None:
            for request in sources.get(node.name, ()):
                take(request, value, seed)
            if evidence.kept is not None:
                evidence.kept.observe(batch, node, value)

        with torch.no_grad():
            args, kwargs = layout.of(inputs_on(inputs_of(each), evidence.device))
            given = evidence.running.call.leaves(args, kwargs)
            for node, value in zip(evidence.running.inputs_of_model, given, strict=True):
                for request in sources.get(node.name, ()):
                    take(request, value, seed)
            evidence.running.run(args, kwargs, observe, layout.instead)
    totals = ((name, each.total()) for name, each in equations.items())
    return {name: replace(total, gram=total.gram.cpu(), row_mean=total.row_mean.cpu()) for name, total in totals}


def _runs(evidence: Evidence, chosen: set[int]) -> Iterator[tuple[int, int, Any]]:
    """Of the chosen batches what the program runs on, with a seed of its own and the number of the batch."""
    for batch, each in enumerate(evidence.batches):
        for part, inputs in enumerate(evidence.runs(each) if batch in chosen else ()):
            yield evidence.seed + batch + part * _PRIME, batch, inputs


def _reading(program: Program, call: Call, part: Slice, gram: Tensor) -> GroupReader:
    """The columns of each filter, all in one table: a filter has as many as any other."""
    weight = matrix_of(call, program.tensors[call.weight].double())
    scale = epilogue_of(program, call).scale.reshape(call.groups, 1, -1)
    return GroupReader(gram, weight * scale, columns_of(part, gram.shape[1]))
