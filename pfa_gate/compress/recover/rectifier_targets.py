"""A refit behind a rectifier: what the rectifier hides need not be met, so errors count only behind it.

Where the target behind the rectifier is zero, any negative output is as good. Each round takes as target the value
behind the rectifier where that is positive, and elsewhere the smaller of the present output and zero. This majorises
the error behind the rectifier, so no round increases it on the rows that are solved. One round, and twice its step, are
judged on the first fold; the best of them is followed by a round on all rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace

import torch
from torch import Tensor

from pfa_gate.compress.recover.refit import Fit, LinearLayer, about, factored, solve
from pfa_gate.compress.regress import Equations, Sums, offset_of

MOST = 2**26  # numbers held for one layer's rows; a layer with more stays with its linear refit


@dataclass(frozen=True)
class Rows:
    """Some rows of a layer.

    Attributes:
        read: [G, n, D], what the layer reads.
        target: [G, n, O], what it should output.
        rest: [G, n, O], what is added to its scaled output before the rectifier.
    """

    read: Tensor
    target: Tensor
    rest: Tensor

    def split(self, counts: Sequence[int]) -> Iterator["Rows"]:
        """The rows in parts of these lengths, in order."""
        parts = (torch.split(each, list(counts), 1) for each in (self.read, self.target, self.rest))
        return (Rows(*part) for part in zip(*parts, strict=True))

    @classmethod
    def joined(cls, parts: Sequence["Rows"]) -> "Rows":
        """Several of them as one, in order."""
        if len(parts) == 1:
            return parts[0]
        return cls(*(torch.cat([getattr(part, each.name) for part in parts], 1) for each in fields(cls)))


@dataclass(frozen=True)
class RectifiedRows:
    """Rows with their target behind the rectifier, float32.

    Attributes:
        read: [G, n, D], about the centre of the equations.
        target: [G, n, O], the sum before the rectifier, where it is positive; else minus infinity.
        rest: [G, n, O], what is added to the layer's scaled output.
    """

    read: Tensor
    target: Tensor
    rest: Tensor


@dataclass
class RowSample:
    """Rows held while they are few enough.

    Attributes:
        scale: float64 [G, O], what the layer's output is multiplied by.
        equations: of the same rows.
        held_out, learnt: rows of the first fold, and of the others.
    """

    scale: Tensor
    equations: Equations
    held_out: list[RectifiedRows] = field(default_factory=list)
    learnt: list[RectifiedRows] = field(default_factory=list)
    numbers: int = 0

    def __post_init__(self) -> None:
        size = self.scale.abs()
        self.scale = torch.where(size > 1e-6 * size.max(), self.scale, size.max().clamp_min(1e-12))

    def add(self, rows: Rows, held: bool) -> None:
        """Hold these too, read about the centre of the equations; once there are too many, hold none."""
        self.numbers += rows.read.numel() + 2 * rows.target.numel()
        if self.numbers > MOST:
            self.held_out, self.learnt = [], []
            return
        output = (self.scale[:, None].to(rows.target.dtype) * rows.target).add_(rows.rest).float()
        target = output.masked_fill_(output <= 0, -torch.inf)
        (self.held_out if held else self.learnt).append(RectifiedRows(rows.read.float(), target, rows.rest.float()))


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
    if fit.ridge is None or not sample.held_out:
        return fit
    equations = sample.equations
    learnt = about(equations.all_but(0), layer.centred)
    others = _Rounds.of(sample.learnt, sample, learnt, layer, fit.ridge)
    if others is None:
        return fit
    trials = others.trials()
    spread = _spread(sample)
    unchanged = _rectified_error(sample, layer.weights, layer.offset) / spread
    scores = [_rectified_error(sample, *trial) / spread for trial in trials]
    best = min(range(len(scores)), key=scores.__getitem__)
    if not scores[best] < unchanged:
        return Fit(layer.weights, layer.offset, None, unchanged, unchanged, fit.rows)
    if best == 0:
        return replace(fit, before=unchanged, after=scores[0])
    whole = _Rounds.of(
        (*sample.held_out, *sample.learnt), sample, about(equations.total(), layer.centred), layer, fit.ridge
    )
    if whole is None:
        return fit
    return Fit(*whole.round(*trials[best]), fit.ridge, unchanged, scores[best], fit.rows)


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
        cls, rows: Sequence[RectifiedRows], sample: RowSample, sums: Sums, layer: LinearLayer, ridge: float
    ) -> "_Rounds | None":
        """None where the gram matrix is not definite."""
        factor = factored(sums.gram, ridge)
        return None if factor is None else cls(rows, sample, sums, layer, factor)

    def trials(self) -> list[tuple[Tensor, Tensor]]:
        """Weights and offset of the linear refit, of a round, and of twice its step, which saves most of another."""
        weights = solve(self.sums, self.layer.weights, self.factor)
        offset = offset_of(self.sums, weights)
        once = self.round(weights, offset)
        return [(weights, offset), once, (2 * once[0] - weights, 2 * once[1] - offset)]

    def round(self, weights: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
        """The rows solved with the targets that weights and offset give."""
        cross, made = torch.zeros_like(self.sums.cross), torch.zeros_like(self.sums.target_mean)
        before = _BeforeRectifier.of(self.sample, weights, offset)
        for rows in self.rows:
            target = torch.maximum(rows.target, before(rows).clamp_max_(0)).sub_(rows.rest)
            cross += rows.read.transpose(1, 2) @ target
            made += target.sum(1, dtype=torch.float64)
        cross, made = cross / self.sample.scale[:, None], made / self.sample.scale
        cross += (self.sample.equations.centre - self.sums.row_mean[:, None]).transpose(1, 2) * made[:, None]
        sums = replace(
            self.sums, cross=cross, target_mean=made / self.sums.count if self.layer.centred else self.sums.target_mean
        )
        weights = solve(sums, self.layer.weights, self.factor)
        return weights, offset_of(sums, weights)


@dataclass(frozen=True)
class _BeforeRectifier:
    """From rows to the sum that the rectifier reads, float32 [G, n, O]."""

    weights: Tensor
    constant: Tensor

    @classmethod
    def of(cls, sample: RowSample, weights: Tensor, offset: Tensor) -> "_BeforeRectifier":
        scale = sample.scale[:, None]
        constant = (sample.equations.centre @ weights + offset[:, None]) * scale
        return cls((weights * scale).float(), constant.float())

    def __call__(self, rows: RectifiedRows) -> Tensor:
        return torch.baddbmm(rows.rest, rows.read, self.weights).add_(self.constant)


def _rectified_error(sample: RowSample, weights: Tensor, offset: Tensor) -> float:
    """Squared error behind the rectifier on the first fold."""
    before = _BeforeRectifier.of(sample, weights, offset)
    errors = (before(rows).relu_() - rows.target.relu() for rows in sample.held_out)
    return sum(float(error.square().sum(dtype=torch.float64)) for error in errors)


def _spread(sample: RowSample) -> float:
    """Sum of squares about the mean of the target behind the rectifier, on the first fold."""
    values = torch.cat([rows.target for rows in sample.held_out], 1).relu().double()
    return float((values - values.mean(1, keepdim=True)).square().sum()) or 1.0
