"""Rounding with error feedback: what one weight loses to its grid, those that are rounded later make good.

With the gram matrix H of what a layer reads, rounded weights V of free ones W cost tr((V - W)' H (V - W)). First the
columns are rounded in turn, those with the largest inputs first, and each one's error is spread over the others by the
inverse of H (optimal brain quantization, as GPTQ has it); then each number alone goes to where the error is least, and
each scale to its least squares, until little changes. No step of the second part makes the error larger.
"""

import torch
from torch import Tensor

from pfa_gate.compress.quantize.grid import Grid, stored

_DAMPING = 1e-2  # of the mean diagonal
_BLOCK = 64
_SWEEPS = 8


def fed_back(
    weights: Tensor, gram: Tensor, grid: Grid, scale: Tensor, zero: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Numbers and scales of one matrix, for least error of its products; never more of it than the nearest numbers.

    Args:
        weights: float64 [D, O], free.
        gram: float64 [D, D], of the rows that are multiplied; a hundredth of its mean diagonal is added to that.
        grid: of the numbers.
        scale: float64 [O], to begin with.
        zero: bool [D, O], what stays zero; the grid has one then.

    Returns:
        Numbers float64 [D, O] of the grid, and scales float64 [O], as float32 holds them.

    Example:
        >>> rows = torch.randn(50, 3, dtype=torch.float64) @ torch.randn(3, 3, dtype=torch.float64)
        >>> weights, gram, grid = torch.randn(3, 4, dtype=torch.float64), rows.T @ rows, Grid(-3, 2, 4)
        >>> scale = weights.abs().amax(0) / 3
        >>> numbers, better = fed_back(weights, gram, grid, scale)
        >>> before = loss(weights, damped(gram), grid.nearest(weights / scale) * scale)
        >>> bool((loss(weights, damped(gram), numbers * better) <= before + 1e-9).all())
        True
    """
    scale = stored(scale)
    near, gram = _nearest(weights, grid, scale, zero), damped(gram)
    factor, failed = torch.linalg.cholesky_ex(gram)
    if bool(failed) or not bool(factor.isfinite().all()):
        return near, scale
    spread = _in_turn(weights, gram, grid, scale, zero)
    better = loss(weights, gram, spread * scale) < loss(weights, gram, near * scale)
    return _descended(weights, gram, grid, (torch.where(better, spread, near), scale), zero)


def damped(gram: Tensor) -> Tensor:
    """The gram matrix with a hundredth of its mean diagonal on that: so many rows more, of all columns alike."""
    return gram + _DAMPING * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)


def loss(weights: Tensor, gram: Tensor, rounded: Tensor) -> Tensor:
    """Squared error of the products of each output, float64 [O]."""
    gap = rounded - weights
    return (gap * (gram @ gap)).sum(0)


def _nearest(values: Tensor, grid: Grid, scale: Tensor, zero: Tensor | None) -> Tensor:
    numbers = grid.nearest(values / torch.where(scale > 0, scale, 1.0))
    return numbers if zero is None else torch.where(zero, 0.0, numbers)


def _in_turn(weights: Tensor, gram: Tensor, grid: Grid, scale: Tensor, zero: Tensor | None) -> Tensor:
    """Column by column, the error of each spread over those that are left."""
    order = gram.diagonal().argsort(descending=True, stable=True)
    left, held = weights[order].clone(), None if zero is None else zero[order]
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram[order][:, order]))
    upper = torch.linalg.cholesky(inverse, upper=True)
    numbers = torch.empty_like(left)
    for start in range(0, len(left), _BLOCK):
        block = range(start, min(start + _BLOCK, len(left)))
        errors = torch.empty_like(left[start : block.stop])
        for row in block:
            numbers[row] = _nearest(left[row], grid, scale, None if held is None else held[row])
            error = (left[row] - numbers[row] * scale) / upper[row, row]
            left[row + 1 : block.stop] -= upper[row, row + 1 : block.stop, None] * error
            errors[row - start] = error
        left[block.stop :] -= upper[start : block.stop, block.stop :].T @ errors
    found = torch.empty_like(numbers)
    found[order] = numbers
    return found


def _descended(
    weights: Tensor, gram: Tensor, grid: Grid, start: tuple[Tensor, Tensor], zero: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Each number where the error is least, and each scale, in turn."""
    numbers, scale = start[0].clone(), start[1]
    diagonal = gram.diagonal()
    for _ in range(_SWEEPS):
        scale = stored(_least_squares(weights, gram, numbers, scale))
        gradient = gram @ (numbers * scale - weights)  # [D, O], half of it
        changed = False
        for row in range(len(weights)):
            wanted = numbers[row] * scale - gradient[row] / diagonal[row]
            fresh = _nearest(wanted, grid, scale, None if zero is None else zero[row])
            step = (fresh - numbers[row]) * scale
            if bool(step.any()):
                gradient += gram[:, row, None] * step
                numbers[row], changed = fresh, True
        if not changed:
            break
    return numbers, scale


def _least_squares(weights: Tensor, gram: Tensor, numbers: Tensor, scale: Tensor) -> Tensor:
    products = gram @ numbers
    fresh = (products * weights).sum(0) / (products * numbers).sum(0).clamp_min(torch.finfo(torch.float64).tiny)
    return torch.where(fresh > 0, fresh, scale)
