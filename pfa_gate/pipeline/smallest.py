"""The smallest size that holds, looked for in a few trials."""

from collections.abc import Callable
from dataclasses import dataclass

MOST = 8  # trials
NARROW = 1 / 64  # of the whole size: how near the smallest that holds and the largest that does not are brought


@dataclass(frozen=True)
class TriedSize:
    """What was found at a size.

    Attributes:
        share: the size that it came to, as a share of the whole; at most what was asked for.
        holds: whether it is good enough.
        fresh: whether it had to be tried: False where an earlier attempt came to the same.
    """

    share: float
    holds: bool
    fresh: bool = True


def narrow_down(attempt: Callable[[float], TriedSize | None], most: int = MOST) -> None:
    """Halve the range between the smallest size that holds and the largest that does not; then look below that one.

    What holds need not hold at every larger size, so the trials left look between the two largest that do not hold.
    Whoever attempts remembers all attempts and takes the best.

    Args:
        attempt: called with a share of the whole size; None where nothing is so small.
        most: fresh attempts.

    Example:
        >>> asked = []
        >>> def attempt(share: float) -> TriedSize:
        ...     asked.append(share)
        ...     return TriedSize(share, share >= 0.7)
        >>> narrow_down(attempt)
        >>> asked
        [0.5, 0.75, 0.625, 0.6875, 0.71875, 0.703125, 0.65625, 0.671875]
    """
    failed, high, left = [0.0], 1.0, most
    while left > 0:
        upper = high if high - failed[-1] > NARROW else failed.pop()
        if not failed or upper - failed[-1] <= NARROW:
            return
        share = (failed[-1] + upper) / 2
        found = attempt(share)
        left -= 0 if found is None else int(found.fresh)
        if found is not None and found.holds:
            high = min(share, found.share)
            failed = [each for each in failed if each < high]
        else:
            failed = sorted({*failed, share, *([upper] if upper < high else [])})
