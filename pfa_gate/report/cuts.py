"""Where each rule would cut a layer's spectrum, read off the record: marks for a picture, nothing is cut by them."""

import math
from collections.abc import Sequence
from itertools import accumulate

from pfa_gate.record import LayerRecord

_TOLERANCE = 1e-9


def kl_cut(layer: LayerRecord) -> int | None:
    """Filters that the strategy `kl` would keep of a layer by itself; None where it was not measured.

    Example:
        >>> kl_cut(LayerRecord("stem", "Conv2d", 16, kl_ratio=0.5, inactive=0))
        8
    """
    if layer.kl_ratio is None:
        return None
    ratio = min(1.0, max(0.0, layer.kl_ratio))
    return _clamped(math.ceil(layer.filters * (1 - ratio) - _TOLERANCE), layer)


def energy_cut(layer: LayerRecord, energy: float | None) -> int | None:
    """Filters that carry a share of a layer's energy; None where it was not measured, or without a share.

    Example:
        >>> energy_cut(LayerRecord("stem", "Conv2d", 3, inactive=0, eigenvalues=(0.6, 0.3, 0.1)), 0.9)
        2
    """
    if energy is None or not layer.eigenvalues:
        return None
    reached = (total >= energy - _TOLERANCE for total in accumulate(layer.eigenvalues))
    return _clamped(next((count for count, enough in enumerate(reached, 1) if enough), layer.filters), layer)


def _clamped(count: int, layer: LayerRecord) -> int:
    return max(1, min(count, layer.filters - (layer.inactive or 0)))


def fewest_cut(eigenvalues: Sequence[float], limit: float) -> int | None:
    """The most directions that can stay so that the KL ratio of what stays is within a limit.

    Args:
        eigenvalues: descending.
        limit: largest kl_ratio.

    Returns:
        How many stay; None where not even two do.

    Example:
        >>> fewest_cut([0.4, 0.4, 0.1, 0.1, 0.0], 0.05)
        2
    """
    for keep in range(len(eigenvalues), 1, -1):
        if _kl_ratio(eigenvalues[:keep]) <= limit:
            return keep
    return None


def _kl_ratio(eigenvalues: Sequence[float]) -> float:
    total = sum(eigenvalues)
    if total <= 0:
        return 1.0
    # The smallest may be lost in the division, and the logarithm of nothing is none.
    shares = [share for value in eigenvalues if (share := value / total) > 0]
    return sum(share * math.log(share * len(eigenvalues)) for share in shares) / math.log(len(eigenvalues))
