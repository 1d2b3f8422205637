"""Which rank each layer gets: from the energy of its outputs, or the ranks that lose least of all that meet a size."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pfa_gate.errors import TargetError

_WORDS = {"parameters": "parameters", "macs": "MACs"}
_HALVINGS = 100
_CHEAPEST, _DEAREST = 1e-30, 1e30  # of a parameter, in shares of a layer's outputs


@dataclass(frozen=True, eq=False)
class RankCurve:
    """What a layer costs and loses at each rank.

    Attributes:
        size: as one layer.
        step: for each rank.
        lost: float64 [ranks + 1], not ascending: what each rank from 0 on loses. It stays one where it has only one.
    """

    size: int
    step: int
    lost: npt.NDArray[np.float64]

    @property
    def most(self) -> int:
        """The largest rank on the curve."""
        return len(self.lost) - 1


def energy_rank(shares: npt.ArrayLike, energy: float) -> int:
    """The fewest directions that carry a share of the energy.

    Args:
        shares: what each carries, descending, their sum 1.
        energy: at least this share.

    Example:
        >>> energy_rank([0.7, 0.2, 0.1], 0.9), energy_rank([0.7, 0.2, 0.1], 0.91)
        (2, 3)
    """
    sums = np.cumsum(np.asarray(shares, np.float64))
    short = int(np.count_nonzero(sums < energy - 1e-9))
    return min(len(sums), 1 + short)


def ranks_within(
    curves: Mapping[str, RankCurve], most: int, rest: int = 0, measure: str = "parameters"
) -> dict[str, int]:
    """The ranks that lose least of all that meet a size; a layer without one stays as it is.

    A parameter has the same price in every layer: where one more rank gains more than its parameters cost, it is taken.
    What the price leaves of the size goes, rank by rank, to where it gains most.

    Args:
        curves: layer -> what it costs and loses.
        most: of all of them together with the rest of the model.
        rest: size of the rest.
        measure: what sizes are of.

    Raises:
        TargetError: not even rank 1 everywhere meets the size; says what the model has then.

    Example:
        >>> curves = {"a": RankCurve(100, 20, np.array([1, 0.1, 0])), "b": RankCurve(100, 20, np.array([1, 0.9, 0.8]))}
        >>> ranks_within(curves, 150)
        {'a': 2}
    """
    least = rest + sum(min(curve.size, curve.step) for curve in curves.values())
    if least > most:
        raise TargetError(
            f"factorize cannot reach {most:,} {_WORDS[measure]}: {least:,} are left at rank 1 everywhere.",
            remedy=f"Raise factorize.{measure}, name more layers under factorize.layers, or cut more by the recipe.",
        )
    most -= rest
    low, high = _CHEAPEST, _DEAREST
    for _ in range(_HALVINGS):
        price = (low * high) ** 0.5
        low, high = (low, price) if _size(curves, _at_price(curves, price)) <= most else (price, high)
    return _filled(curves, _at_price(curves, high), most)


def _at_price(curves: Mapping[str, RankCurve], price: float) -> dict[str, int]:
    chosen = {}
    for name, curve in curves.items():
        costs = curve.lost[1:] + price * curve.step * np.arange(1, curve.most + 1)
        if curve.most and costs.min() < price * curve.size:
            chosen[name] = int(costs.argmin()) + 1
    return chosen


def _filled(curves: Mapping[str, RankCurve], ranks: dict[str, int], most: int) -> dict[str, int]:
    left = most - _size(curves, ranks)
    while True:
        steps = [
            (curves[name].lost[rank] - curves[name].lost[rank + 1], name)
            for name, rank in ranks.items()
            if rank < curves[name].most and curves[name].step <= left
        ]
        if not steps:
            return ranks
        _, name = max(steps, key=lambda each: each[0] / curves[each[1]].step)
        ranks[name] += 1
        left -= curves[name].step


def _size(curves: Mapping[str, RankCurve], ranks: Mapping[str, int]) -> int:
    return sum(_sizes(curves, ranks))


def _sizes(curves: Mapping[str, RankCurve], ranks: Mapping[str, int]) -> Iterator[int]:
    for name, curve in curves.items():
        yield curve.step * ranks[name] if name in ranks else curve.size
