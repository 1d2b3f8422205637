"""Compensate: every layer that reads a changed input is solved anew, in forward order, without labels.

Rows of a layer are drawn until more of them would not help.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.fx import Node
from torch.utils import _pytree as pytree

from pfa_gate.compress.prune import AxisIndices
from pfa_gate.compress.recover.activation_store import ActivationStore
from pfa_gate.compress.recover.layer_pairs import LayerPair, LayerTarget, Values, pairs
from pfa_gate.compress.recover.rectifier_targets import Rows, RowSample, rectify
from pfa_gate.compress.recover.refit import Fit, LinearLayer, refit
from pfa_gate.compress.recover.staged_run import PairedRun
from pfa_gate.compress.regress import FOLDS, ONE_HELD_OUT, Equations, draw, position_count
from pfa_gate.compress.repair import Repair
from pfa_gate.graph import Program, inputs_of, record_model
from pfa_gate.graph.calls import matrix_of, weight_of
from pfa_gate.graph.program import is_tensor, shape_of
from pfa_gate.model.batch import Inputs
from pfa_gate.model.copies import copied
from pfa_gate.model.device import input_device, inputs_on

COLUMNS = 8192  # the most that a layer may read: a matrix of so many takes 0.5 GB, and a refit holds about eight
FIRST, LAST = 48, 256  # rows for each column: where drawing begins, and beyond which it does not go
FEWEST = 512  # samples that the rows come from, however few there are of these
SCARCE = 8  # rows for each column, for which more samples are read from the beginning
MANY = 16  # rows for each column, from which on one fold alone is held out, as it says enough
NARROW = 1024  # columns, beyond which one fold alone is held out, as the matrices of each fold are large
TOGETHER = 2048  # rows that are summed up at once
GAP = 0.05  # share of the held-out error that more rows might take away, up to which they are not drawn
SAMPLES_GAP = 0.15  # the same where more samples would have to be read, which costs far more


def compensate(
    full: Program, smaller: nn.Module, axis_indices: AxisIndices, batches: Iterable[Any], seed: int = 0
) -> tuple[nn.Module, tuple[Repair, ...]]:
    """Solve anew, in closed form, every layer that reads something else than it did in the full model.

    Layers are solved in forward order, each on its input in the compressed model as solved so far. The target is the
    output of the full model's layer at the same positions; where the layer ends in a residual sum, the drift of that
    sum is added. Each model runs over the batches at most once, whatever their number and the depth.

    Args:
        full: the full model's program.
        smaller: the compressed model, on the same device; it is not changed.
        axis_indices: what pruning left of each parameter.
        batches: of inputs, the same at each reading; labels are not used.
        seed: of the positions drawn.

    Returns:
        A new model, and for each such layer what was done.

    Raises:
        TraceError: the compressed model cannot be followed.

    Example:
        >>> from pfa_gate.graph import trace_program
        >>> from pfa_gate.compress.prune import narrow, axis_indices_of
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
        >>> full = record_model(net, (torch.zeros(2, 4),), {})
        >>> axis_indices = axis_indices_of(trace_program(full), {"0": [0, 1, 2, 3, 4]})
        >>> model, repairs = compensate(full, narrow(net, axis_indices), axis_indices, [torch.randn(256, 4)])
        >>> [(each.layer, each.after < each.before) for each in repairs]
        [('2', True)]
    """
    smaller = copied(smaller)
    example = _beginning(full, inputs_of(next(iter(batches))))
    program = record_model(smaller, *inputs_on(example, input_device(smaller)))
    found = pairs(full, program, axis_indices)
    faults = {pair.small.layer: fault for pair in found if (fault := _fault(pair, program, smaller)) is not None}
    sound = [pair for pair in found if pair.small.layer not in faults]
    with ActivationStore() as store:
        run = PairedRun((program, full), sound, batches, store)
        solved = {repair.layer: repair for stage in run.stages() for repair in _repair(run, stage, seed)}
    left = {layer: Repair(layer, None, None, None, 0, fault) for layer, fault in faults.items()}
    return smaller, tuple((solved | left)[pair.small.layer] for pair in found)


def _beginning(full: Program, inputs: Inputs) -> Inputs:
    """Of a batch as many samples as the program was recorded with: of more, each operator's shapes say no more."""

    def cut(node: Node, leaf: Any) -> Any:
        return leaf[: shape_of(node)[0]] if is_tensor(node) and leaf.ndim else leaf

    few = [cut(node, leaf) for node, leaf in zip(full.inputs_of_model, full.call.leaves(*inputs), strict=True)]
    args, kwargs = pytree.tree_unflatten(few, full.call.inputs)
    return args, kwargs


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


def _repair(run: PairedRun, stage: Sequence[LayerPair], seed: int) -> Iterator[Repair]:
    """Solve the layers of one stage, each on as many rows as its held-out error needs."""
    program, full = run.programs
    samplers = [RowSampler.of(LayerTarget.of(pair, program, full), program, run.samples, seed) for pair in stage]
    waiting = samplers
    while waiting:
        samples = max(sampler.samples for sampler in waiting)
        for sampler in waiting:
            sampler.spread_over(run.available(samples))
        for batch, values in run.values(samples):
            for sampler in waiting:
                sampler.add(batch, values)
        waiting = [sampler for sampler in waiting if not sampler.sufficient()]
        for sampler in waiting:
            sampler.double()
    for sampler in samplers:
        yield _written(program, sampler.target, sampler.fit())


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


@dataclass
class RowSampler:
    """The rows of one layer so far.

    Args:
        target: how the layer's target is made.
        layer: its weights as they are.
        rows: how many are wanted.
        positions: in each sample, of which every one can give a row.
        most: how many samples there are.
        seed: of the positions drawn.
    """

    target: LayerTarget
    layer: LinearLayer
    rows: int
    positions: int
    most: int
    seed: int
    _drawing: int = 0  # positions of each sample, from now on
    _drawn: dict[int, int] = field(default_factory=dict, init=False)
    _equations: Equations = field(init=False)
    _sample: RowSample = field(init=False)
    _linear: Fit | None = field(default=None, init=False)
    _waiting: list[list[Rows]] = field(init=False)

    def __post_init__(self) -> None:
        groups, columns, filters = self.layer.weights.shape
        each_in_turn = columns <= NARROW and self.rows < MANY * columns
        parts = FOLDS if each_in_turn else ONE_HELD_OUT
        self._equations = Equations(groups, columns, filters, self.layer.weights.device, parts)
        self._waiting = [[] for _ in self._equations.parts]
        self._sample = RowSample(self.target.small.scale.reshape(self.layer.offset.shape), self._equations)

    @classmethod
    def of(cls, target: LayerTarget, program: Program, samples: int, seed: int) -> "RowSampler":
        """The sampler of one layer, for a probe of so many samples."""
        call = target.pair.small
        weights = matrix_of(call, program.tensors[call.weight]).double()
        groups, columns, filters = weights.shape
        bias = weights.new_zeros(groups * filters) if call.bias is None else program.tensors[call.bias]
        centred = call.bias is not None or target.small.mean is not None
        importance = target.small.scale.square().reshape(groups, filters)
        layer = LinearLayer(weights, bias.double().reshape(groups, filters), importance, centred)
        positions = position_count(call, shape_of(target.pair.whole.node))
        rows = min(FIRST * columns, max(SCARCE * columns, FEWEST * positions))
        return cls(target, layer, rows, positions, samples, seed)

    @property
    def samples(self) -> int:
        """From how many samples the rows are to come."""
        return min(self.most, max(FEWEST, math.ceil(self.rows / self.positions)))

    def spread_over(self, samples: int) -> None:
        """Draw the rows evenly from so many samples."""
        self._drawing = max(self._drawing, min(self.positions, math.ceil(self.rows / samples)))
        self.rows = max(self.rows, self._drawing * samples)

    def add(self, batch: int, values: Sequence[Values]) -> None:
        """Draw rows from one batch of the compressed and the full program, besides those drawn before."""
        samples = len(values[0][self.target.pair.small.source.name])
        drawn = draw(samples, self.positions, self._drawing, self.seed + batch)[:, self._drawn.get(batch, 0) :]
        self._drawn[batch] = self._drawing
        if not drawn.numel():
            return
        # A fold is a run of samples, so that no row is copied; it shifts with the batch, which may be one sample.
        runs = [len(run) * drawn.shape[1] for run in torch.arange(samples).tensor_split(FOLDS)]
        for index, rows in enumerate(self.target.rows(values, drawn).split(runs)):
            part = self._equations.part_of((batch + index) % FOLDS)
            self._waiting[part].append(rows)
            if sum(rows.read.shape[1] for rows in self._waiting[part]) >= TOGETHER:
                self._take(part)

    def _take(self, part: int) -> None:
        """Sum up what waits: many rows at once, as each sum passes over the whole matrix."""
        waiting, self._waiting[part] = self._waiting[part], []
        rows = Rows.joined(waiting)
        if rows.read.numel():
            read = self._equations.add(rows.read, rows.target, part)
            if self.target.small.rectified:
                self._sample.add(replace(rows, read=read), held=part == 0)

    def sufficient(self) -> bool:
        """Whether the rows suffice: there are no more, or more would not help."""
        for part in self._equations.parts:
            if self._waiting[part]:
                self._take(part)
        self._linear = refit(self._equations, self.layer, None if self._linear is None else self._linear.ridge)
        exhausted = self.rows >= min(LAST * self.layer.weights.shape[1], self.positions * self.most)
        others = 2 * self.rows > self.positions * self.samples
        return exhausted or self._linear.gap <= (SAMPLES_GAP if others else GAP)

    def double(self) -> None:
        """Want twice the rows."""
        self.rows *= 2

    def fit(self) -> Fit:
        """The layer solved on the rows there are."""
        linear = self._linear or refit(self._equations, self.layer)
        return rectify(self._sample, self.layer, linear) if self.target.small.rectified else linear
