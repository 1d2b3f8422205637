"""What a rectifier hides need not be met: a refit that counts errors only where they are seen behind it.

Where the full model's value is negative, any negative value is as good. Each round takes as target what is seen
where it is positive, and elsewhere the present value or zero, whichever is less; this majorises the error behind
the rectifier, so that no round makes it worse on the rows it is solved on. One round, and as large a step beyond it,
are judged on a held-out fold; a round from the better of them, on all rows, is what is taken.

PYTEST_DONT_REWRITE
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pfa_gate.compress.recover.refit import Fit, LinearLayer, about, factored, solve
from pfa_gate.compress.regress import FOLDS, Equations, Sums, offset_of

MOST = 2**26  # numbers kept of one layer's rows; a layer with more keeps its linear refit


@dataclass(frozen=True)
class Rows:
    """Some rows of a layer.

    Attributes:
        read: [G, n, D], what the layer reads.
        target: [G, n, O], what it should make.
        rest: [G, n, O], what is added to its scaled output before the rectifier.
    """

    read: Tensor
    target: Tensor
    rest: Tensor

    def split(self, counts: Sequence[int]) -> Iterator["Rows"]:
        """So many rows each, one after another."""
        parts = (torch.split(each, list(counts), 1) for each in (self.read, self.target, self.rest))
        return (Rows(*part) for part in zip(*parts, strict=True))


@dataclass(frozen=True)
class RectifiedRows:
    """Rows as they are met behind the rectifier, float32.

    Attributes:
        read: [G, n, D], about the centre of the equations.
        seen: [G, n, O], what should come of it, everything added; minus infinity where nothing should.
        rest: [G, n, O], what is added to the layer's scaled output.
    """

    read: Tensor
    seen: Tensor
    rest: Tensor


@dataclass
class RowSample:
    """Rows kept while they are few enough, those of the first fold apart.

    Attributes:
        scale: float64 [G, O], what the layer's output is multiplied by.
        equations: of the same rows.
        held, learnt: rows of the first fold, and of the others.
    """

    scale: Tensor
    equations: Equations
    held: list[RectifiedRows] = field(default_factory=list)
    learnt: list[RectifiedRows] = field(default_factory=list)
    numbers: int = 0

    def __post_init__(self) -> None:
        size = self.scale.abs()
        self.scale = torch.where(size > 1e-6 * size.max(), self.scale, size.max().clamp_min(1e-12))

    def add(self, rows: Rows, held: bool) -> None:
        """Keep these too, read about the centre of the equations, or none at all once there are too many."""
        self.numbers += rows.read.numel() + 2 * rows.target.numel()
        if self.numbers > MOST:
            self.held, self.learnt = [], []
            return
        made = (self.scale[:, None].to(rows.target.dtype) * rows.target).add_(rows.rest).float()
        seen = made.masked_fill_(made <= 0, -torch.inf)
        (self.held if held else self.learnt).append(RectifiedRows(rows.read.float(), seen, rows.rest.float()))


def rectify(sample: RowSample, layer: LinearLayer, fit: Fit) -> Fit:
    """Refine a refit so that it meets the target behind the rectifier.

    Args:
        sample: the rows the refit was solved on.
        layer: as it was before.
        fit: the linear refit, with its ridge.

    Returns:
        The best of the layer as it was, the linear refit, a round and twice its step, by the squared error behind the
        rectifier on the first fold, solved on the others; from a round that wins, one more is taken on all rows.
        `before` and `after` are shares of the variance of the target behind the rectifier.
    """
    if fit.ridge is None or not sample.held:
        return fit
    equations = sample.equations
    honest = _Rounds.of(sample.learnt, sample, about(equations.part(range(1, FOLDS)), layer.centred), layer, fit)
    if honest is None:
        return fit
    trials = honest.trials()
    spread = _spread(sample)
    nothing = _seen_error(sample, layer.weights, layer.offset) / spread
    scores = [_seen_error(sample, *trial) / spread for trial in trials]
    best = min(range(len(scores)), key=scores.__getitem__)
    if not scores[best] < nothing:
        return Fit(layer.weights, layer.offset, None, nothing, nothing, fit.rows)
    if best == 0:
        return replace(fit, before=nothing, after=scores[0])
    whole = _Rounds.of((*sample.held, *sample.learnt), sample, about(equations.total(), layer.centred), layer, fit)
    if whole is None:
        return fit
    return Fit(*whole.round(*trials[best]), fit.ridge, nothing, scores[best], fit.rows)


@dataclass(frozen=True)
class _Rounds:
    """What stays the same from round to round: rows, their sums, and the factor of their gram matrix."""

    rows: Sequence[RectifiedRows]
    sample: RowSample
    sums: Sums
    layer: LinearLayer
    factor: Tensor

    @classmethod
    def of(
        cls, rows: Sequence[RectifiedRows], sample: RowSample, sums: Sums, layer: LinearLayer, fit: Fit
    ) -> "_Rounds | None":
        """None where the gram matrix is not definite."""
        assert fit.ridge is not None
        factor = factored(sums.gram, fit.ridge)
        return None if factor is None else cls(rows, sample, sums, layer, factor)

    def trials(self) -> list[tuple[Tensor, Tensor]]:
        """Weights and offset of the linear refit, of a round, and of twice its step, which saves most of another."""
        weights = solve(self.sums, self.layer.weights, self.factor)
        offset = offset_of(self.sums, weights)
        once = self.round(weights, offset)
        return [(weights, offset), once, (2 * once[0] - weights, 2 * once[1] - offset)]

    def round(self, weights: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """The rows solved with the targets that weights and offset give."""
        cross, made = torch.zeros_like(self.sums.cross), torch.zeros_like(self.sums.made)
        for rows in self.rows:
            now = _now(self.sample, rows, weights, offset).clamp_max_(0)
            target = torch.maximum(rows.seen, now).sub_(rows.rest)
            cross += rows.read.transpose(1, 2) @ target
            made += target.sum(1, dtype=torch.float64)
        cross, made = cross / self.sample.scale[:, None], made / self.sample.scale
        cross += (self.sample.equations.centre - self.sums.read[:, None]).transpose(1, 2) * made[:, None]
        sums = replace(self.sums, cross=cross, made=made / self.sums.count if self.layer.centred else self.sums.made)
        weights = solve(sums, self.layer.weights, self.factor)
        return weights, offset_of(sums, weights)


def _now(sample: RowSample, rows: RectifiedRows, weights: Tensor, offset: Tensor) -> Tensor:
    """What comes before the rectifier, everything added, float32 [G, n, O]."""
    scale = sample.scale[:, None]
    constant = (sample.equations.centre @ weights + offset[:, None]) * scale
    return torch.baddbmm(rows.rest, rows.read, (weights * scale).float()).add_(constant.float())


def _seen_error(sample: RowSample, weights: Tensor, offset: Tensor) -> float:
    """Squared error behind the rectifier on the first fold."""
    errors = (_now(sample, rows, weights, offset).relu_() - rows.seen.relu() for rows in sample.held)
    return sum(float(error.square().sum(dtype=torch.float64)) for error in errors)


def _spread(sample: RowSample) -> float:
    """Sum of squares about the mean of the target behind the rectifier, on the first fold."""
    values = torch.cat([rows.seen for rows in sample.held], 1).relu().double()
    return float((values - values.mean(1, keepdim=True)).square().sum()) or 1.0
