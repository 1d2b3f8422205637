"""A constraint on layers that are solved: of low rank, with zeros in a pattern, on a grid of few bits.

With the gram matrix H of what a layer reads and its free refit W, which no solution beats, the squared error of any
other weights V is that of W and tr((V - W)' H (V - W)). So a constraint needs W and H alone.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from pfa_gate.compress.recover.refit import Fit, LinearLayer, about, held_out_errors
from pfa_gate.compress.regress import Equations, Sums
from pfa_gate.graph.calls import Call

Change = Callable[[Tensor, Sums], Tensor]


class Constraint(Protocol):
    """What the weights of some layers have to be."""

    def wants(self, layer: str) -> bool:
        """Whether a layer is to meet it; then it is solved even where it reads what it always did."""

    def constrained(self, call: Call, weights: Tensor, sums: Sums) -> Tensor:
        """Weights that meet it.

        Args:
            call: of the layer, in the compressed program.
            weights: float64 [groups, D, O], its free refit, taps before channels as `matrix_of` has them.
            sums: of the rows that it reads in the compressed model as solved so far, and of its targets; about their
                means where the layer has a place for an offset, which then makes good what the means change.

        Returns:
            Float64 [groups, D, O].
        """


def constrain(equations: Equations, layer: LinearLayer, place: int, fit: Fit, change: Change) -> Fit:
    """A layer's refit, changed so that it meets a constraint; its offset follows.

    Args:
        equations: of all rows.
        layer: the layers that read them, as they were.
        place: which of them it is.
        fit: its free refit.
        change: from its weights and sums to weights that meet the constraint.

    Returns:
        `before` and `after` are of the linear output, on the rows held out, which were solved on too.

    Example:
        >>> rows = torch.randn(80, 3, dtype=torch.float64)
        >>> equations = Equations(1, 3, 1)
        >>> read = equations.add(rows[None], rows[None].sum(2, keepdim=True) + 5)
        >>> ones = torch.ones(1, 3, 1, dtype=torch.float64)
        >>> layer = LinearLayer(ones, ones[:, 0], ones[:, 0], centred=True)
        >>> free = Fit(ones, 5 * ones[:, 0], 1e-6, 0.5, 0.0, 80)
        >>> found = constrain(equations, layer, 0, free, lambda weights, sums: weights * 0)
        >>> bool(torch.allclose(found.offset, 5 + rows.mean(0).sum()))
        True
    """
    sums = about(equations.total(), layer.centred)
    own = replace(
        sums,
        target_mean=layer.split(sums.target_mean)[place],
        cross=layer.split(sums.cross)[place],
        square=layer.split(sums.square)[place],
    )
    weights = change(fit.weights, own)
    offset = fit.offset + (sums.row_mean[:, :, None] * (fit.weights - weights)).sum(1)
    joined = _with(layer, place, weights, layer.weights), _with(layer, place, offset, layer.offset)
    before = held_out_errors(equations, layer, layer.weights, layer.offset)[place]
    after = held_out_errors(equations, layer, *joined)[place]
    return Fit(weights, offset, fit.ridge or 0.0, before, after, fit.rows, fit.gap)


def _with(layer: LinearLayer, place: int, own: Tensor, outputs: Tensor) -> Tensor:
    parts = list(layer.split(outputs))
    parts[place] = own
    return torch.cat(parts, -1)
