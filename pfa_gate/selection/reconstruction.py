"""Selection by reconstruction: the gram matrix of every reader from one pass of the full model, then elimination."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.coupling import Group, Program, Slice, inputs_of
from pfa_gate.coupling.group import ELSEWHERE
from pfa_gate.coupling.program import shape_of
from pfa_gate.readers import FOLDS, Call, Equations, calls, chain, draw, matrix_of, patches, places
from pfa_gate.selection.eliminate import Reading, eliminate
from pfa_gate.selection.evidence import Evidence, Orders

POSITIONS = 32  # drawn in each sample


def reconstruction(evidence: Evidence) -> Orders:
    """Filters by what their readers lose when they go and the others take over (optimal brain surgeon, in blocks).

    Each reader's outputs are weighted by the batch norm that follows. All is taken from the full model's own stream
    in one pass without labels. A filter that no reader can be asked about goes by its index.

    Example:
        >>> from pfa_gate.coupling import export_model, trace_program
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
        >>> _ = torch.nn.init.zeros_(net[1].weight[:, 1].data)
        >>> program = export_model(net, (torch.zeros(2, 4),), {})
        >>> groups = trace_program(program).groups[:1]
        >>> int(reconstruction(Evidence(program, groups, {}, [torch.randn(64, 4)]))["0"][0])
        1
    """
    program = evidence.program
    found = [(group, call, part) for group in evidence.groups for call, part in _readers(program, group)]
    grams = _grams(program, {call.weight: call for _, call, _ in found}, evidence.batches, evidence.seed)
    orders = {}
    for group in evidence.groups:
        mine = [(call, part) for owner, call, part in found if owner is group and call.weight in grams]
        readings = [_reading(program, call, part, grams[call.weight]) for call, part in mine]
        orders[group.name] = eliminate(readings, group.width)
    return orders


def _readers(program: Program, group: Group) -> Iterable[tuple[Call, Slice]]:
    """Calls that mix the group's filters; a depthwise convolution keeps them apart and is read on by others."""
    parts = {(part.parameter, part.axis): part for part in group.slices}
    for call in calls(program):
        part = parts.get((call.weight, call.inputs))
        if part is not None and call.geometry is not None and call.geometry.transposed and call.groups > 1:
            continue
        if part is not None and call.fault in (None, "its weight is not a parameter of the model"):
            yield call, part


def _grams(program: Program, wanted: dict[str, Call], batches: Iterable[Any], seed: int) -> dict[str, Tensor]:
    """X'X of the centred patches that each call reads, float64 [groups, D, D], from one pass."""
    sources: dict[str, list[Call]] = {}
    for call in wanted.values():
        sources.setdefault(call.source.name, []).append(call)
    equations: dict[str, Equations] = {}

    def take(call: Call, value: Tensor, batch: int) -> None:
        shape = (len(value), *shape_of(call.node)[1:])
        generator = torch.Generator().manual_seed(seed + batch)
        rows = patches(call, value, shape, draw(len(value), places(call, shape), POSITIONS, generator))
        held = equations.setdefault(call.weight, Equations(rows.shape[0], rows.shape[2], 1))
        held.add(rows, rows[:, :, :1], torch.arange(rows.shape[1]) % FOLDS)

    for batch, each in enumerate(batches):

        def observe(node: Node, value: Any, batch: int = batch) -> None:
            for call in sources.get(node.name, ()):
                take(call, value, batch)

        with torch.no_grad():
            program.run(*inputs_of(each), observe)
    return {name: each.total().gram for name, each in equations.items()}


def _reading(program: Program, call: Call, part: Slice, gram: Tensor) -> Reading:
    """The columns of each filter, all in one table: a filter has as many as any other."""
    weight = matrix_of(call, program.tensors[call.weight].double())
    scale = chain(program, call).scale.reshape(call.groups, 1, -1)
    taps = gram.shape[1] // len(part.filters)
    order = np.argsort(part.filters, kind="stable")[int((part.filters == ELSEWHERE).sum()) :]
    channels = torch.from_numpy(order).reshape(int(part.filters.max()) + 1, -1)
    columns = (channels[:, :, None] * taps + torch.arange(taps)).flatten(1)
    return Reading(gram, weight * scale, columns)
