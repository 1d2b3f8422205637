"""Low rank: a layer becomes two, its ranks planned before, its weights in closed form, and the split proved."""

from pfa_gate.compress.factorize.layers import FactorableLayer, FactorableLayers, factorable
from pfa_gate.compress.factorize.low_rank import Factors, OutputDirections
from pfa_gate.compress.factorize.plan import RankPlan
from pfa_gate.compress.factorize.ranks import RankCurve, energy_rank, ranks_within
from pfa_gate.compress.factorize.split import LowRank, SplitModel, split
from pfa_gate.compress.factorize.two_layers import WeightPair, with_two_layers

__all__ = [
    "FactorableLayer",
    "FactorableLayers",
    "Factors",
    "LowRank",
    "OutputDirections",
    "RankCurve",
    "RankPlan",
    "SplitModel",
    "WeightPair",
    "energy_rank",
    "factorable",
    "ranks_within",
    "split",
    "with_two_layers",
]
