"""Moments of a stream, kept in eight parts for a jackknife.

PYTEST_DONT_REWRITE
"""

from collections.abc import Collection, Iterable, Mapping

import numpy as np

from pfa_gate.covariance.moments import Moments, merge, of_rows
from pfa_gate.covariance.rows import Responses, as_rows
from pfa_gate.errors import DataError, PFAGateError

SHARDS = 8


class Shards:
    """Deals samples to 8 shards and keeps the moments of each, for a jackknife over shards.

    Sample i of the stream goes to shard i modulo 8. Rows wait in a block of fixed size, so the
    moments do not depend on how the stream was cut into batches, to the last bit. Memory is about
    10 C^2 numbers (at least 8 C^2 + 1024 C), however many samples come.

    Args:
        filters: C.
        shards: how many; 1 where no jackknife is wanted, at an eighth of the memory.

    Example:
        >>> shards = Shards(2)
        >>> shards.add(np.ones((20, 2)))
        >>> [shard.count for shard in shards.moments()]
        [3, 3, 3, 3, 2, 2, 2, 2]
    """

    def __init__(self, filters: int, shards: int = SHARDS) -> None:
        self._moments = (Moments.empty(filters),) * shards
        # A merge costs C^2; over C / 4 rows it vanishes beside the product it follows.
        self._block = np.empty((shards * max(128, filters // 4), filters))
        self._waiting = 0

    def add(self, responses: Responses) -> None:
        """Take the next samples of the stream, [n, C], any real dtype.

        Raises:
            DataError: not a matrix of real numbers, or of another number of filters.
            NotFiniteError: NaN or infinity; names the filters.

        Example:
            >>> Shards(1).add([[True], [False]])
        """
        rows = as_rows(responses)
        if rows.shape[1] != self._block.shape[1]:
            raise DataError(
                f"A batch has {rows.shape[1]} filters; the batches before it had {self._block.shape[1]}.",
                remedy="Give every batch of a layer the same number of filters.",
            )
        while len(rows):
            taken = min(len(rows), len(self._block) - self._waiting)
            self._block[self._waiting : self._waiting + taken] = rows[:taken]
            self._waiting += taken
            rows = rows[taken:]
            if self._waiting == len(self._block):
                self._moments, self._waiting = self.moments(), 0

    def moments(self) -> tuple[Moments, ...]:
        """Moments of each of the 8 shards so far; reading them changes nothing.

        Example:
            >>> len(Shards(1).moments())
            8
        """
        waiting = self._block[: self._waiting]
        return tuple(merge(m, of_rows(waiting[i :: len(self._moments)])) for i, m in enumerate(self._moments))


def accumulate(
    stream: Iterable[Mapping[str, Responses]], layers: Mapping[str, str], whole: Collection[str] = ()
) -> dict[str, tuple[Moments, ...]]:
    """Sum up a stream of responses, for each place they are read at.

    Args:
        stream: for each batch, place -> responses [n, C].
        layers: place -> the name by which people know it, for errors.
        whole: places of which no jackknife is wanted: they are kept in one shard.

    Returns:
        Place -> the moments of its shards.

    Raises:
        NotFiniteError: NaN or infinity; the error names the layer.
        DataError: responses that are no matrix, or of changing width.

    Example:
        >>> accumulate([{"conv": [[1.0], [2.0]]}], {})["conv"][0].count
        1
    """
    shards: dict[str, Shards] = {}
    for batch in stream:
        for place, responses in batch.items():
            try:
                rows = as_rows(responses)
                if place not in shards:
                    shards[place] = Shards(rows.shape[1], 1 if place in whole else SHARDS)
                shards[place].add(rows)
            except PFAGateError as error:
                raise error.at(f"layer '{layers.get(place, place)}'") from error.__cause__
    return {place: each.moments() for place, each in shards.items()}
