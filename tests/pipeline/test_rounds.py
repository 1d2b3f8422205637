"""PFA applied again: each round decides on the spectra of what the last one left."""

from pathlib import Path

import pytest

import pfa_gate
from pfa_gate.pipeline.run import Run

PROJECT = """
import torch
from torch import nn
from torch.utils.data import TensorDataset


def build():
    '''Three layers whose filters repeat each other with a little noise, so that every round finds some to spare.'''
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 24, 3), nn.ReLU(), nn.Conv2d(24, 24, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(24, 5),
    )
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight[12:] = layer.weight[:12] + 0.3 * torch.randn_like(layer.weight[:12])
    return model


def images():
    torch.manual_seed(1)
    return TensorDataset(torch.randn(400, 2, 8, 8), torch.arange(400) % 5)
"""
GATE = """
  {name}:
    model: {{factory: net.py:build}}
    probe: {{data: net.py:images}}
    artifacts: [weights]
    recipe: {recipe}
    recovery: {recovery}
    budgets: {{layers: [{{match: "*", kl: 1.0}}]}}
    selection: correlation
"""
GATES = {
    "once": ("{strategy: kl}", "[]"),
    "one": ("{strategy: kl, rounds: 1}", "[]"),
    "thrice": ("{strategy: kl, rounds: 3}", "[compensate]"),
    "traded": ("{strategy: parameters, parameters: 50%, statistic: reconstruction}", "[]"),
    "levelled": ("{strategy: parameters, parameters: 50%, statistic: standardised}", "[]"),
    "plain": ("{strategy: parameters, parameters: 50%}", "[]"),
    "half": ("{strategy: parameters, parameters: 50%, rounds: 4}", "[]"),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    place: Path = tmp_path_factory.mktemp("rounds")
    (place / "net.py").write_text(PROJECT)
    gates = [GATE.format(name=name, recipe=recipe, recovery=steps) for name, (recipe, steps) in GATES.items()]
    (place / "pfa.yaml").write_text("version: 1\ngates:" + "".join(gates))
    return {name: pfa_gate.run(place / "pfa.yaml", name) for name in GATES}


def kept(run: Run) -> list[set[int]]:
    return [set(layer.kept) for layer in run.record.layers if layer.kept is not None]


def test_one_round_is_no_rounds(runs: dict[str, Run]) -> None:
    assert kept(runs["once"]) == kept(runs["one"])
    assert runs["one"].record.recipe is not None
    assert runs["one"].record.recipe.rounds == ()


def test_each_round_keeps_a_part_of_what_the_last_one_kept(runs: dict[str, Run]) -> None:
    recipe = runs["thrice"].record.recipe
    assert recipe is not None
    assert len(recipe.rounds) == 3
    for before, after in zip(recipe.rounds, recipe.rounds[1:], strict=False):
        assert before.keys() == after.keys()
        assert all(after[name] < before[name] for name in before)
    assert recipe.keep == recipe.rounds[-1]


def test_the_first_round_decides_as_a_single_one(runs: dict[str, Run]) -> None:
    once, thrice = runs["once"].record.recipe, runs["thrice"].record.recipe
    assert once is not None
    assert thrice is not None
    assert thrice.rounds[0] == once.keep
    assert all(few <= many for few, many in zip(kept(runs["thrice"]), kept(runs["once"]), strict=True))


def test_the_final_cut_is_proved_against_the_full_model(runs: dict[str, Run]) -> None:
    for run in runs.values():
        assert run.record.compressed is not None
        assert run.record.compressed.exact.passed
    layers = [layer for layer in runs["thrice"].record.layers if layer.kept is not None]
    assert [(layer.filters, len(layer.kept or ())) for layer in layers] == [
        (24, recipe) for recipe in (runs["thrice"].record.recipe.keep.values() if runs["thrice"].record.recipe else ())
    ]


def test_a_size_is_met_by_the_last_round_in_equal_ratios(runs: dict[str, Run]) -> None:
    record = runs["half"].record
    assert record.compressed is not None
    assert record.recipe is not None
    assert 0.35 < record.compressed.parameters / record.model.parameters <= 0.5
    shares = [sum(counts.values()) / 48 for counts in record.recipe.rounds]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.85  # the fourth root of one half, not all of it at once


def test_a_size_may_be_shared_out_by_what_the_readers_lose(runs: dict[str, Run]) -> None:
    record = runs["traded"].record
    assert record.compressed is not None
    assert record.recipe is not None
    assert 0.4 < record.compressed.parameters / record.model.parameters <= 0.5
    assert record.recipe.energy is None
    first, second = record.recipe.keep.values()
    assert first > second  # a filter of the second layer, which two layers share, saves twice as many parameters


def test_a_size_may_be_shared_out_blind_to_scale(runs: dict[str, Run]) -> None:
    levelled, plain = runs["levelled"].record, runs["plain"].record
    assert levelled.compressed is not None
    assert levelled.recipe is not None
    assert plain.recipe is not None
    assert 0.4 < levelled.compressed.parameters / levelled.model.parameters <= 0.5
    # Filters that differ much in variance look fewer than they are.
    assert levelled.recipe.keep != plain.recipe.keep
    assert levelled.recipe.energy is not None
    assert plain.recipe.energy is not None
    assert levelled.recipe.energy < plain.recipe.energy
