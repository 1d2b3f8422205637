"""Selections that look at weights alone: filter norm, distance to the geometric median, batch-norm scale."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from pfa_gate.compress.regress import Call, calls
from pfa_gate.compress.select.evidence import Evidence, Indices, Orders
from pfa_gate.graph import Group, Program
from pfa_gate.graph.epilogue import epilogue_of
from pfa_gate.graph.group import OTHER_GROUP

Importance = Callable[[Tensor], Tensor]


def l1(evidence: Evidence) -> Orders:
    """Filters by the L1 norm of their weights, smallest first (Li et al. 2017, the paper's rival FP).

    Example:
        >>> from pfa_gate.graph import export_model, trace_program
        >>> net = torch.nn.Sequential(torch.nn.Linear(1, 3, bias=False), torch.nn.Linear(3, 2))
        >>> net[0].weight.data = torch.tensor([[2.0], [-3.0], [1.0]])
        >>> program = export_model(net, (torch.zeros(2, 1),), {})
        >>> l1(Evidence(program, trace_program(program).groups[:1], {}, []))["0"].tolist()
        [2, 0, 1]
    """
    return _by(evidence, lambda rows: rows.abs().sum(1))


def geometric_median(evidence: Evidence) -> Orders:
    """Filters by the sum of their distances to all others of the layer, nearest first (FPGM, He et al. 2019)."""
    return _by(evidence, lambda rows: torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").sum(1))


def batchnorm(evidence: Evidence) -> Orders:
    """Filters by |scale| of the batch norm that follows, smallest first (network slimming, Liu et al. 2017).

    A layer with none behind it counts by the L1 norm of its weights.
    """
    return {group.name: _order(_shared(evidence.program, group, _scales)) for group in evidence.groups}


def _by(evidence: Evidence, importance: Importance) -> Orders:
    def of(program: Program, call: Call) -> Tensor:
        return importance(_rows(program, call))

    return {group.name: _order(_shared(evidence.program, group, of)) for group in evidence.groups}


def _scales(program: Program, call: Call) -> Tensor:
    scale = epilogue_of(program, call).weight
    return _rows(program, call).abs().sum(1) if scale is None else program.tensors[scale].double().abs()


def _rows(program: Program, call: Call) -> Tensor:
    """The weight as one row for each filter, float64."""
    weight = program.tensors[call.weight].double()
    return weight.movedim(call.outputs, 0).flatten(1)


def _shared(program: Program, group: Group, of: Callable[[Program, Call], Tensor]) -> Tensor:
    """The mean over the group's makers of each one's importance, divided by its own mean so that all count alike."""
    total = torch.zeros(group.width, dtype=torch.float64)
    for call, filters in _makers(program, group):
        own = of(program, call)
        mine = torch.from_numpy(np.flatnonzero(filters != OTHER_GROUP))
        values = own[mine] / own[mine].mean().clamp_min(torch.finfo(torch.float64).tiny)
        total.index_add_(0, torch.from_numpy(filters[filters != OTHER_GROUP]), values)
    return total


def _makers(program: Program, group: Group) -> Iterator[tuple[Call, Indices]]:
    parts = {(part.parameter, part.axis): part.filters for part in group.slices}
    seen: set[str] = set()
    for call in calls(program):
        filters = parts.get((call.weight, call.outputs))
        if filters is not None and call.weight not in seen:
            seen.add(call.weight)
            yield call, filters


def _order(importance: Tensor) -> Indices:
    order: Indices = importance.argsort(stable=True).numpy().astype(np.int64)
    return order
