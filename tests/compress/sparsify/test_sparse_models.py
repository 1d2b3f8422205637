"""Zeros in whole models: every layer that can has them, and few samples do not mislead."""

import pytest
import torch
from networks import NETWORKS, network
from torch import Tensor, nn

from pfa_gate.compress.recover import CompensateSettings
from pfa_gate.compress.sparsify import Pattern, PatternPlan, correction, dense, sparsify, sparsify_model
from pfa_gate.compress.sparsify.masks import magnitude_mask
from pfa_gate.compress.sparsify.pattern import column_groups
from pfa_gate.graph import record_model
from pfa_gate.model.copies import copied

HALF = Pattern(2, 4)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "recurrent"])
def test_layers_of_every_kind_get_the_pattern_or_a_reason(name: str) -> None:
    model, example = network(name)
    program = record_model(model, (example,), {})
    draw = torch.Generator().manual_seed(1)
    probe = [torch.randn(32, *example.shape[1:], generator=draw)]
    plan = PatternPlan.of(program, HALF)
    found = sparsify(model, program, probe, plan, CompensateSettings())
    assert not dense(plan, found, program)
    assert all(found.whole.values())
    zeros = sum(int((each == 0).sum()) for each in found.model.parameters())
    solved = {repair.layer for repair in found.repairs if repair.solved} - set(found.whole)
    assert (zeros > 0) == bool(solved)


def test_what_does_not_have_the_pattern_in_the_end_is_found() -> None:
    model = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    program = record_model(model, (torch.zeros(2, 3),), {})
    plan = PatternPlan.of(program, HALF)
    assert dense(plan, sparsify_model.Sparsified(model, (), plan.whole), program) == ["2", "4"]


def error(model: nn.Module, wanted: nn.Module, inputs: Tensor) -> float:
    with torch.no_grad():
        return float((model(inputs) - wanted(inputs)).square().mean())


def test_few_samples_mislead_less_than_without_the_larger_ridge(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    mix = torch.randn(24, 64)
    model = nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 10)).eval()
    program = record_model(model, (mix[:2],), {})

    def drawn(count: int) -> Tensor:
        return 0.3 * torch.randn(count, 24) @ mix + 0.1 * torch.randn(count, 64)

    probe, fresh, plan = [drawn(48)], drawn(800), PatternPlan.of(program, HALF)
    found = error(sparsify(model, program, probe, plan, CompensateSettings()).model, model, fresh)
    by_size = copied(model)
    for layer in by_size:
        if isinstance(layer, nn.Linear):
            kept = magnitude_mask(layer.weight.detach().T, column_groups(1, layer.in_features, 4), 2).T
            layer.weight.data.mul_(kept)
    assert found < 0.7 * error(by_size, model, fresh)
    monkeypatch.setattr(correction, "SCARCE", 0.0)
    assert found < error(sparsify(model, program, probe, plan, CompensateSettings()).model, model, fresh)
