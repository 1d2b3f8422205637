"""Layers solved under a constraint: it is met in the model, its error is the least, and what follows makes good."""

from dataclasses import dataclass

import pytest
import torch
from networks import NETWORKS, network
from torch import Tensor, nn

from pfa_gate.compress.recover import CompensateSettings, compensate
from pfa_gate.compress.regress import Sums
from pfa_gate.graph import Program, record_model
from pfa_gate.graph.calls import Call, calls, matrix_of


@dataclass(frozen=True)
class EveryOther:
    """Of each filter every other column is zero; the others are solved anew, or left."""

    solved: bool = True
    layers: tuple[str, ...] | None = None

    def wants(self, layer: str) -> bool:
        return self.layers is None or layer in self.layers

    def constrained(self, call: Call, weights: Tensor, sums: Sums) -> Tensor:
        found = torch.zeros_like(weights)
        found[:, ::2] = weights[:, ::2]
        if self.solved:
            rest = sums.gram[:, ::2] @ (weights - found)
            ridge = 1e-9 * sums.gram[:, ::2, ::2].diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
            eye = torch.eye(rest.shape[1], dtype=torch.float64)
            found[:, ::2] += torch.linalg.solve(sums.gram[:, ::2, ::2] + ridge * eye, rest)
        return found


def probe(example: Tensor, samples: int = 64, seed: int = 2) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(samples, *example.shape[1:], generator=generator) for _ in range(3)]


def distance(one: nn.Module, other: nn.Module, batch: Tensor) -> float:
    with torch.no_grad():
        return float((one(batch) - other(batch)).square().mean())


def weights(program: Program, model: nn.Module) -> dict[str, Tensor]:
    own = dict(model.named_parameters())
    return {call.layer: matrix_of(call, own[call.weight].detach()) for call in calls(program)}


@pytest.mark.parametrize("name", [name for name in NETWORKS if name not in ("shared", "recurrent")])
def test_every_layer_that_can_be_solved_meets_the_constraint_and_the_model_comes_closer_than_without_solving(name):
    model, example = network(name)
    program, batches = record_model(model, (example,), {}), probe(example)
    found, repairs = compensate(program, model, {}, batches, CompensateSettings(constraint=EveryOther()))
    masked, _ = compensate(program, model, {}, batches, CompensateSettings(constraint=EveryOther(solved=False)))
    made = weights(program, found)
    assert {repair.layer for repair in repairs} == set(made)
    for repair in repairs:
        assert (float(made[repair.layer][:, 1::2].abs().sum()) == 0) is repair.solved, repair
    assert sum(repair.solved for repair in repairs) >= len(repairs) / 2
    fresh = probe(example, seed=3)[0]
    assert distance(model, found, fresh) < distance(model, masked, fresh)


def test_a_layer_that_is_not_wanted_is_free_and_makes_good_what_the_constraint_costs():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    program, batches = record_model(model, (torch.zeros(2, 8),), {}), probe(torch.zeros(1, 8))
    asked = CompensateSettings(constraint=EveryOther(layers=("0",)))
    found, repairs = compensate(program, model, {}, batches, asked)
    assert [repair.layer for repair in repairs] == ["0", "2", "4"]
    made = weights(program, found)
    assert float(made["0"][:, 1::2].abs().sum()) == 0 < float(made["2"][:, 1::2].abs().min())
    alone = nn.Sequential(found[0], *list(model)[1:])
    fresh = probe(torch.zeros(1, 8), seed=3)[0]
    assert distance(model, found, fresh) < distance(model, alone, fresh)


@pytest.mark.parametrize("samples", [4, 200])
@pytest.mark.parametrize("bias", [True, False])
def test_the_solution_is_the_constrained_least_squares_whether_rows_or_columns_are_more(samples, bias):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(24, 5, bias=bias)).eval().double()
    batch = torch.randn(samples, 24, dtype=torch.float64) + 1
    program = record_model(model, (batch,), {})
    found, (repair,) = compensate(program, model, {}, [batch], CompensateSettings(constraint=EveryOther()))
    assert repair.solved
    rows, whole = batch[:, ::2], model(batch).detach()
    if bias:
        rows = torch.cat([rows, torch.ones(samples, 1, dtype=torch.float64)], 1)
    best = torch.linalg.lstsq(rows, whole, driver="gelsd").solution
    least = float((rows @ best - whole).square().mean())
    assert distance(model, found, batch) == pytest.approx(least, rel=1e-4, abs=1e-9)


def test_a_layer_that_cannot_be_solved_keeps_its_weights_and_says_why():
    model, example = network("shared")
    program = record_model(model, (example,), {})
    found, repairs = compensate(program, model, {}, probe(example), CompensateSettings(constraint=EveryOther()))
    reasons = {repair.layer: repair.reason for repair in repairs if not repair.solved}
    assert reasons
    assert all("times" in reason for reason in reasons.values() if reason is not None)
    before, after = weights(program, model), weights(program, found)
    assert all(torch.equal(before[layer], after[layer]) for layer in reasons)
