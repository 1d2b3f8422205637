"""Zeros among the weights of both models, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ZeroCount:
    """The zeros of one weight.

    Attributes:
        weights: its elements.
        zeros: those that are 0.
        patterns: N:M -> how many groups of M neighbouring input channels have at most N that are not 0, and how many
            groups there are; empty where it is not a product over channels.
    """

    weights: int
    zeros: int
    patterns: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def meets(self, pattern: str) -> bool:
        """Whether every group meets a pattern.

        Example:
            >>> ZeroCount(8, 4, {"2:4": (2, 2)}).meets("2:4"), ZeroCount(8, 4).meets("2:4")
            (True, False)
        """
        met, groups = self.patterns.get(pattern, (0, 1))
        return met == groups


@dataclass(frozen=True)
class SparseLayer:
    """The zeros of one layer in both models.

    Attributes:
        name: of the layer.
        full: None where the full model has no such layer.
        compressed: None where the compressed model has none, or there is no such model.
        whole: why `sparsify` left all its weights; empty where it did not, or where nobody asked for zeros.
    """

    name: str
    full: ZeroCount | None = None
    compressed: ZeroCount | None = None
    whole: str = ""


@dataclass(frozen=True)
class SparsityRecord:
    """The zeros of both models.

    Attributes:
        layers: in the order of the forward pass.
        pattern: that `sparsify` was asked for; empty without it.
        packed_bytes: of the compressed model if every layer that meets the pattern were stored as the values that stay
            and their places, which none of its files does; None without `sparsify`.
    """

    layers: tuple[SparseLayer, ...]
    pattern: str = ""
    packed_bytes: int | None = None
