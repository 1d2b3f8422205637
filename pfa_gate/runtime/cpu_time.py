"""Two programs timed against each other by the CPU seconds that they take, whatever else the machine does."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

AIM = 0.01  # standard error of the ratio at which there is nothing more to learn
LONGEST = 60.0  # CPU seconds
MOST_PAIRS = 1000  # so that a small model, whose turns are short, takes 5 s at most
FEWEST_PAIRS = 40  # before the standard error is believed
_FEWEST = 3  # pairs of programs that are too slow for more
_TURN = 0.0025  # CPU seconds of a turn: a call of the clock is nothing beside it, and few other processes come between
_TICKS = 20  # of the clock, which some systems move in steps of 16 ms
_UNDISTURBED = 0.1  # of the turns: so many are hardly slowed by what else runs on the machine
_DRAWS = 200  # of the bootstrap

Program = Callable[[], object]
Clock = Callable[[], float]
_Pairs = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CpuTimes:
    """Times of two programs.

    Attributes:
        ratio: the other's CPU time over the first one's.
        error: standard error of the ratio.
        first, other: CPU seconds of one call.
        pairs: turns that each had.
    """

    ratio: float
    error: float
    first: float
    other: float
    pairs: int

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the ratio."""
        return self.ratio - 1.96 * self.error, self.ratio + 1.96 * self.error


def cpu_times(
    first: Program,
    other: Program,
    *,
    longest: float = LONGEST,
    clock: Clock = time.process_time,
    tick: float | None = None,
) -> CpuTimes:
    """Time two programs in turns until the standard error of their ratio is 1 %, or the time is up.

    Who begins changes with each pair of turns. Whatever shares the caches and the core slows both, by different
    factors; so the time of a program is that which a tenth of its turns do not exceed. The standard error is that of a
    bootstrap over the pairs.

    Args:
        first: what the other is held against.
        other: what is timed.
        longest: CPU seconds after which no further pair is begun.
        clock: seconds of CPU that this process has taken.
        tick: its resolution, in seconds; asked of the system unless given.

    Example:
        >>> def work(size: int) -> Program:
        ...     return lambda: sum(range(size))
        >>> found = cpu_times(work(40_000), work(20_000))
        >>> 0.3 < found.ratio < 0.7, found.error < 0.1
        (True, True)
    """
    begun = clock()
    tick = time.get_clock_info("process_time").resolution if tick is None else tick
    warm = min(_turn(first, 1, clock) + _turn(other, 1, clock) for _ in range(2))
    calls = max(1, math.ceil(2 * max(_TURN, _TICKS * tick) / max(warm, 1e-7)))
    seconds: list[tuple[float, float]] = []
    look, known = FEWEST_PAIRS, math.inf
    while known >= AIM and not _over(seconds, clock() - begun, longest):
        if len(seconds) % 2:
            above = _turn(other, calls, clock)
            seconds.append((_turn(first, calls, clock), above))
        else:
            seconds.append((_turn(first, calls, clock), _turn(other, calls, clock)))
        if len(seconds) >= look:
            look, known = math.ceil(1.15 * look), _error(np.array(seconds))
    pairs = np.array(seconds)
    each = np.quantile(pairs, _UNDISTURBED, axis=0) / calls
    return CpuTimes(float(_ratio(pairs)), _error(pairs), float(each[0]), float(each[1]), len(seconds))


def _turn(program: Program, calls: int, clock: Clock) -> float:
    start = clock()
    for _ in range(calls):
        program()
    return clock() - start


def _over(seconds: Sequence[tuple[float, float]], spent: float, longest: float) -> bool:
    return len(seconds) >= MOST_PAIRS or (len(seconds) >= _FEWEST and spent >= longest)


def _ratio(pairs: _Pairs) -> Any:
    """Of pairs [..., n, 2]."""
    times = np.maximum(np.quantile(pairs, _UNDISTURBED, axis=-2), 1e-12)
    return times[..., 1] / times[..., 0]


def _error(pairs: _Pairs) -> float:
    drawn = np.random.default_rng(0).integers(0, len(pairs), (_DRAWS, len(pairs)))
    return float(np.std(_ratio(pairs[drawn]), ddof=1))
