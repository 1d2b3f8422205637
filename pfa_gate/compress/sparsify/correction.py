"""The weights that stay, solved anew: least squares of the layer's outputs under the condition that the others are 0.

With W the weights as they were and H the gram matrix of what the layer reads, the error of any V is
tr((V - W)' H (V - W)). Each filter has a support of its own, so each is a problem of its own: V_s = H_ss^-1 (H W)_s.
"""

import torch
from torch import Tensor

from pfa_gate.compress.sparsify.masks import magnitude_mask, surgeon_mask

DAMPING = 1e-2  # least ridge, relative to the mean diagonal: rows that were not drawn may differ
SCARCE = 0.1  # ridge of a layer that has as many rows as columns
DIRECT = 2e9  # products of a layer, up to which its filters are solved one by one
_HELD = 2**24  # numbers of the matrices of several filters at once
_ROUNDS, _CLOSE = 60, 1e-5  # of conjugate gradients, whose error falls with the square of what is left


def sparse(weights: Tensor, gram: Tensor, groups: Tensor, kept: int) -> Tensor:
    """The weights with at most `kept` in each group, for each filter the better of two choices, both solved anew.

    So no filter is worse than by magnitude.

    Args:
        weights: float64 [D, O], one column for each filter.
        gram: float64 [D, D], positive definite.
        groups: int64 [D], the group of each row; the rows of one are neighbours.
        kept: that stay of each group.

    Example:
        >>> twins = torch.tensor([[1.0, 0.99, 0], [0.99, 1, 0], [0, 0, 1]], dtype=torch.float64)
        >>> weights = torch.tensor([[1.0], [1.0], [0.5]], dtype=torch.float64)
        >>> sparse(weights, twins, torch.tensor([0, 0, 0]), 2).flatten().tolist()
        [0.0, 1.99, 0.5]
    """
    masks = (surgeon_mask(weights, gram, groups, kept), magnitude_mask(weights, groups, kept))
    first, second = (corrected(weights, gram, mask) for mask in masks)
    worse = loss(first, weights, gram) > loss(second, weights, gram)
    return torch.where(worse, second, first)


def corrected(weights: Tensor, gram: Tensor, mask: Tensor) -> Tensor:
    """The weights [D, O] that stay by a mask, bool [D, O], set anew so that the outputs change least; the others are 0.

    Every filter keeps the same number of weights.

    Example:
        >>> gram = torch.tensor([[1.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
        >>> corrected(torch.ones(2, 1, dtype=torch.float64), gram, torch.tensor([[True], [False]])).flatten().tolist()
        [1.5, 0.0]
    """
    staying = int(mask.sum(0).max())
    if weights.shape[1] * staying**3 / 3 > DIRECT:
        return _by_gradients(weights, gram, mask)
    wanted = gram @ weights
    places = mask.T.nonzero()[:, 1].reshape(weights.shape[1], staying)
    found = torch.zeros_like(weights)
    for few in torch.split(torch.arange(weights.shape[1]), max(1, _HELD // max(1, staying**2))):
        at = places[few]
        factor = torch.linalg.cholesky(gram[at[:, :, None], at[:, None, :]])
        solved = torch.cholesky_solve(wanted.T[few[:, None], at][:, :, None], factor)
        found[at, few[:, None]] = solved[:, :, 0]
    return found


def _by_gradients(weights: Tensor, gram: Tensor, mask: Tensor) -> Tensor:
    """The same by conjugate gradients on all filters at once; no step makes a filter worse."""
    scale = gram.diagonal()[:, None]
    found = weights * mask
    rest = (gram @ (weights - found)) * mask
    first = rest.square().sum(0)
    step = rest / scale
    product = (rest * step).sum(0)
    for _ in range(_ROUNDS):
        across = gram @ step
        length = product / (step * across).sum(0).clamp_min(torch.finfo(weights.dtype).tiny)
        found += length * step
        rest -= length * across * mask
        if bool((rest.square().sum(0) <= _CLOSE**2 * first).all()):
            break
        scaled = rest / scale
        before, product = product, (rest * scaled).sum(0)
        step = scaled + step * (product / before.clamp_min(torch.finfo(weights.dtype).tiny))
    return found


def loss(found: Tensor, weights: Tensor, gram: Tensor) -> Tensor:
    """What each output loses, [O]: the squared change over the rows that the gram matrix was made of."""
    change = found - weights
    return (change * (gram @ change)).sum(0)


def ridge_for(columns: int, rows: int) -> float:
    """The ridge of a layer that was summed up over so many rows: fewer rows say less of those that were not drawn.

    Example:
        >>> ridge_for(576, 27_648), ridge_for(128, 64)
        (0.01, 0.2)
    """
    return max(DAMPING, SCARCE * columns / max(rows, 1))


def damped(gram: Tensor, ridge: float) -> Tensor:
    """The gram matrix and a ridge relative to its mean diagonal; the unit matrix where nothing is read.

    Example:
        >>> damped(torch.zeros(1, 1), 0.1).tolist(), damped(torch.ones(1, 1), 0.5).tolist()
        ([[1.0]], [[1.5]])
    """
    mean = float(gram.diagonal().mean())
    unit = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return gram + ridge * mean * unit if mean > 0 else unit
