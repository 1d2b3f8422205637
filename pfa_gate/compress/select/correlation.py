"""Selection by correlation: the filters that are least correlated with each other stay (paper 3.2.1)."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from pfa_gate.analysis.covariance import Matrix
from pfa_gate.analysis.spectrum import Spectrum
from pfa_gate.compress.select.selection import Selection
from pfa_gate.errors import ConfigError
from pfa_gate.graph.group import Indices
from pfa_gate.recipe import Recipe

# Wide enough for rounding (copies of a filter stay tied after thousands of subtractions), and far
# too narrow for two filters of ordinary data.
_TIE = 1e-9


def select(recipe: Recipe, spectra: Mapping[str, Spectrum]) -> Selection:
    """The filters that a recipe keeps (paper 3.2.1).

    Args:
        recipe: how many filters each group keeps.
        spectra: group name -> spectrum, for at least the groups of the recipe.

    Returns:
        The selection, in the order of the recipe.

    Raises:
        ConfigError: a count outside [1, C].

    Example:
        >>> from pfa_gate.analysis.spectrum import analyse
        >>> select(Recipe("kl", None, {"stem": 1}), {"stem": analyse([[1, 2], [2, 4], [3, 6]])}).indices
        {'stem': array([1])}
    """
    return Selection({name: choose(spectra[name], count) for name, count in recipe.counts.items()})


def choose(spectrum: Spectrum, keep: int) -> Indices:
    """The filters to keep when `keep` of them may stay (paper 3.2.1).

    Args:
        spectrum: of C filters.
        keep: how many stay, 1 to C. Fewer filters kept are always a subset of more.

    Returns:
        int64 [keep], ascending indices.

    Raises:
        ConfigError: keep outside [1, C].

    Example:
        >>> from pfa_gate.analysis.spectrum import analyse
        >>> choose(analyse([[1, 1, 0], [2, 2, 1], [3, 3, 0], [4, 4, 1]]), 2).tolist()
        [1, 2]
    """
    if not 1 <= keep <= spectrum.filters:
        raise ConfigError(
            f"keep is {keep}; it must lie between 1 and the {spectrum.filters} filters.",
            remedy="Keep one filter at least, and no more than there are.",
        )
    return np.sort(removal_order(spectrum)[spectrum.filters - keep :])


def removal_order(spectrum: Spectrum) -> Indices:
    """All filters in the order in which they would be removed (paper 3.2.1).

    Inactive filters go first, in ascending order. Then, each time, the filter with the largest sum of
    correlations with the filters still there; a tie goes to the one with the highest single
    coefficient, then to the lowest index.

    Args:
        spectrum: of C filters.

    Returns:
        int64 [C], a permutation; the last one is the last to stay. O(C^2) without ties.

    Example:
        >>> from pfa_gate.analysis.spectrum import analyse
        >>> removal_order(analyse([[1, 1, 0], [2, 2, 0], [3, 3, 0], [4, 5, 0]])).tolist()
        [2, 0, 1]
    """
    pairs = spectrum.correlation.copy()
    np.fill_diagonal(pairs, 0.0)
    # Row sums are taken once; each removal subtracts one row.
    norms = pairs.sum(axis=1)
    norms[spectrum.inactive] = -np.inf
    neighbours = _Neighbours(pairs, ~spectrum.inactive)
    order = np.flatnonzero(spectrum.inactive).tolist()
    for _ in range(spectrum.active):
        tied = np.flatnonzero(norms >= norms.max() - _TIE)
        gone = int(tied[0]) if len(tied) == 1 else neighbours.closest(tied)
        neighbours.present[gone] = False
        norms -= pairs[gone]
        norms[gone] = -np.inf
        order.append(gone)
    return np.array(order, dtype=np.int64)


class _Neighbours:
    """Each filter's others by falling correlation, sorted on first need and read forwards only.

    A layer of copies ties at every step; a fresh maximum each time would make that O(C^3).
    """

    def __init__(self, pairs: Matrix, present: npt.NDArray[np.bool_]) -> None:
        self.present = present
        self._pairs = pairs
        self._others = np.empty(pairs.shape, dtype=np.int32)
        self._position = np.full(len(pairs), -1)

    def closest(self, tied: Indices) -> int:
        """Of these filters the one with the highest single coefficient; the first of several."""
        nearest = self._nearest(tied)
        highest = self._pairs[tied, nearest]
        return int(tied[np.flatnonzero(highest >= highest.max() - _TIE)[0]])

    def _nearest(self, tied: Indices) -> Indices:
        fresh = tied[self._position[tied] < 0]
        self._others[fresh] = np.argsort(-self._pairs[fresh], axis=1)
        self._position[fresh] = 0
        passed = tied
        while len(passed := passed[~self._usable(passed)]):
            self._position[passed] += 1
        return np.asarray(self._others[tied, self._position[tied]], dtype=np.int64)

    def _usable(self, rows: Indices) -> npt.NDArray[np.bool_]:
        others = self._others[rows, self._position[rows]]
        return np.asarray(self.present[others] & (others != rows))
