"""The statistics of a stream of responses: count, mean and scatter.

Blocks are centred on their own mean before anything is squared and then merged pairwise, so that a
large mean never swallows a small spread. Nothing here grows with the number of samples.
"""

from pfa_gate.analysis.covariance.jackknife import (
    JackknifeFolds,
    PartialFolds,
    accumulate,
    accumulate_parts,
    folds_for,
    merge_parts,
)
from pfa_gate.analysis.covariance.moments import Moments, covariance, merge, merge_all, merge_by_sums, subset, update
from pfa_gate.analysis.covariance.rows import Matrix, Responses, as_rows

__all__ = [
    "JackknifeFolds",
    "Matrix",
    "Moments",
    "PartialFolds",
    "Responses",
    "accumulate",
    "accumulate_parts",
    "as_rows",
    "covariance",
    "folds_for",
    "merge",
    "merge_all",
    "merge_by_sums",
    "merge_parts",
    "subset",
    "update",
]
