"""Which rows a layer is solved on: how many from the beginning, and more of them while they would help."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.compress.full_rows import FullRows
from pfa_gate.compress.recover.constraint import Constraint
from pfa_gate.compress.recover.layer_pairs import LayerPair, LayerTarget, Values
from pfa_gate.compress.recover.layer_problem import DualProblem, LayerProblem, PrimalProblem
from pfa_gate.compress.recover.rectifier_targets import Rows
from pfa_gate.compress.recover.refit import Fit, LinearLayer
from pfa_gate.compress.regress import FEWEST, FIRST, FOLDS, SCARCE, draw, outputs, position_count
from pfa_gate.graph import Program
from pfa_gate.graph.calls import matrix_of
from pfa_gate.graph.program import shape_of

COLUMNS = 8192  # the most whose matrices are built: one takes 0.5 GB
ROWS, NUMBERS = 4096, 2**26  # the most rows of a layer that reads more, and the most numbers in them
LAST = 256  # rows for each column, beyond which none are drawn
GAP = 0.05  # share of the held-out error that more rows might take away, up to which they are not drawn
SAMPLES_GAP = 0.15  # the same where more samples would have to be read, which costs far more


@dataclass(frozen=True)
class RowPlan:
    """How many rows a layer is to be solved on.

    Attributes:
        groups, columns, filters: G, D and O of the layer's weight as a matrix.
        positions: in each sample, of which every one can give a row.
        samples: in the whole probe.
        sharing: how many layers have these rows, and the matrices of them, in common.
    """

    groups: int
    columns: int
    filters: int
    positions: int
    samples: int
    sharing: int = 1

    @classmethod
    def of(cls, pair: LayerPair, program: Program, samples: int) -> "RowPlan":
        """The plan of one layer of the compressed program."""
        groups, columns, filters = matrix_of(pair.small, program.tensors[pair.small.weight]).shape
        return cls(groups, columns, filters, position_count(pair.small, shape_of(pair.whole.node)), samples)

    @property
    def available(self) -> int:
        """All rows that there are."""
        return self.positions * self.samples

    @property
    def dual(self) -> bool:
        """Whether it is solved in the space that its rows span."""
        return self.available < self.columns or self.columns > COLUMNS

    @property
    def most(self) -> int:
        """Rows beyond which none are drawn."""
        if self.dual:
            return min(self.available, ROWS, max(1, NUMBERS // (self.groups * self.columns)))
        return min(self.available, LAST * self.columns)

    @property
    def first(self) -> int:
        """Rows that are drawn from the beginning."""
        if self.dual:
            return self.most
        return min(self.most, FIRST * self.columns, max(SCARCE * self.columns, FEWEST * self.positions))

    def read(self, rows: int) -> int:
        """From how many samples so many rows are to come."""
        return min(self.samples, max(FEWEST, math.ceil(rows / self.positions)))


class RowSampler:
    """The rows of one layer so far, or of several that read the same.

    Args:
        targets: how the target of each is made.
        program: the compressed one.
        plan: how many rows are wanted.
        seed: of the positions drawn.
        kept: what another pass has kept of the full model's values, at positions of the same seed.
    """

    def __init__(
        self, targets: Sequence[LayerTarget], program: Program, plan: RowPlan, seed: int, kept: FullRows | None = None
    ) -> None:
        self.targets, self.plan, self._seed, self._kept = targets, plan, seed, kept
        self.rows = plan.first
        self._drawing = 0  # positions of each sample, from now on
        self._drawn: dict[int, int] = {}
        self._problem = _problem(targets, program, plan)

    @property
    def samples(self) -> int:
        """From how many samples the rows are to come."""
        return self.plan.read(self.rows)

    def spread_over(self, samples: int) -> None:
        """Draw the rows evenly from so many samples."""
        self._drawing = max(self._drawing, min(self.plan.positions, math.ceil(self.rows / samples)))
        self.rows = max(self.rows, self._drawing * samples)

    def needs(self, batch: int) -> bool:
        """Whether it needs values of the full program for a batch: not where the rows of it are kept."""
        return any(self._lacks(batch, target.pair) for target in self.targets)

    def _lacks(self, batch: int, pair: LayerPair) -> bool:
        return self._kept is None or not all(
            self._kept.has(batch, pair.whole, node, self._drawing) for node in pair.wanted[1]
        )

    def add(self, batch: int, values: Sequence[Values]) -> None:
        """Draw rows from one batch of the compressed and the full program, besides those drawn before."""
        already, first = self._drawn.get(batch, 0), self.targets[0]
        samples = len(values[0][first.pair.small.source.name])
        drawn = draw(samples, self.plan.positions, self._drawing, self._seed + batch)[:, already:]
        self._drawn[batch] = self._drawing
        if not drawn.numel():
            return
        wanted = [self._wanted(target, batch, values, drawn) for target in self.targets]
        made, rest = (each[0] if len(each) == 1 else torch.cat(each, 2) for each in zip(*wanted, strict=True))
        # A fold is a run of samples, so that no row is copied; it shifts with the batch, which may be one sample.
        runs = [len(run) * drawn.shape[1] for run in torch.arange(samples).tensor_split(FOLDS)]
        for index, rows in enumerate(Rows(first.read(values[0], drawn), made, rest).split(runs)):
            self._problem.add(rows, (batch + index) % FOLDS)

    def _wanted(
        self, target: LayerTarget, batch: int, values: Sequence[Values], drawn: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What a layer should make at positions that were drawn last in each sample of a batch."""
        pair, new = target.pair, range(self._drawing - drawn.shape[1], self._drawing)
        lacking = self._lacks(batch, pair)

        def of_full(node: Node) -> Tensor:
            if self._kept is None or lacking:
                return outputs(pair.small, values[1][node.name], drawn)
            return self._kept.rows(batch, pair.whole, node, new)

        return target.wanted(values[0], of_full, drawn)

    def sufficient(self) -> bool:
        """Whether the rows suffice: there are no more, or more would not help."""
        if self.rows >= self.plan.most:
            return True
        others = 2 * self.rows > self.plan.positions * self.samples
        return max(fit.gap for fit in self._problem.refit()) <= (SAMPLES_GAP if others else GAP)

    def double(self) -> None:
        """Want twice the rows."""
        self.rows *= 2

    def fits(self, constraint: Constraint | None = None) -> tuple[Fit, ...]:
        """Each layer solved on the rows there are, and as a constraint wants it."""
        free = self._problem.solved()
        if constraint is None:
            return free
        return tuple(
            self._problem.constrained(place, fit, partial(constraint.constrained, target.pair.small))
            if constraint.wants(target.pair.small.layer)
            else fit
            for place, (target, fit) in enumerate(zip(self.targets, free, strict=True))
        )


def _problem(targets: Sequence[LayerTarget], program: Program, plan: RowPlan) -> LayerProblem:
    layers = [_layer(target, program, plan.groups) for target in targets]
    filters = tuple(layer.weights.shape[2] for layer in layers)
    weights, offset, importance = (
        torch.cat([getattr(layer, name) for layer in layers], -1) for name in ("weights", "offset", "importance")
    )
    layer = LinearLayer(weights, offset, importance, layers[0].centred, filters)
    rectified = targets[0].small.rectified
    scale = torch.cat([target.small.scale.reshape(plan.groups, -1) for target in targets], -1)
    if plan.dual:
        return DualProblem(layer, scale, rectified=rectified)
    return PrimalProblem(layer, scale, plan.first, rectified=rectified)


def _layer(target: LayerTarget, program: Program, groups: int) -> LinearLayer:
    call = target.pair.small
    weights = matrix_of(call, program.tensors[call.weight]).double()
    outputs = (groups, weights.shape[2])
    bias = weights.new_zeros(outputs) if call.bias is None else program.tensors[call.bias].double().reshape(outputs)
    return LinearLayer(weights, bias, target.small.scale.reshape(outputs).square(), target.centred)
