"""What is remembered of a stream of responses: count, mean and scatter.

Blocks are centred on their own mean before anything is squared and then merged pairwise, so that a
large mean never swallows a small spread. Nothing here grows with the number of samples.

PYTEST_DONT_REWRITE
"""

from pfa_gate.analysis.covariance.across_ranks import merge_by_sums
from pfa_gate.analysis.covariance.folds import Dealt, accumulate_dealt, merge_shards
from pfa_gate.analysis.covariance.jackknife import Shards, accumulate, shards_of
from pfa_gate.analysis.covariance.moments import Moments, covariance, merge, merge_all, subset, update
from pfa_gate.analysis.covariance.rows import Matrix, Responses, as_rows

__all__ = [
    "Dealt",
    "Matrix",
    "Moments",
    "Responses",
    "Shards",
    "accumulate",
    "accumulate_dealt",
    "as_rows",
    "covariance",
    "merge",
    "merge_all",
    "merge_by_sums",
    "merge_shards",
    "shards_of",
    "subset",
    "update",
]
