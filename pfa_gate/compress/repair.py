"""What compensation did to one layer, as plain data without torch: records and reports hold it too."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Repair:
    """What compensation did to one layer.

    Attributes:
        layer: its name.
        before, after: held-out squared error of its outputs, as a share of the variance of its targets; behind the
            rectifier where one follows. None where it was not measured.
        ridge: added to its normal equations, relative to their mean diagonal; None where the layer is unchanged.
        rows: patches it was solved on.
        reason: why the layer is unchanged, or None.

    Example:
        >>> Repair("conv2", 0.31, 0.1, 1e-2, 96_000).solved
        True
    """

    layer: str
    before: float | None
    after: float | None
    ridge: float | None
    rows: int
    reason: str | None = None

    @property
    def solved(self) -> bool:
        """Whether the layer has new weights."""
        return self.ridge is not None


def left_out(layer: str, reason: str) -> Repair:
    """Of a layer that was not solved.

    Example:
        >>> left_out("conv2", "its weight is used 2 times").solved
        False
    """
    return Repair(layer, None, None, None, 0, reason)
