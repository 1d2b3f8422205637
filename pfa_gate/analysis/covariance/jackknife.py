"""Moments of a stream in eight folds, for a jackknife: of the whole stream, or of parts that are merged afterwards."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pfa_gate.analysis.covariance.moments import Moments, merge
from pfa_gate.analysis.covariance.on_device import DeviceFolds, device_tensor
from pfa_gate.analysis.covariance.products import NARROW
from pfa_gate.analysis.covariance.rows import Responses, all_finite, as_samples, refuse_not_finite
from pfa_gate.analysis.covariance.sums import FoldSums
from pfa_gate.errors import DataError, PFAGateError

FOLDS = 8
WIDEST = 4096  # eight matrices of this many filters take a gigabyte


def folds_for(filters: int, *, single: bool = False) -> int:
    """In how many folds moments are kept: 8, and 1 where no jackknife is wanted or 8 would take gigabytes.

    Args:
        filters: C.
        single: no jackknife is wanted.

    Example:
        >>> folds_for(512), folds_for(512, single=True), folds_for(8192)
        (8, 1, 1)
    """
    return 1 if single or filters > WIDEST else FOLDS


class JackknifeFolds:
    """Distributes samples over 8 folds and keeps the moments of each, for a jackknife over folds.

    Sample i of the stream goes to fold i modulo 8, with all its responses: those of one sample are alike, and a
    jackknife that parted them would take them for independent. They are summed up in blocks of a fixed size, for which
    small batches wait, so the moments do not depend on how the stream was cut into batches, to the last bit. Memory is
    8 C^2 numbers and the block's, 1024 C (3072 C up to 128 filters, 2 C^2 above 512), however many samples come.

    Args:
        filters: C.
        folds: how many; 1 where no jackknife is wanted, at an eighth of the memory.

    Example:
        >>> folds = JackknifeFolds(2)
        >>> folds.add(np.ones((20, 2)))
        >>> [fold.count for fold in folds.moments()]
        [3, 3, 3, 3, 2, 2, 2, 2]
    """

    def __init__(self, filters: int, folds: int = FOLDS) -> None:
        self._filters = filters
        # One piece of memory, of which an operating system makes large pages.
        self._sums = tuple(FoldSums(scatter) for scatter in np.zeros((folds, filters, filters)))
        self._waiting, self._next = 0, 0
        self._resize(1)

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
        if samples.shape[1] != self._block.shape[1] and samples.size:
            self._pass_on(self._block[: self._waiting])
            self._resize(samples.shape[1])
        start, size = 0, len(self._block)
        while start < len(samples) and samples.size:
            part = samples[start : start + size - self._waiting]
            start += len(part)
            # Sums are finite only if all rows are; those that wait for theirs are looked at themselves.
            if not (self._pass_on(part) if len(part) == size else self._wait(part)):
                refuse_not_finite(samples)

    def moments(self) -> tuple[Moments, ...]:
        """Moments of each of the 8 folds so far; they stay as they are when more samples come.

        Example:
            >>> len(JackknifeFolds(1).moments())
            8
        """
        self._pass_on(self._block[: self._waiting])
        with np.errstate(over="ignore", invalid="ignore"):
            return tuple(fold.moments() for fold in self._sums)

    def _resize(self, per_sample: int) -> None:
        """Make a block for samples of so many responses, [samples, m, C]."""
        rows = max(384 if self._filters <= NARROW else 128, self._filters // 4)
        samples = max(1, rows // per_sample)
        self._block = np.empty((len(self._sums) * samples, per_sample, self._filters))
        self._room = np.empty((samples * per_sample, self._filters))

    def _wait(self, samples: npt.NDArray[np.generic]) -> bool:
        """Hold samples until a block is full; whether they are finite."""
        stop = self._waiting + len(samples)
        self._block[self._waiting : stop] = samples
        self._waiting = stop
        finite = all_finite(samples)
        if stop == len(self._block):
            self._pass_on(self._block)
        return finite

    def _pass_on(self, samples: npt.NDArray[np.generic]) -> bool:
        """Sum up the samples of a block; whether the sums are finite."""
        number, finite = len(self._sums), True
        # Overflow is reported once, by `covariance`.
        with np.errstate(over="ignore", invalid="ignore"):
            for first in range(min(number, len(samples))):
                own = samples[first::number].reshape(-1, self._filters)
                finite &= self._sums[(self._next + first) % number].add(own, self._room)
        self._next, self._waiting = (self._next + len(samples)) % number, 0
        return finite


def accumulate(
    stream: Iterable[Mapping[str, Responses]], layers: Mapping[str, str], single: Collection[str] = ()
) -> dict[str, tuple[Moments, ...]]:
    """Sum up a stream of responses, for each tap they are read at.

    Args:
        stream: for each batch, tap -> responses [n, C], or [n, m, C] with m of each sample.
        layers: tap -> the name by which people know it, for errors.
        single: taps of which no jackknife is wanted: they are kept in one fold, as those above 4,096 filters are.

    Returns:
        Tap -> the moments of its folds.

    Raises:
        NotFiniteError: NaN or infinity; the error names the layer.
        DataError: responses that are no matrix, or of changing width.

    Example:
        >>> accumulate([{"conv": [[1.0], [2.0]]}], {})["conv"][0].count
        1
    """
    folds: dict[str, JackknifeFolds | DeviceFolds] = {}
    for batch in stream:
        for tap, responses in batch.items():
            try:
                if tap not in folds:
                    folds[tap] = _folds_of(responses, single=tap in single)
                folds[tap].add(responses)
            except PFAGateError as error:
                raise error.at(f"layer '{layers.get(tap, tap)}'") from error.__cause__
    return {tap: fold.moments() for tap, fold in folds.items()}


def _folds_of(responses: Responses, *, single: bool) -> "JackknifeFolds | DeviceFolds":
    tensor = device_tensor(responses)
    if tensor is not None and tensor.ndim in (2, 3):
        return DeviceFolds(tensor.shape[-1], folds_for(tensor.shape[-1], single=single), tensor.device)
    filters = as_samples(responses).shape[2]
    return JackknifeFolds(filters, folds_for(filters, single=single))


class PartialFolds:
    """As `JackknifeFolds`, of a stream with gaps: each batch says which sample of the whole stream its first one is.

    Sample i of the whole stream goes to fold i modulo 8, so parts of a stream add up to the folds of all of it.

    Args:
        filters: C.
        folds: how many; 1 where no jackknife is wanted.

    Example:
        >>> part = PartialFolds(1)
        >>> part.add([[1.0], [2.0], [3.0]], start=14)
        >>> [fold.count for fold in part.moments()]
        [1, 0, 0, 0, 0, 0, 1, 1]
    """

    def __init__(self, filters: int, folds: int = FOLDS) -> None:
        self._folds = tuple(JackknifeFolds(filters, 1) for _ in range(folds))

    def add(self, responses: Responses, start: int) -> None:
        """Take samples [n, C] or [n, m, C], the first of which is sample `start` of the whole stream.

        Raises:
            DataError: not real numbers, of another shape, or of another number of filters.
            NotFiniteError: NaN or infinity; names the filters.
        """
        samples = as_samples(responses)
        for number, fold in enumerate(self._folds):
            fold.add(samples[(number - start) % len(self._folds) :: len(self._folds)])

    def moments(self) -> tuple[Moments, ...]:
        """Moments of each fold so far; reading them changes nothing."""
        return tuple(fold.moments()[0] for fold in self._folds)


def accumulate_parts(
    stream: Iterable[tuple[Mapping[str, Responses], Mapping[str, int]]],
    layers: Mapping[str, str],
    single: Collection[str] = (),
) -> dict[str, tuple[Moments, ...]]:
    """As `accumulate`, of a stream with gaps.

    Args:
        stream: for each batch, tap -> responses [n, C] or [n, m, C], and tap -> the sample of the whole stream
            it starts at.
        layers: tap -> the name by which people know it, for errors.
        single: taps of which no jackknife is wanted.

    Raises:
        NotFiniteError: NaN or infinity; the error names the layer.
        DataError: responses that are no matrix, or of changing width.

    Example:
        >>> [fold.count for fold in accumulate_parts([({"conv": [[1.0]]}, {"conv": 2})], {})["conv"]]
        [0, 0, 1, 0, 0, 0, 0, 0]
    """
    folds: dict[str, PartialFolds] = {}
    for batch, starts in stream:
        for tap, responses in batch.items():
            try:
                samples = as_samples(responses)
                if tap not in folds:
                    folds[tap] = PartialFolds(samples.shape[2], folds_for(samples.shape[2], single=tap in single))
                folds[tap].add(samples, starts[tap])
            except PFAGateError as error:
                raise error.at(f"layer '{layers.get(tap, tap)}'") from error.__cause__
    return {tap: fold.moments() for tap, fold in folds.items()}


def merge_parts(parts: Sequence[Mapping[str, tuple[Moments, ...]]]) -> dict[str, tuple[Moments, ...]]:
    """Put the parts of one stream together, fold by fold.

    Args:
        parts: at least one; tap -> the moments of its folds.

    Raises:
        DataError: the parts differ in their taps, or in the folds or filters of one.

    Example:
        >>> parts = [accumulate_parts([({"conv": [[i]]}, {"conv": i})], {}) for i in range(8)]
        >>> [fold.mean.tolist() for fold in merge_parts(parts)["conv"]][:3]
        [[0.0], [1.0], [2.0]]
    """
    first, *others = parts
    together = dict(first)
    for other in others:
        if other.keys() != together.keys():
            raise DataError("The parts were not read at the same places.", remedy="Collect them with one model.")
        for tap, folds in other.items():
            if len(folds) != len(together[tap]):
                raise DataError(f"The parts hold '{tap}' in {len(together[tap])} and {len(folds)} folds.")
            together[tap] = tuple(merge(one, two) for one, two in zip(together[tap], folds, strict=True))
    return together
