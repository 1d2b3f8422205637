"""What a rectifier hides need not be met: a refit that counts errors only where they are seen behind it.

Where the full model's value is negative, any negative value is as good. Each round takes as target what is seen
where it is positive, and elsewhere the present value or zero, whichever is less; this majorises the error behind
the rectifier, so that no round makes it worse on the rows it is solved on. The rounds are judged on a held-out fold.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

import torch
from torch import Tensor

from pfa_gate.readers import FOLDS, Equations, Sums, offset_of
from pfa_gate.recovery.refit import Fit, Layer, about, solve

Chosen = Tensor | slice
ROUNDS = 3
MOST = 2**26  # numbers kept of one layer's rows; a layer with more keeps its linear refit


@dataclass(frozen=True)
class Rows:
    """Some rows of a layer, float32.

    Attributes:
        read: [G, n, D], what the layer reads.
        target: [G, n, O], what it should make.
        rest: [G, n, O], what is added to its scaled output before the rectifier.
        folds: int64 [n].
    """

    read: Tensor
    target: Tensor
    rest: Tensor
    folds: Tensor


@dataclass
class Sample:
    """Rows kept while they are few enough; what is read is kept about the first rows' mean, float64 [G, 1, D]."""

    rows: list[Rows] = field(default_factory=list)
    numbers: int = 0
    centre: Tensor | None = None

    def add(self, rows: Rows) -> None:
        """Keep these too, or none at all once there are too many."""
        self.numbers += rows.read.numel() + 2 * rows.target.numel()
        if self.centre is None:
            self.centre = rows.read.double().mean(1, keepdim=True)
        read = (rows.read - self.centre).float()
        kept = Rows(read, rows.target.float(), rows.rest.float(), rows.folds)
        self.rows = [*self.rows, kept] if self.numbers <= MOST else []


def rectify(sample: Sample, equations: Equations, layer: Layer, scale: Tensor, fit: Fit) -> Fit:
    """Refine a refit so that it meets the target behind the rectifier.

    Args:
        sample: the rows the refit was solved on.
        equations: of the same rows.
        layer: as it was before.
        scale: float64 [G, O], what the layer's output is multiplied by.
        fit: the linear refit, with its ridge.

    Returns:
        The best of the layer as it was, the linear refit and each round, by the squared error behind the rectifier
        on the first fold, solved on the others; the winner is solved on all rows. `before` and `after` are shares
        of the variance of the target behind the rectifier.
    """
    if fit.ridge is None or not sample.rows:
        return fit
    scale = torch.where(scale.abs() > 1e-6 * scale.abs().max(), scale, scale.abs().max().clamp_min(1e-12))
    honest = about(equations.part(list(range(1, FOLDS))), layer.centred)
    whole = about(equations.total(), layer.centred)
    start = solve(honest, layer.weights, fit.ridge)
    if start is None:
        return fit
    trials = list(_rounds(_Task(sample, layer, scale, fit.ridge, held=True), honest, start))
    spread = _spread(sample, scale)
    nothing = _seen_error(sample, scale, layer.weights, layer.offset) / spread
    scores = [_seen_error(sample, scale, *trial) / spread for trial in trials]
    best = min(range(len(scores)), key=scores.__getitem__)
    if not scores[best] < nothing:
        return Fit(layer.weights, layer.offset, None, nothing, nothing, fit.rows)
    rounds = _rounds(_Task(sample, layer, scale, fit.ridge, held=False), whole, fit.weights)
    final = next(islice(rounds, best, None))
    return Fit(*final, fit.ridge, nothing, scores[best], fit.rows)


@dataclass(frozen=True)
class _Task:
    """What stays the same from round to round; `held` leaves the first fold out."""

    sample: Sample
    layer: Layer
    scale: Tensor
    ridge: float
    held: bool


def _rounds(task: _Task, sums: Sums, weights: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Weights and offset of the linear refit and of each round."""
    offset = offset_of(sums, weights)
    yield weights, offset
    for _ in range(ROUNDS):
        sums = _aimed(task, sums, weights, offset)
        solved = solve(sums, task.layer.weights, task.ridge)
        weights = weights if solved is None else solved
        offset = offset_of(sums, weights)
        yield weights, offset


def _aimed(task: _Task, sums: Sums, weights: Tensor, offset: Tensor) -> Sums:
    """The same rows with the targets of the next round."""
    cross, made = torch.zeros_like(sums.cross), torch.zeros_like(sums.made)
    for rows in task.sample.rows:
        chosen = rows.folds > 0 if task.held else slice(None)
        now, seen = _now(task.sample, rows, chosen, (task.scale, weights, offset)), _seen(rows, chosen, task.scale)
        rest = rows.rest[:, chosen]
        target = (torch.where(seen > 0, seen, now.clamp_max(0)) - rest) / task.scale[:, None].float()
        cross += rows.read[:, chosen].transpose(1, 2) @ target
        made += target.sum(1)
    assert task.sample.centre is not None
    step = (task.sample.centre - sums.read[:, None]).transpose(1, 2) * made[:, None]
    return replace(sums, cross=cross + step, made=made / sums.count if task.layer.centred else sums.made)


def _now(sample: Sample, rows: Rows, chosen: Chosen, layer: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """What the layer makes of some rows, with what is added to it, float32 [G, n, O]."""
    scale, weights, offset = layer
    assert sample.centre is not None
    constant = sample.centre @ weights + offset[:, None]
    made = rows.read[:, chosen] @ weights.float() + constant.float()
    return scale[:, None].float() * made + rows.rest[:, chosen]


def _seen(rows: Rows, chosen: Chosen, scale: Tensor) -> Tensor:
    """What it should make, alike."""
    return scale[:, None].float() * rows.target[:, chosen] + rows.rest[:, chosen]


def _seen_error(sample: Sample, scale: Tensor, weights: Tensor, offset: Tensor) -> float:
    """Squared error behind the rectifier on the first fold."""
    total = 0.0
    for rows in sample.rows:
        held = rows.folds == 0
        now, seen = _now(sample, rows, held, (scale, weights, offset)), _seen(rows, held, scale)
        total += float((now.relu() - seen.relu()).square().sum(dtype=torch.float64))
    return total


def _spread(sample: Sample, scale: Tensor) -> float:
    """Sum of squares about the mean of the target behind the rectifier, on the first fold."""
    values = torch.cat([_seen(rows, rows.folds == 0, scale) for rows in sample.rows], 1).relu().double()
    return float((values - values.mean(1, keepdim=True)).square().sum()) or 1.0
