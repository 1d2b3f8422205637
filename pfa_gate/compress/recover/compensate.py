"""Compensate: every layer that reads a changed stream is solved anew, in forward order, without labels."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from pfa_gate.compress.prune import AxisIndices
from pfa_gate.compress.recover.activation_store import ActivationStore
from pfa_gate.compress.recover.layer_pairs import LayerPair, pairs
from pfa_gate.compress.recover.refit import Fit
from pfa_gate.compress.recover.sampling import RowSampler
from pfa_gate.compress.recover.sweep import PairedRun
from pfa_gate.compress.regress import matrix_of, weight_of
from pfa_gate.compress.repair import Repair
from pfa_gate.graph import Program, export_model, inputs_of
from pfa_gate.model.copying import copied
from pfa_gate.model.device import input_device, inputs_on

# A matrix of so many columns takes half a gigabyte, and a refit holds about eight at once.
COLUMNS = 8192


def compensate(
    full: Program, smaller: nn.Module, axis_indices: AxisIndices, batches: Iterable[Any], seed: int = 0
) -> tuple[nn.Module, tuple[Repair, ...]]:
    """Solve anew, in closed form, every layer that reads something else than it did in the full model.

    In forward order, each on the stream as the compressed model has it by then: its target is what the full
    model's layer made at the same positions, plus, where it ends in a residual sum, what that sum has drifted by.
    Each model runs at most once over the batches, whatever their number and whatever the depth.

    Args:
        full: the full model's program.
        smaller: the compressed model, on the same device; it is not changed.
        axis_indices: what pruning left of each parameter.
        batches: of inputs, the same at each reading; labels are not used.
        seed: of the positions drawn.

    Returns:
        A new model, and for each such layer what was done.

    Raises:
        TraceError: the compressed model cannot be exported.

    Example:
        >>> from pfa_gate.graph import trace_program
        >>> from pfa_gate.compress.prune import narrow, plan
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
        >>> full = export_model(net, (torch.zeros(2, 4),), {})
        >>> axis_indices = plan(trace_program(full), {"0": [0, 1, 2, 3, 4]})
        >>> model, repairs = compensate(full, narrow(net, axis_indices), axis_indices, [torch.randn(256, 4)])
        >>> [(each.layer, each.after < each.before) for each in repairs]
        [('2', True)]
    """
    smaller = copied(smaller)
    program = export_model(smaller, *inputs_on(inputs_of(next(iter(batches))), input_device(smaller)))
    found = pairs(full, program, axis_indices)
    faults = {pair.small.layer: fault for pair in found if (fault := _fault(pair, program, smaller)) is not None}
    sound = [pair for pair in found if pair.small.layer not in faults]
    with ActivationStore() as spool:
        sweep = PairedRun((program, full), sound, batches, spool)
        solved = {repair.layer: repair for stage in sweep.stages() for repair in _repair(sweep, stage, seed)}
    left = {layer: Repair(layer, None, None, None, 0, fault) for layer, fault in faults.items()}
    return smaller, tuple((solved | left)[pair.small.layer] for pair in found)


def _fault(pair: LayerPair, program: Program, model: nn.Module) -> str | None:
    """Why a layer cannot be solved, or None."""
    call = pair.small
    own = dict(model.named_parameters(remove_duplicate=False)).get(call.weight)
    if call.fault or pair.whole.fault:
        return call.fault or pair.whole.fault
    if own is None or own.data_ptr() != program.tensors[call.weight].data_ptr():
        return "its weight is not a parameter of the model"
    columns = matrix_of(call, own.detach()).shape[1]
    return f"it reads {columns:,} columns; {COLUMNS:,} are the most" if columns > COLUMNS else None


def _repair(sweep: PairedRun, stage: Sequence[LayerPair], seed: int) -> Iterator[Repair]:
    """Solve the layers of one stage, each on as many rows as its held-out error asks for."""
    program, full = sweep.programs
    lessons = [RowSampler.of(program, full, pair, sweep.samples, seed) for pair in stage]
    waiting = lessons
    while waiting:
        samples = max(lesson.samples for lesson in waiting)
        for lesson in waiting:
            lesson.ready(sweep.available(samples))
        for batch, values in sweep.values(samples):
            for lesson in waiting:
                lesson.add(batch, values)
        waiting = [lesson for lesson in waiting if not lesson.learnt()]
        for lesson in waiting:
            lesson.ask_more()
    for lesson in lessons:
        yield _written(program, lesson, lesson.fit())


def _written(program: Program, lesson: RowSampler, fit: Fit) -> Repair:
    """Put a fit into the model; a new offset goes into the bias, or into the batch norm that follows."""
    call, mean = lesson.aim.pair.small, lesson.aim.small.mean
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
