"""Which rows a layer is solved on: how many from the beginning, and more of them while they would help."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.compress.full_rows import FullRows
from pfa_gate.compress.recover.layer_pairs import LayerPair, LayerTarget, Values
from pfa_gate.compress.recover.layer_problem import DualProblem, LayerProblem, PrimalProblem
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
    """

    groups: int
    columns: int
    filters: int
    positions: int
    samples: int

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
    """The rows of one layer so far.

    Args:
        target: how the layer's target is made.
        program: the compressed one.
        plan: how many rows are wanted.
        seed: of the positions drawn.
        kept: what another pass has kept of the full model's values, at positions of the same seed.
    """

    def __init__(
        self, target: LayerTarget, program: Program, plan: RowPlan, seed: int, kept: FullRows | None = None
    ) -> None:
        self.target, self.plan, self._seed, self._kept = target, plan, seed, kept
        self.rows = plan.first
        self._drawing = 0  # positions of each sample, from now on
        self._drawn: dict[int, int] = {}
        self._problem = _problem(target, program, plan)

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
        pair = self.target.pair
        return self._kept is None or not all(
            self._kept.has(batch, pair.whole, node, self._drawing) for node in pair.wanted[1]
        )

    def add(self, batch: int, values: Sequence[Values]) -> None:
        """Draw rows from one batch of the compressed and the full program, besides those drawn before."""
        pair, already = self.target.pair, self._drawn.get(batch, 0)
        samples = len(values[0][pair.small.source.name])
        drawn = draw(samples, self.plan.positions, self._drawing, self._seed + batch)[:, already:]
        self._drawn[batch] = self._drawing
        if not drawn.numel():
            return

        def of_full(node: Node) -> Tensor:
            if self._kept is None or self.needs(batch):
                return outputs(pair.small, values[1][node.name], drawn)
            return self._kept.rows(batch, pair.whole, node, range(already, self._drawing))

        # A fold is a run of samples, so that no row is copied; it shifts with the batch, which may be one sample.
        runs = [len(run) * drawn.shape[1] for run in torch.arange(samples).tensor_split(FOLDS)]
        for index, rows in enumerate(self.target.rows(values[0], of_full, drawn).split(runs)):
            self._problem.add(rows, (batch + index) % FOLDS)

    def sufficient(self) -> bool:
        """Whether the rows suffice: there are no more, or more would not help."""
        if self.rows >= self.plan.most:
            return True
        others = 2 * self.rows > self.plan.positions * self.samples
        return self._problem.refit().gap <= (SAMPLES_GAP if others else GAP)

    def double(self) -> None:
        """Want twice the rows."""
        self.rows *= 2

    def fit(self) -> Fit:
        """The layer solved on the rows there are."""
        return self._problem.solved()


def _problem(target: LayerTarget, program: Program, plan: RowPlan) -> LayerProblem:
    call = target.pair.small
    weights = matrix_of(call, program.tensors[call.weight]).double()
    outputs = (plan.groups, plan.filters)
    bias = weights.new_zeros(outputs) if call.bias is None else program.tensors[call.bias].double().reshape(outputs)
    scale = target.small.scale.reshape(outputs)
    centred = call.bias is not None or target.small.mean is not None
    layer = LinearLayer(weights, bias, scale.square(), centred)
    if plan.dual:
        return DualProblem(layer, scale, rectified=target.small.rectified)
    return PrimalProblem(layer, scale, plan.first, rectified=target.small.rectified)
