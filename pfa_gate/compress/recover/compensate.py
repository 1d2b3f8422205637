"""Compensate: every layer that reads a changed input is solved anew, in forward order, without labels.

Rows of a layer are drawn until more of them would not help.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.fx import Node
from torch.utils import _pytree as pytree

from pfa_gate.compress.prune import AxisIndices
from pfa_gate.compress.recover.activation_store import ActivationStore
from pfa_gate.compress.recover.forecast import (
    CompensateSettings,
    Forecast,
    Schedule,
    forecast,
    measured_speed,
    weight_lost,
)
from pfa_gate.compress.recover.layer_pairs import LayerPair, LayerTarget, of_one_stream, pairs
from pfa_gate.compress.recover.refit import Fit
from pfa_gate.compress.recover.row_sampler import COLUMNS, RowPlan, RowSampler
from pfa_gate.compress.recover.staged_run import PairedRun
from pfa_gate.compress.regress import position_count
from pfa_gate.compress.repair import Repair, left_out
from pfa_gate.graph import Program, inputs_of, record_model
from pfa_gate.graph.calls import matrix_of, weight_of
from pfa_gate.graph.layout import fastest_layout
from pfa_gate.graph.program import is_tensor, shape_of
from pfa_gate.model.batch import Inputs, samples_of
from pfa_gate.model.copies import copied
from pfa_gate.model.device import input_device, inputs_on

_TIMED = 16  # samples of the pass that is timed beforehand
PLAIN = CompensateSettings()


def compensate(
    full: Program,
    smaller: nn.Module,
    axis_indices: AxisIndices,
    batches: Iterable[Any],
    settings: CompensateSettings = PLAIN,
) -> tuple[nn.Module, tuple[Repair, ...]]:
    """Solve anew, in closed form, every layer that reads something else than in the full model, or has a constraint.

    Layers are solved in forward order, each on its input in the compressed model as solved so far. The target is the
    output of the full model's layer at the same positions; where it ends in a residual sum, the drift of that sum is
    added. Each model runs over the batches at most once, whatever their number and the depth.

    Args:
        full: the full model's program.
        smaller: the compressed model, on the same device; it is not changed.
        axis_indices: what pruning left of each parameter.
        batches: of inputs, the same at each reading; labels are not used.
        settings: seed, time, constraint, and who is told.

    Returns:
        A new model, and what was done to each such layer.

    Raises:
        TraceError: the compressed model cannot be followed.

    Example:
        >>> from pfa_gate.graph import trace_program
        >>> from pfa_gate.compress.prune import narrow, axis_indices_of
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
        >>> full = record_model(net, (torch.zeros(2, 4),), {})
        >>> kept = axis_indices_of(trace_program(full), {"0": [0, 1, 2, 3, 4]})
        >>> model, repairs = compensate(full, narrow(net, kept), kept, [torch.randn(256, 4)])
        >>> [(each.layer, each.after < each.before) for each in repairs]
        [('2', True)]
    """
    started = time.perf_counter()
    smaller = copied(smaller)
    inputs = inputs_on(inputs_of(next(iter(batches))), input_device(smaller))
    program = record_model(smaller, *_first(full, inputs, full.batch))
    found = pairs(full, program, axis_indices, _wants(settings))
    left = {layer: left_out(layer, fault) for layer, fault in _faults(found, program, smaller, _wants(settings))}
    sound = [pair for pair in found if pair.small.layer not in left]
    gains = {pair.small.layer: _lost(pair, full, axis_indices) for pair in sound}
    with ActivationStore() as store:
        run = PairedRun((program, full), sound, batches, store)
        plans = dict(_planned(run))
        schedule = Schedule(settings, _foreseen(run, plans, inputs) if settings.timed else None, gains, started)
        solved = {repair.layer: repair for stage in run.stages() for repair in _repaired(run, stage, plans, schedule)}
    return smaller, tuple((solved | left)[pair.small.layer] for pair in found)


def _first(full: Program, inputs: Inputs, count: int) -> Inputs:
    """Of a batch so many samples, or as many as the program's example has where it takes no other number."""
    leaves = full.call.leaves(*inputs)
    count = count if full.dynamic else full.batch

    def cut(node: Node, leaf: Any) -> Any:
        batched = is_tensor(node) and leaf.ndim and shape_of(node)[0] == full.batch
        return leaf[:count] if batched else leaf

    few = [cut(node, leaf) for node, leaf in zip(full.inputs_of_model, leaves, strict=True)]
    args, kwargs = pytree.tree_unflatten(few, full.call.inputs)
    return args, kwargs


def _planned(run: PairedRun) -> Iterator[tuple[str, RowPlan]]:
    """The rows of each layer."""
    for stage in run.planned:
        for targets in of_one_stream(LayerTarget.of(pair, *run.programs) for pair in stage):
            for target in targets:
                plan = RowPlan.of(target.pair, run.programs[0], run.samples)
                yield target.pair.small.layer, replace(plan, sharing=len(targets))


def _foreseen(run: PairedRun, plans: Mapping[str, RowPlan], inputs: Inputs) -> Forecast:
    full = run.programs[1]
    few = _first(full, inputs, _TIMED)

    def forward() -> int:
        with torch.no_grad():
            for program in run.programs:
                layout = fastest_layout(program)
                args, kwargs = layout.of(few)
                program.run(args, kwargs, None, layout.instead)
        return samples_of(few)

    forward()  # what is set up at the first time is not timed
    stages = [[pair.small.layer for pair in stage] for stage in run.planned]
    return forecast(plans, stages, measured_speed(forward, full.device))


def _lost(pair: LayerPair, full: Program, axis_indices: AxisIndices) -> float:
    kept = axis_indices.get(pair.small.weight, {}).get(pair.small.inputs)
    return weight_lost(pair, full, None if kept is None else torch.as_tensor(kept))


def _wants(settings: CompensateSettings) -> Callable[[str], bool]:
    """Which layers are to meet the constraint."""
    return settings.constraint.wants if settings.constraint is not None else lambda layer: False


def _faults(
    found: Iterable[LayerPair], program: Program, model: nn.Module, wants: Callable[[str], bool]
) -> Iterator[tuple[str, str]]:
    """Layers that cannot be solved, or not under the constraint, and why."""
    for pair in found:
        columns = matrix_of(pair.small, program.tensors[pair.small.weight]).shape[1] if wants(pair.small.layer) else 0
        wide = f"it reads {columns:,} columns, more than {COLUMNS:,}" if columns > COLUMNS else None
        fault = _fault(pair, program, model) or wide
        if fault is not None:
            yield pair.small.layer, fault


def _fault(pair: LayerPair, program: Program, model: nn.Module) -> str | None:
    """Why a layer cannot be solved, or None."""
    call = pair.small
    own = dict(model.named_parameters(remove_duplicate=False)).get(call.weight)
    if call.fault or pair.whole.fault:
        return call.fault or pair.whole.fault
    left, whole = (position_count(each, shape_of(each.node)) for each in (call, pair.whole))
    if left != whole:
        return f"its rows are filters, of which {left} of {whole} are left"
    if own is None or own.data_ptr() != program.tensors[call.weight].data_ptr():
        return "its weight is not a parameter of the model"
    return None


def _repaired(
    run: PairedRun, stage: Sequence[LayerPair], plans: Mapping[str, RowPlan], schedule: Schedule
) -> Iterator[Repair]:
    """Solve those layers of a stage that there is time for, and say why the others are left out."""
    reason = schedule.reason([pair.small.layer for pair in stage])
    wanted = [pair for pair in stage if not reason(pair.small.layer)]
    yield from _repair(run, wanted, plans, schedule.settings)
    for pair in stage:
        if pair not in wanted:
            yield left_out(pair.small.layer, reason(pair.small.layer))
    schedule.passed(len(stage))


def _repair(
    run: PairedRun, stage: Sequence[LayerPair], plans: Mapping[str, RowPlan], settings: CompensateSettings
) -> Iterator[Repair]:
    """Solve the layers of one stage, each on as many rows as its held-out error needs."""
    program, full = run.programs
    samplers = [
        RowSampler(targets, program, plans[targets[0].pair.small.layer], settings.seed, settings.kept)
        for targets in of_one_stream(LayerTarget.of(pair, program, full) for pair in stage)
    ]
    waiting = samplers
    while waiting:
        samples = max(sampler.samples for sampler in waiting)
        for sampler in waiting:
            sampler.spread_over(run.available(samples))
        for batch, values in run.values(samples, partial(_needed, waiting)):
            for sampler in waiting:
                sampler.add(batch, values)
        waiting = [sampler for sampler in waiting if not sampler.sufficient()]
        for sampler in waiting:
            sampler.double()
    for sampler in samplers:
        for target, fit in zip(sampler.targets, sampler.fits(settings.constraint), strict=True):
            yield _written(program, target, fit)


def _needed(samplers: Sequence[RowSampler], batch: int) -> bool:
    return any(sampler.needs(batch) for sampler in samplers)


def _written(program: Program, target: LayerTarget, fit: Fit) -> Repair:
    """Put a fit into the model; a new offset goes into the bias, or into the batch norm that follows."""
    call, mean = target.pair.small, target.small.mean
    if fit.ridge is None:
        reason = "no solution was better on held-out positions"
        return Repair(call.layer, fit.before, fit.before, None, fit.rows, reason)
    weight = program.tensors[call.weight]
    with torch.no_grad():
        weight.copy_(weight_of(call, fit.weights, tuple(weight.shape)))
        if call.bias is not None:
            program.tensors[call.bias].copy_(fit.offset.flatten())
        elif mean is not None:
            program.tensors[mean].sub_(fit.offset.flatten())
    return Repair(call.layer, fit.before, fit.after, fit.ridge, fit.rows)
