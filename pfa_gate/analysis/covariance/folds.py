"""The same shards from a part of the stream, so that parts taken apart can be put together again.

PYTEST_DONT_REWRITE
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from pfa_gate.analysis.covariance.jackknife import FOLDS, JackknifeFolds, folds_for
from pfa_gate.analysis.covariance.moments import Moments, merge
from pfa_gate.analysis.covariance.rows import Responses, as_samples
from pfa_gate.errors import DataError, PFAGateError


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
