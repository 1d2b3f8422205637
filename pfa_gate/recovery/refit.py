"""The closed form: a layer's weights solved anew, its ridge chosen on folds that the solution has not seen."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pfa_gate.readers import FOLDS, Equations, Sums, errors, offset_of

RIDGES = tuple(10.0 ** (step / 2) for step in range(-12, 5))
_FIRST = 1e-2


@dataclass(frozen=True)
class Layer:
    """What a refit starts from.

    Attributes:
        weights: float64 [groups, D, O], as they are.
        offset: float64 [groups, O], the bias as it is, or zeros.
        importance: float64 [groups, O], how much each output's squared error counts.
        centred: whether there is a place for a new offset.
    """

    weights: Tensor
    offset: Tensor
    importance: Tensor
    centred: bool


@dataclass(frozen=True)
class Fit:
    """A layer solved anew.

    Attributes:
        weights, offset: as in `Layer`.
        ridge: relative to the mean diagonal of the gram matrix; None where doing nothing was no worse.
        before, after: held-out squared error, as a share of the variance of the targets.
        rows: how many rows it was solved on.
    """

    weights: Tensor
    offset: Tensor
    ridge: float | None
    before: float
    after: float
    rows: int


def refit(equations: Equations, layer: Layer, near: float | None = None) -> Fit:
    """Weights that meet the targets best on rows they have not seen, shrunk towards those there are.

    Each ridge is tried on every fold with the others' solution (4-fold cross-validation); the best one solves
    all rows. Where none beats the layer as it is, the layer is given back. The search starts at the ridge `near`.

    Example:
        >>> rows = torch.randn(80, 3, dtype=torch.float64)
        >>> equations = Equations(1, 3, 1)
        >>> equations.add(rows[None], (rows @ torch.ones(3, 1, dtype=torch.float64))[None], torch.arange(80) % FOLDS)
        >>> zeros = torch.zeros(1, 3, 1, dtype=torch.float64)
        >>> fit = refit(equations, Layer(zeros, zeros[:, 0], torch.ones(1, 1), centred=True))
        >>> fit.weights.flatten().round(decimals=3).tolist(), fit.after < fit.before
        ([1.0, 1.0, 1.0], True)
    """
    whole = about(equations.total(), layer.centred)
    scale = float((layer.importance * whole.square).sum()) or 1.0
    nothing = _weighed(whole, layer.weights, layer.offset, layer) / scale
    ridge, after = lowest(lambda ridge: _held_out(equations, layer, ridge) / scale, near or _FIRST)
    weights = solve(whole, layer.weights, ridge)
    if weights is None or not after < nothing:
        return Fit(layer.weights, layer.offset, None, nothing, nothing, whole.count)
    return Fit(weights, offset_of(whole, weights), ridge, nothing, after, whole.count)


def solve(sums: Sums, start: Tensor, ridge: float) -> Tensor | None:
    """Start + (H + r)^-1 (X'Y - H start), r = ridge x mean diagonal of H; None where H is not definite.

    Example:
        >>> rows = torch.randn(50, 3, dtype=torch.float64)
        >>> equations = Equations(1, 3, 1)
        >>> equations.add(rows[None], (rows @ torch.ones(3, 1, dtype=torch.float64))[None], torch.arange(50) % FOLDS)
        >>> solve(equations.total(), torch.zeros(1, 3, 1, dtype=torch.float64), 1e-12).round().flatten().tolist()
        [1.0, 1.0, 1.0]
    """
    loaded = sums.gram.clone()
    diagonal = loaded.diagonal(dim1=1, dim2=2)
    diagonal.add_((ridge * diagonal.mean(1, keepdim=True)).clamp_min(torch.finfo(torch.float64).tiny))
    factor, info = torch.linalg.cholesky_ex(loaded)
    if bool(info.any()):
        return None
    weights = start + torch.cholesky_solve(sums.cross - sums.gram @ start, factor)
    return weights if bool(weights.isfinite().all()) else None


def lowest(error: Callable[[float], float], near: float = _FIRST) -> tuple[float, float]:
    """The ridge of least error and that error, walking downhill on the grid.

    Example:
        >>> lowest(lambda ridge: abs(ridge - 1e-3))[0] == RIDGES[6]
        True
    """
    start = RIDGES.index(near)
    place, best = start, error(near)
    for step in (-1, 1):
        while 0 <= place + step < len(RIDGES) and (tried := error(RIDGES[place + step])) < best:
            place, best = place + step, tried
        if place != start:
            break
    return RIDGES[place], best


def about(sums: Sums, centred: bool) -> Sums:
    """The sums about their means, or about zero where a layer has no place for an offset."""
    if centred:
        return sums
    read, made, count = sums.read, sums.made, sums.count
    return replace(
        sums,
        read=torch.zeros_like(read),
        made=torch.zeros_like(made),
        gram=sums.gram + count * read[:, :, None] * read[:, None, :],
        cross=sums.cross + count * read[:, :, None] * made[:, None, :],
        square=sums.square + count * made.square(),
    )


def _held_out(equations: Equations, layer: Layer, ridge: float) -> float:
    total = 0.0
    for fold in range(FOLDS):
        # Added up again for each ridge: of a wide layer nine such matrices at once would be gigabytes.
        rest = about(equations.part([other for other in range(FOLDS) if other != fold]), layer.centred)
        weights = solve(rest, layer.weights, ridge)
        if weights is None:
            return float("inf")
        offset = offset_of(rest, weights)
        total += _weighed(about(equations.part([fold]), layer.centred), weights, offset, layer)
    return total


def _weighed(sums: Sums, weights: Tensor, offset: Tensor, layer: Layer) -> float:
    return float((layer.importance * errors(sums, weights, offset)).sum())
