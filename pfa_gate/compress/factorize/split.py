"""Layers of low rank become two layers each, proved equal to the model whose weights are the products of these."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pfa_gate.compress.factorize.layers import FactorableLayer
from pfa_gate.compress.factorize.low_rank import Factors, OutputDirections
from pfa_gate.compress.factorize.two_layers import WeightPair, replaced
from pfa_gate.compress.prune import Proof
from pfa_gate.compress.prune.proof import CHEAP_PARAMETERS, compare
from pfa_gate.compress.prune.prune_model import provable_parts
from pfa_gate.compress.regress import Sums
from pfa_gate.errors import PFAGateError, SurgeryError
from pfa_gate.graph import record_model
from pfa_gate.graph.calls import Call, matrix_of
from pfa_gate.model.batch import Inputs
from pfa_gate.model.device import copied_at


class LowRank:
    """The constraint on layers that are solved: weights of so low a rank. It keeps the factors of each.

    Args:
        ranks: layer -> its rank.
        layers: what is known of each of them.
    """

    def __init__(self, ranks: Mapping[str, int], layers: Mapping[str, FactorableLayer]) -> None:
        self._ranks, self._layers = ranks, layers
        self.factors: dict[str, Factors] = {}
        self.lost: dict[str, float] = {}

    def wants(self, layer: str) -> bool:
        """Whether a layer is to be of low rank."""
        return layer in self._ranks

    def constrained(self, call: Call, weights: Tensor, sums: Sums) -> Tensor:
        """The weights of its rank that lose least, [1, D, O]."""
        layer, rank = call.layer, self._ranks[call.layer]
        found = OutputDirections.of(weights[0], sums.gram[0], self._layers[layer].importance)
        self.factors[layer], self.lost[layer] = found.factors(rank), float(found.lost[rank])
        return self.factors[layer].product[None]


@dataclass(frozen=True)
class SplitModel:
    """A model some of whose layers are two.

    Attributes:
        model: in eval mode.
        pairs: layer -> its two weights.
        proof: that it equals the model with the products; None where no layer is two.
        failed: layer -> why it could not be proved; these are one as before.
    """

    model: nn.Module
    pairs: Mapping[str, WeightPair]
    proof: Proof | None
    failed: Mapping[str, str]


def split(model: nn.Module, pairs: Mapping[str, WeightPair], inputs: Inputs) -> SplitModel:
    """Put two layers in the place of each of some, and prove it; those that cannot be proved stay one.

    Args:
        model: in its own class, or as its program; it is not changed.
        pairs: layer -> its two weights, whose product stands for the layer's own weight.
        inputs: an example.

    Example:
        >>> net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
        >>> from pfa_gate.graph.calls import calls
        >>> call, _ = calls(record_model(net, (torch.zeros(2, 8),), {}))
        >>> pair = WeightPair.of(call, Factors(torch.ones(8, 1), torch.ones(1, 8)), net[0].weight)
        >>> found = split(net, {"0": pair}, ((torch.randn(4, 8),), {}))
        >>> found.proof.passed, len(found.model[0])
        (True, 2)
    """
    trial = _SplitTrial(model, pairs, inputs, exact=not pairs or not record_model(model, *inputs).single_precision)
    names, failed = provable_parts(trial.attempt, list(pairs))
    if not names:
        return SplitModel(model, {}, None, failed)
    found = trial.attempt(names)
    if isinstance(found, str):
        raise SurgeryError(f"Layers that can be factorized cannot be together: {found}.")
    return SplitModel(found[0], {name: pairs[name] for name in names}, found[1], failed)


def sketched(layer: FactorableLayer, weight: Tensor, rank: int) -> WeightPair:
    """Two weights of a rank, near no solution: to try whether a layer can become two, before it is solved."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(layer.filters, rank, dtype=torch.float64, generator=generator)
    basis = torch.linalg.qr(drawn).Q.to(weight.device)
    return WeightPair.of(layer.call, Factors(matrix_of(layer.call, weight.double())[0] @ basis, basis.T), weight)


@dataclass(frozen=True)
class _SplitTrial:
    model: nn.Module
    pairs: Mapping[str, WeightPair]
    inputs: Inputs
    exact: bool
    done: dict[tuple[str, ...], "tuple[nn.Module, Proof] | str"] = field(default_factory=dict)

    def attempt(self, names: Sequence[str]) -> "tuple[nn.Module, Proof] | str":
        """The model with these layers split, and its proof; or why there is none."""
        key = tuple(names)
        if key not in self.done:
            try:
                self.done[key] = self._attempt({name: self.pairs[name] for name in names})
            except PFAGateError as error:  # it cannot be put in two, or does not run
                self.done[key] = error.fact.removesuffix(".")
        return self.done[key]

    def _attempt(self, pairs: Mapping[str, WeightPair]) -> "tuple[nn.Module, Proof] | str":
        smaller = replaced(self.model, pairs)
        proof = prove_split(self.model, smaller, pairs, self.inputs, exact=self.exact)
        if not proof.passed:
            return f"off by {proof.max_error:.1e} (allowed {proof.tolerance:.0e})"
        return smaller, proof


def prove_split(
    model: nn.Module, smaller: nn.Module, pairs: Mapping[str, WeightPair], inputs: Inputs, *, exact: bool = True
) -> Proof:
    """Compare a model of two layers each with the same whose weights are the products, on an example and at random.

    Args:
        model: with the layers as one; the weights of these do not matter.
        smaller: with the layers as two.
        pairs: layer -> its two weights.
        inputs: an example.
        exact: whether the model computes in float64 where its tensors are so.

    Raises:
        SurgeryError: one of them does not run.
    """
    weights = dict(model.named_parameters(remove_duplicate=False))
    products = {id(weights[pair.call.weight]): pair.product for pair in pairs.values()}
    parameters = sum(parameter.numel() for parameter in model.parameters())
    fault = SurgeryError("No precision was tried.")
    for dtype in (torch.float64, torch.float32)[not (exact and parameters <= CHEAP_PARAMETERS) :]:
        try:
            return compare(smaller, copied_at(model, dtype, products), inputs, dtype)
        except SurgeryError as error:  # it may not run in double precision
            fault = error
    raise fault
