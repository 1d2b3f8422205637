"""Rounding with error feedback: what one weight loses to its grid, those that are rounded later make good.

With the gram matrix H of what a layer reads, rounded weights V of free ones W cost tr((V - W)' H (V - W)). First the
columns are rounded in turn, those with the largest inputs first, and each one's error is spread over the others by the
inverse of H (optimal brain quantization, as GPTQ has it); then each number alone goes to where the error is least, and
each scale to its least squares, until little changes. No step of the second part makes the error larger.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pfa_gate.compress.quantize.grid import Grid, stored

_DAMPING = 1e-2  # of the mean diagonal
_BLOCK = 64
_SWEEPS = 8
_FEW_CHANGES = 1e-3  # of the numbers, after which another sweep would not pay


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
    scale, rule, gram = stored(scale), _Rule(grid, zero), damped(gram)
    near = rule.nearest(weights, scale)
    factor, failed = torch.linalg.cholesky_ex(gram)
    if bool(failed) or not bool(factor.isfinite().all()):
        return near, scale
    spread = _in_turn(weights, gram, rule, scale)
    better = loss(weights, gram, spread * scale) < loss(weights, gram, near * scale)
    return _descended(weights, gram, rule, (torch.where(better, spread, near), scale))


@dataclass(frozen=True)
class _Rule:
    """What a number may be: of a grid, and nothing where it is to stay so; `zero` is bool [D, O] or None."""

    grid: Grid
    zero: Tensor | None

    def nearest(self, values: Tensor, scale: Tensor) -> Tensor:
        """The nearest numbers at a scale."""
        numbers = self.grid.nearest(values / torch.where(scale > 0, scale, 1.0))
        return numbers if self.zero is None else torch.where(self.zero, 0.0, numbers)

    def of(self, rows: int | slice | Tensor) -> "_Rule":
        """For some rows."""
        return self if self.zero is None else _Rule(self.grid, self.zero[rows])


def damped(gram: Tensor) -> Tensor:
    """The gram matrix with a hundredth of its mean diagonal on that: so many rows more, of all columns alike."""
    return gram + _DAMPING * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)


def loss(weights: Tensor, gram: Tensor, rounded: Tensor) -> Tensor:
    """Squared error of the products of each output, float64 [O]."""
    gap = rounded - weights
    return (gap * (gram @ gap)).sum(0)


def _in_turn(weights: Tensor, gram: Tensor, rule: _Rule, scale: Tensor) -> Tensor:
    """Column by column, the error of each spread over those that are left."""
    order = gram.diagonal().argsort(descending=True, stable=True)
    left, rule = weights[order].clone(), rule.of(order)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(gram[order][:, order]))
    upper = torch.linalg.cholesky(inverse, upper=True)
    numbers = torch.empty_like(left)
    for start in range(0, len(left), _BLOCK):
        block = range(start, min(start + _BLOCK, len(left)))
        errors = torch.empty_like(left[start : block.stop])
        for row in block:
            numbers[row] = rule.of(row).nearest(left[row], scale)
            error = (left[row] - numbers[row] * scale) / upper[row, row]
            left[row + 1 : block.stop] -= upper[row, row + 1 : block.stop, None] * error
            errors[row - start] = error
        left[block.stop :] -= upper[start : block.stop, block.stop :].T @ errors
    found = torch.empty_like(numbers)
    found[order] = numbers
    return found


def _descended(weights: Tensor, gram: Tensor, rule: _Rule, start: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Each number where the error is least, and each scale, in turn."""
    numbers, scale = start[0].clone(), start[1]
    for _ in range(_SWEEPS):
        scale = stored(_least_squares(weights, gram, numbers, scale))
        gradient = gram @ (numbers * scale - weights)  # [D, O], half of it
        changed = 0
        for begin in range(0, len(weights), _BLOCK):
            block = slice(begin, begin + _BLOCK)
            fresh = _descended_block(numbers[block], gradient[block], gram[block, block], rule.of(block), scale)
            steps = fresh - numbers[block]
            changed += int(steps.count_nonzero())
            gradient += gram[:, block] @ (steps * scale)
            numbers[block] = fresh
        if changed <= _FEW_CHANGES * numbers.numel():
            break
    return numbers, scale


def _descended_block(numbers: Tensor, gradient: Tensor, gram: Tensor, rule: _Rule, scale: Tensor) -> Tensor:
    """Some rows, one after the other; what they change for all others is taken up after them."""
    fresh, gradient, diagonal = numbers.clone(), gradient.clone(), gram.diagonal()
    for row in range(len(numbers)):
        fresh[row] = rule.of(row).nearest(numbers[row] * scale - gradient[row] / diagonal[row], scale)
        gradient += gram[:, row, None] * ((fresh[row] - numbers[row]) * scale)
    return fresh


def _least_squares(weights: Tensor, gram: Tensor, numbers: Tensor, scale: Tensor) -> Tensor:
    products = gram @ numbers
    fresh = (products * weights).sum(0) / (products * numbers).sum(0).clamp_min(torch.finfo(torch.float64).tiny)
    return torch.where(fresh > 0, fresh, scale)
