"""How redundant a spectrum is, and how many filters each rule keeps of it (paper 3.1 and 3.2), in plain Python.

Recipes are decided with it, and reports advise and draw with it where there is no NumPy. So both say the same numbers.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Literal, TypeAlias

RoundTo: TypeAlias = int | Literal["auto"]

_TOLERANCE = 1e-9


def divergence(shares: Sequence[float]) -> tuple[float, float]:
    """Kullback-Leibler divergence of a spectrum from the flat one.

    Args:
        shares: C eigenvalues that sum to 1, or all 0 where nothing varies.

    Returns:
        The divergence in nats, and its share of the bound ln C: 0 where all eigenvalues are alike, 1 where one filter
        would do.

    Example:
        >>> divergence([0.5, 0.5]), divergence([1.0])
        ((0.0, 0.0), (0.0, 0.0))
        >>> divergence([1.0, 0.0])[1], divergence([0.0, 0.0])[1]
        (1.0, 1.0)
    """
    filters = len(shares)
    if filters == 1:
        return 0.0, 0.0
    bound = math.log(filters)
    positive = [share for share in shares if share > 0]
    if not positive:
        return bound, 1.0
    # Rounding may step over either end of the range by 1e-16.
    nats = min(max(math.fsum(share * math.log(share * filters) for share in positive), 0.0), bound)
    return nats, nats / bound


def kept_by_kl(filters: int, active: int, kl_ratio: float) -> int:
    """Filters that the strategy `kl` keeps: ceil(C (1 - kl_ratio)), between 1 and the number of active filters.

    Args:
        filters: C.
        active: how many of them vary at all.
        kl_ratio: divergence of their spectrum as a share of its bound, in [0, 1].

    Example:
        >>> kept_by_kl(16, 16, 0.5), kept_by_kl(16, 6, 0.5), kept_by_kl(16, 0, 1.0)
        (8, 6, 1)
    """
    return max(1, min(math.ceil(filters * (1 - kl_ratio) - _TOLERANCE), active))


def kept_by_energy(cumulative: Sequence[float], active: int, energy: float) -> int:
    """Filters that the strategy `energy` keeps: the fewest that carry a share of the energy.

    Args:
        cumulative: sums of the largest 1, 2, ..., C eigenvalues, as shares of the sum of all.
        active: how many filters vary at all; no more are kept, and one at least.
        energy: the share, in [0, 1].

    Example:
        >>> kept_by_energy([0.6, 0.9, 1.0], 3, 0.9), kept_by_energy([0.6, 0.9, 1.0], 3, 0.0)
        (2, 1)
    """
    return max(1, min(bisect_left(cumulative, energy - _TOLERANCE) + 1, active))


def most_within_kl(eigenvalues: Sequence[float], limit: float) -> int | None:
    """The most directions that can stay so that the KL ratio of what stays is within a limit.

    Args:
        eigenvalues: descending, in any unit.
        limit: largest kl_ratio.

    Returns:
        How many stay; None where not even two do.

    Example:
        >>> most_within_kl([0.4, 0.4, 0.1, 0.1, 0.0], 0.05)
        2
    """
    for count in range(len(eigenvalues), 1, -1):
        total = sum(eigenvalues[:count])
        shares = [value / total if total > 0 else 0.0 for value in eigenvalues[:count]]
        if divergence(shares)[1] <= limit:
            return count
    return None


def multiple_of(round_to: RoundTo, width: int) -> int:
    """The multiple that counts of a group come in.

    `auto` takes what kernels compute at a time, as far as a narrow group is not coarsened by it: 8 from 32 filters on,
    4 from 16 on, else 1.

    Args:
        round_to: `recipe.round_to`.
        width: filters of the group in the full model.

    Example:
        >>> [multiple_of("auto", width) for width in (64, 32, 31, 16, 15)], multiple_of(3, 64)
        ([8, 8, 4, 4, 1], 3)
    """
    if round_to != "auto":
        return round_to
    return 8 if width >= 32 else 4 if width >= 16 else 1


def neighbours(count: int, width: int, multiple: int, minimum: int = 1) -> tuple[int, int]:
    """The two allowed counts about one that is wanted: multiples, or all filters of a group.

    Args:
        count: from 1.
        width: filters of the group.
        multiple: what its counts come in.
        minimum: fewest filters, as far as the group has them.

    Example:
        >>> [neighbours(count, 20, 8) for count in (1, 8, 11, 17, 20)]
        [(8, 8), (8, 8), (8, 16), (16, 20), (20, 20)]
    """
    wanted = min(width, max(count, minimum))
    least = min(width, math.ceil(minimum / multiple) * multiple)
    above = min(width, math.ceil(wanted / multiple) * multiple)
    below = width if wanted == width else max(least, wanted // multiple * multiple)
    return below, max(least, above)
