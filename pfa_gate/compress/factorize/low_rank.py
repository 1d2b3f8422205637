"""Reduced-rank regression: the weights of low rank that lose least of what a layer makes, in closed form.

With the gram matrix H of what a layer reads and its free refit W, weights V cost tr((V - W)' H (V - W)) more than W,
each output counted by its importance S. The best V of rank k is W projected on the k directions of its outputs that
carry most: the top right singular vectors of H^(1/2) W S^(1/2), which are the eigenvectors of S^(1/2) W'H W S^(1/2).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_LEAST = 1e-8  # of the largest: what an output counts at least, and by how much a direction is scaled at most


@dataclass(frozen=True)
class Factors:
    """Two matrices in the place of one.

    Attributes:
        first: float64 [D, k], from what the layer reads to k values.
        second: float64 [k, O], from these to the outputs.
    """

    first: Tensor
    second: Tensor

    @property
    def rank(self) -> int:
        """K, how many values lie between them."""
        return self.first.shape[1]

    @property
    def product(self) -> Tensor:
        """The matrix that they stand for, float64 [D, O]."""
        return self.first @ self.second


@dataclass(frozen=True, eq=False)
class OutputDirections:
    """The directions in which a layer's outputs vary, those that carry most first.

    Attributes:
        weights: float64 [D, O].
        root: float64 [O], the root of each output's importance.
        vectors: float64 [O, O], one column for each direction.
        squares: float64 [O], what each carries, descending, at least 0.

    Example:
        >>> weights = torch.tensor([[3.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
        >>> found = OutputDirections.of(weights, torch.eye(2, dtype=torch.float64))
        >>> found.squares.tolist(), found.factors(1).product.round().tolist()
        ([9.0, 1.0], [[3.0, 0.0], [0.0, 0.0]])
    """

    weights: Tensor
    root: Tensor
    vectors: Tensor
    squares: Tensor

    @classmethod
    def of(cls, weights: Tensor, gram: Tensor, importance: Tensor | None = None) -> "OutputDirections":
        """The directions of a layer.

        Args:
            weights: float64 [D, O], the free refit.
            gram: float64 [D, D], X'X of the rows that it reads.
            importance: float64 [O], at least 0: how much each output's squared error counts; all alike unless given.
        """
        ones = torch.ones(weights.shape[1], dtype=torch.float64, device=weights.device)
        counted = ones if importance is None else importance.to(ones)
        largest = float(counted.max())
        root = counted.clamp_min(_LEAST * largest).sqrt() if largest > 0 else ones
        weighed = weights * root
        values, vectors = torch.linalg.eigh(weighed.T @ gram @ weighed)
        return cls(weights, root, vectors.flip(1), values.flip(0).clamp_min(0))

    def factors(self, rank: int) -> Factors:
        """The best two matrices with so many values between them; their scales are balanced.

        With as many as there are outputs, their product is the weights.
        """
        top = self.vectors[:, :rank]
        first, second = (self.weights * self.root) @ top, top.T / self.root
        largest = float(self.squares[0])
        scale = (
            self.squares[:rank].clamp_min(_LEAST**2 * largest) ** 0.25
            if largest > 0
            else torch.ones_like(self.root[:rank])
        )
        return Factors(first / scale, second * scale[:, None])

    @cached_property
    def lost(self) -> npt.NDArray[np.float64]:
        """What each rank from 0 on loses, as a share of what the outputs carry, [O + 1]; zeros where nothing varies.

        Example:
            >>> weights = torch.tensor([[3.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
            >>> OutputDirections.of(weights, torch.eye(2, dtype=torch.float64)).lost.tolist()
            [1.0, 0.1, 0.0]
        """
        squares = self.squares.cpu().numpy()
        tails = np.append(np.cumsum(squares[::-1])[::-1], 0.0)
        return tails / tails[0] if tails[0] > 0 else np.zeros_like(tails)
