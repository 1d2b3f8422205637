"""Moments of a stream in eight folds, for a jackknife: of the whole stream, or of parts that are merged afterwards."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy.linalg.blas import dsyrk

from pfa_gate.analysis.covariance.moments import Moments, merge
from pfa_gate.analysis.covariance.on_device import DeviceFolds, device_tensor
from pfa_gate.analysis.covariance.rows import Matrix, Responses, as_samples
from pfa_gate.errors import DataError, PFAGateError

FOLDS = 8
WIDEST = 4096  # eight matrices of this many filters take a gigabyte
_ROWS = 128


def folds_for(filters: int, *, whole: bool = False) -> int:
    """In how many shards moments are kept: 8, and 1 where no jackknife is wanted or 8 would take gigabytes.

    Args:
        filters: C.
        whole: no jackknife is wanted.

    Example:
        >>> folds_for(512), folds_for(512, whole=True), folds_for(8192)
        (8, 1, 1)
    """
    return 1 if whole or filters > WIDEST else FOLDS


class JackknifeFolds:
    """Deals samples to 8 shards and keeps the moments of each, for a jackknife over shards.

    Sample i of the stream goes to shard i modulo 8, with all its responses: those of one sample are alike, and a
    jackknife that parted them would take them for independent. Samples wait in a block of fixed size, so the
    moments do not depend on how the stream was cut into batches, to the last bit. Memory is
    8 C^2 + 1032 C numbers, however many samples come.

    Args:
        filters: C.
        shards: how many; 1 where no jackknife is wanted, at an eighth of the memory.

    Example:
        >>> shards = JackknifeFolds(2)
        >>> shards.add(np.ones((20, 2)))
        >>> [shard.count for shard in shards.moments()]
        [3, 3, 3, 3, 2, 2, 2, 2]
    """

    def __init__(self, filters: int, shards: int = FOLDS) -> None:
        self._filters = filters
        self._sums = tuple(_Sum(filters) for _ in range(shards))
        self._waiting, self._next = 0, 0
        self._make_room(1)

    def add(self, responses: Responses) -> None:
        """Take the next samples of the stream, [n, C] or [n, m, C], m responses of each sample; any real dtype.

        Raises:
            DataError: not real numbers, of another shape, or of another number of filters.
            NotFiniteError: NaN or infinity; names the filters.

        Example:
            >>> JackknifeFolds(1).add([[True], [False]])
        """
        samples = as_samples(responses)  # of float64 once they are in the block
        if samples.shape[2] != self._filters:
            raise DataError(
                f"A batch has {samples.shape[2]} filters; the batches before it had {self._filters}.",
                remedy="Give every batch of a layer the same number of filters.",
            )
        if samples.shape[1] != self._each and samples.size:
            self._pass_on()
            self._make_room(samples.shape[1])
        while samples.size:
            taken = min(len(samples), self._room - self._waiting)
            self._deal(samples[:taken])
            samples = samples[taken:]
            if self._waiting == self._room:
                self._pass_on()

    def moments(self) -> tuple[Moments, ...]:
        """Moments of each of the 8 shards so far; they stay as they are when more samples come.

        Example:
            >>> len(JackknifeFolds(1).moments())
            8
        """
        self._pass_on()
        return tuple(each.moments() for each in self._sums)

    def _make_room(self, each: int) -> None:
        """For samples of so many responses: those of each shard wait side by side, with room for one row more."""
        number, held = len(self._sums), max(1, _ROWS // each)
        self._each, self._room = each, number * held
        self._block = np.empty((number, held * each + 1, self._filters))

    def _deal(self, samples: npt.NDArray[np.generic]) -> None:
        number, each = len(self._sums), self._each
        for first in range(min(number, len(samples))):
            place, mine = self._waiting + first, samples[first::number]
            start, rows = place // number * each, len(mine) * each
            self._block[(self._next + place) % number, start : start + rows] = mine.reshape(rows, -1)
        self._waiting += len(samples)

    def _pass_on(self) -> None:
        number = len(self._sums)
        # Overflow is reported once, by `covariance`.
        with np.errstate(over="ignore", invalid="ignore"):
            for first in range(min(number, self._waiting)):
                lane, rows = (self._next + first) % number, len(range(first, self._waiting, number)) * self._each
                self._sums[lane].add(self._block[lane, : rows + 1])
        self._next, self._waiting = (self._next + self._waiting) % number, 0


class _Sum:
    """Moments of one shard, summed up in place; while rows come, only the lower triangle of the scatter is kept up."""

    def __init__(self, filters: int) -> None:
        self._count, self._mean = 0, np.zeros(filters)
        self._scatter, self._lent = np.zeros((filters, filters), order="F"), False

    def add(self, block: Matrix) -> None:
        """Take finite rows [n, C]: `block`, float64 [n + 1, C], has room for one more behind them, and is spent."""
        rows, more = block[:-1], block[-1]
        if self._lent:
            self._scatter, self._lent = self._scatter.copy(order="F"), False
        count = self._count + len(rows)
        mean = np.add.reduce(rows) / len(rows)
        step = mean - self._mean
        # The step between old and new mean is one row more (Chan, Golub and LeVeque 1979): all is one product.
        rows -= mean
        np.multiply(step, sqrt(self._count * len(rows) / count), out=more)
        self._mean = self._mean + step * (len(rows) / count)
        self._count = count
        self._scatter = dsyrk(1.0, block.T, beta=1.0, c=self._scatter, lower=1, overwrite_c=1)

    def moments(self) -> Moments:
        """All so far, without a copy: who adds more, adds to a copy."""
        _mirror(self._scatter)
        self._lent = True
        return Moments(self._count, self._mean, self._scatter.T)


def _mirror(lower: Matrix, step: int = 128) -> None:
    """Copy the lower triangle of a matrix onto the upper one, block by block."""
    above = np.triu(np.ones((step, step), bool), 1)
    for start in range(0, len(lower), step):
        stop = start + step
        corner = lower[start:stop, start:stop]
        np.copyto(corner, corner.T, where=above[: len(corner), : len(corner)])
        lower[start:stop, stop:] = lower[stop:, start:stop].T


def accumulate(
    stream: Iterable[Mapping[str, Responses]], layers: Mapping[str, str], whole: Collection[str] = ()
) -> dict[str, tuple[Moments, ...]]:
    """Sum up a stream of responses, for each place they are read at.

    Args:
        stream: for each batch, place -> responses [n, C], or [n, m, C] with m of each sample.
        layers: place -> the name by which people know it, for errors.
        whole: places of which no jackknife is wanted: they are kept in one shard, as those above 4,096 filters are.

    Returns:
        Place -> the moments of its shards.

    Raises:
        NotFiniteError: NaN or infinity; the error names the layer.
        DataError: responses that are no matrix, or of changing width.

    Example:
        >>> accumulate([{"conv": [[1.0], [2.0]]}], {})["conv"][0].count
        1
    """
    shards: dict[str, JackknifeFolds | DeviceFolds] = {}
    for batch in stream:
        for place, responses in batch.items():
            try:
                if place not in shards:
                    shards[place] = _shards(responses, whole=place in whole)
                shards[place].add(responses)
            except PFAGateError as error:
                raise error.at(f"layer '{layers.get(place, place)}'") from error.__cause__
    return {place: each.moments() for place, each in shards.items()}


def _shards(responses: Responses, *, whole: bool) -> "JackknifeFolds | DeviceFolds":
    far = device_tensor(responses)
    if far is not None and far.ndim in (2, 3):
        return DeviceFolds(far.shape[-1], folds_for(far.shape[-1], whole=whole), far.device)
    filters = as_samples(responses).shape[2]
    return JackknifeFolds(filters, folds_for(filters, whole=whole))


class PartialFolds:
    """As `JackknifeFolds`, of a stream with gaps: each batch says which sample of the whole stream its first one is.

    Sample i of the whole stream goes to shard i modulo 8, so parts of a stream add up to the shards of all of it.

    Args:
        filters: C.
        shards: how many; 1 where no jackknife is wanted.

    Example:
        >>> dealt = PartialFolds(1)
        >>> dealt.add([[1.0], [2.0], [3.0]], start=14)
        >>> [shard.count for shard in dealt.moments()]
        [1, 0, 0, 0, 0, 0, 1, 1]
    """

    def __init__(self, filters: int, shards: int = FOLDS) -> None:
        self._each = tuple(JackknifeFolds(filters, 1) for _ in range(shards))

    def add(self, responses: Responses, start: int) -> None:
        """Take samples [n, C] or [n, m, C], the first of which is sample `start` of the whole stream.

        Raises:
            DataError: not real numbers, of another shape, or of another number of filters.
            NotFiniteError: NaN or infinity; names the filters.
        """
        samples = as_samples(responses)
        for number, shard in enumerate(self._each):
            shard.add(samples[(number - start) % len(self._each) :: len(self._each)])

    def moments(self) -> tuple[Moments, ...]:
        """Moments of each shard so far; reading them changes nothing."""
        return tuple(shard.moments()[0] for shard in self._each)


def accumulate_parts(
    stream: Iterable[tuple[Mapping[str, Responses], Mapping[str, int]]],
    layers: Mapping[str, str],
    whole: Collection[str] = (),
) -> dict[str, tuple[Moments, ...]]:
    """As `accumulate`, of a stream with gaps.

    Args:
        stream: for each batch, place -> responses [n, C] or [n, m, C], and place -> the sample of the whole stream
            it starts at.
        layers: place -> the name by which people know it, for errors.
        whole: places of which no jackknife is wanted.

    Raises:
        NotFiniteError: NaN or infinity; the error names the layer.
        DataError: responses that are no matrix, or of changing width.

    Example:
        >>> [shard.count for shard in accumulate_parts([({"conv": [[1.0]]}, {"conv": 2})], {})["conv"]]
        [0, 0, 1, 0, 0, 0, 0, 0]
    """
    dealt: dict[str, PartialFolds] = {}
    for batch, starts in stream:
        for place, responses in batch.items():
            try:
                samples = as_samples(responses)
                if place not in dealt:
                    dealt[place] = PartialFolds(samples.shape[2], folds_for(samples.shape[2], whole=place in whole))
                dealt[place].add(samples, starts[place])
            except PFAGateError as error:
                raise error.at(f"layer '{layers.get(place, place)}'") from error.__cause__
    return {place: each.moments() for place, each in dealt.items()}


def merge_parts(parts: Sequence[Mapping[str, tuple[Moments, ...]]]) -> dict[str, tuple[Moments, ...]]:
    """Put the parts of one stream together, shard by shard.

    Args:
        parts: at least one; place -> the moments of its shards.

    Raises:
        DataError: the parts differ in their places, or in the shards or filters of one.

    Example:
        >>> parts = [accumulate_parts([({"conv": [[i]]}, {"conv": i})], {}) for i in range(8)]
        >>> [shard.mean.tolist() for shard in merge_parts(parts)["conv"]][:3]
        [[0.0], [1.0], [2.0]]
    """
    first, *others = parts
    together = dict(first)
    for other in others:
        if other.keys() != together.keys():
            raise DataError("The parts were not read at the same places.", remedy="Collect them with one model.")
        for place, shards in other.items():
            if len(shards) != len(together[place]):
                raise DataError(f"The parts hold '{place}' in {len(together[place])} and {len(shards)} shards.")
            together[place] = tuple(merge(one, two) for one, two in zip(together[place], shards, strict=True))
    return together
