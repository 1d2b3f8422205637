"""The plan of a factorization: which layers become two, and by which rank, complete before anything is solved."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from torch import nn

from pfa_gate.compress.factorize.layers import FactorableLayer, FactorableLayers
from pfa_gate.compress.factorize.low_rank import OutputDirections
from pfa_gate.compress.factorize.ranks import RankCurve, energy_rank, ranks_within
from pfa_gate.compress.factorize.split import sketched, split
from pfa_gate.compress.select import Evidence
from pfa_gate.compress.select.reconstruction import COLUMNS, grams
from pfa_gate.graph.calls import matrix_of
from pfa_gate.model.batch import Inputs

Lost = Mapping[str, npt.NDArray[np.float64]]
CheaperToCut = Callable[[FactorableLayer, int, float], bool]
"""Whether cutting filters of a layer saves as much as a rank does, and loses no more than this share."""


@dataclass(frozen=True)
class RankPlan:
    """Which layers become two, and by which rank.

    Attributes:
        ranks: layer -> how many values lie between its two layers, in forward order.
        whole: layer -> why it stays one, in forward order.
        energy: layer -> the share of its outputs' energy that its rank keeps.
    """

    ranks: Mapping[str, int]
    whole: Mapping[str, str] = field(default_factory=dict)
    energy: Mapping[str, float] = field(default_factory=dict)

    def without(self, faults: Mapping[str, str]) -> "RankPlan":
        """The same, some layers being one for a reason.

        Example:
            >>> RankPlan({"a": 2, "b": 3}, energy={"a": 0.9}).without({"a": "its proof fails"})
            RankPlan(ranks={'b': 3}, whole={'a': 'its proof fails'}, energy={})
        """
        ranks = {name: rank for name, rank in self.ranks.items() if name not in faults}
        return RankPlan(
            ranks, {**self.whole, **faults}, {name: self.energy[name] for name in ranks if name in self.energy}
        )


def provable(model: nn.Module, found: FactorableLayers, names: Iterable[str], inputs: Inputs) -> FactorableLayers:
    """Of some layers those that can be put in two and proved: tried with the largest ranks that save.

    Args:
        model: of the layers.
        found: all of its layers.
        names: those that are wanted.
        inputs: an example.
    """
    weights = dict(model.named_parameters(remove_duplicate=False))
    wanted = {name: found.layers[name] for name in names if name in found.layers}
    trial = {name: sketched(layer, weights[layer.call.weight], layer.most) for name, layer in wanted.items()}
    failed = split(model, trial, inputs).failed
    whole = {name: fault for name, fault in {**found.whole, **failed}.items() if name in {*names}}
    return FactorableLayers({name: layer for name, layer in wanted.items() if name not in failed}, whole)


def losses(evidence: Evidence, layers: Mapping[str, FactorableLayer]) -> Lost:
    """What each rank from 0 on loses of what a layer makes, as a share; from one pass over the probe.

    Args:
        evidence: the model whose layers they are, and the probe.
        layers: by name; one of more than 8,192 columns is left out.
    """
    narrow = {name: layer for name, layer in layers.items() if layer.columns <= COLUMNS}
    sums = grams(evidence, [layer.call for layer in narrow.values()])
    tensors = evidence.program.tensors
    return {
        name: OutputDirections.of(
            matrix_of(layer.call, tensors[layer.call.weight].double())[0],
            sums[layer.call.weight].gram[0].to(layer.importance.device),
            layer.importance,
        ).lost
        for name, layer in narrow.items()
        if layer.call.weight in sums
    }


def given_ranks(found: FactorableLayers, ranks: Mapping[str, int]) -> RankPlan:
    """A plan of ranks that somebody has chosen; one above that of a layer's matrix leaves it whole.

    Args:
        found: the layers.
        ranks: layer -> its rank.
    """
    over = {
        name: f"its matrix has a rank of {layer.rank:,} at most, and {ranks[name]:,} were asked for"
        for name, layer in found.layers.items()
        if ranks[name] > layer.rank
    }
    return RankPlan({name: ranks[name] for name in found.layers if name not in over}, {**found.whole, **over})


def by_energy(found: FactorableLayers, shares: Lost, energy: float) -> RankPlan:
    """The ranks that keep a share of the energy of each layer's outputs, where this saves.

    Args:
        found: the layers.
        shares: layer -> what each direction of its outputs carries, descending, their sum 1.
        energy: at least this share is kept.
    """
    ranks, whole, kept = dict[str, int](), dict(found.whole), dict[str, float]()
    for name, layer in found.layers.items():
        if name not in shares:
            whole[name] = "its outputs have no spectrum"
            continue
        rank = max(1, energy_rank(shares[name], energy))
        if rank > layer.most:
            whole[name] = (
                f"{100 * energy:g}% of its energy takes a rank of {rank:,}, and none above {layer.most:,} saves"
            )
        else:
            ranks[name], kept[name] = rank, float(np.sum(shares[name][:rank]))
    return RankPlan(ranks, whole, kept)


@dataclass(frozen=True)
class SizeGoal:
    """What a whole model may have.

    Attributes:
        measure: parameters, or macs.
        now: what it has.
        most: what it may have.
    """

    measure: str
    now: int
    most: int


def by_size(found: FactorableLayers, lost: Lost, goal: SizeGoal) -> RankPlan:
    """The ranks that lose least of all that meet a size.

    Args:
        found: the layers.
        lost: layer -> what each rank from 0 on loses, as a share.
        goal: of the whole model.

    Raises:
        TargetError: no ranks meet it.
    """
    if goal.now <= goal.most:
        return RankPlan({}, {**found.whole, **dict.fromkeys(found.layers, "the model meets the size without it")})
    unknown = {name: "what its ranks lose is not known" for name in found.layers if name not in lost}
    curves = {
        name: RankCurve(layer.size(goal.measure), layer.size(goal.measure, 1), lost[name][: layer.most + 1])
        for name, layer in found.layers.items()
        if name in lost
    }
    ranks = ranks_within(curves, goal.most, goal.now - sum(curve.size for curve in curves.values()), goal.measure)
    whole = {
        name: "a rank of it would lose more than that of others, and save as much"
        for name in curves
        if name not in ranks
    }
    energy = {name: 1 - float(lost[name][rank]) for name, rank in ranks.items()}
    return RankPlan(ranks, {**found.whole, **unknown, **whole}, energy)


def without_cheaper_cuts(
    found: FactorableLayers, lost: Lost, plan: Callable[[FactorableLayers], RankPlan], cheaper: CheaperToCut
) -> RankPlan:
    """A plan without those layers of which filters can be cut, at no more loss, to save as much.

    Args:
        found: the layers.
        lost: layer -> what each rank loses.
        plan: of some layers.
        cheaper: whether cutting a layer is.
    """
    while True:
        made = plan(found)
        cut = [
            name for name, rank in made.ranks.items()
            if name in lost and cheaper(found.layers[name], rank, float(lost[name][rank]))
        ]  # fmt: skip
        if not cut:
            return made
        layers = {name: layer for name, layer in found.layers.items() if name not in cut}
        reason = "cutting its filters loses no more and saves as much"
        found = FactorableLayers(layers, {**found.whole, **dict.fromkeys(cut, reason)})
