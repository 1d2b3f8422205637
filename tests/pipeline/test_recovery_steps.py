"""Recovery in a gate: the steps in the order written, what each bought, and what compensation did layer by layer."""

import re
from pathlib import Path

import pytest
import torch

import pfa_gate
from pfa_gate.errors import PFAGateError
from pfa_gate.pipeline.run import Run, run
from pfa_gate.record import dumps, loads

PROJECT = """
import torch
from torch import nn
from torch.utils.data import TensorDataset


def samples(seed):
    '''Four classes, told apart by which of four patterns is in the noise.'''
    draw = torch.Generator().manual_seed(seed)
    patterns = torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(7))
    labels = torch.arange(600) % 4
    return TensorDataset(patterns[labels] + 1.2 * torch.randn(600, 2, 8, 8, generator=draw), labels)


def probe():
    return samples(1)


def test():
    return samples(2)


def build():
    '''Trained here: 60 steps of Adam on samples that no gate sees.'''
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 4),
    )
    images, labels = samples(0).tensors
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    with torch.enable_grad():
        for step in range(60):
            chosen = torch.randperm(600)[:100]
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images[chosen]), labels[chosen]).backward()
            optimiser.step()
    return model.eval()


def shift(images, generator):
    return torch.roll(images, int(torch.randint(2, (1,), generator=generator)), 3)


def polish(model, batches):
    model[-1].bias.data += 0


def spoil(model, batches):
    raise ValueError("no such luck")
"""
GATE = """
  {name}:
    model: {{factory: net.py:build}}
    probe: {{data: net.py:probe}}
    recipe: {{strategy: energy, energy: 0.6}}
    recovery: {recovery}
    evaluation: {{data: net.py:test}}
    budgets: {{compressed: {{accuracy_drop: 100 pp}}}}
    selection: correlation
"""
GATES = {
    "none": "[]",
    "compensated": "[compensate]",
    "all": "[compensate, recalibrate, {distill: {steps: 20, augment: net.py:shift}}, {finetune: net.py:polish}]",
    "spoilt": "[{finetune: net.py:spoil}]",
    "hurried": "[{compensate: {seconds: 0.001}}]",
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("recovery")
    (place / "net.py").write_text(PROJECT)
    gates = [GATE.format(name=name, recovery=steps) for name, steps in GATES.items()]
    (place / "pfa.yaml").write_text("version: 1\ngates:" + "".join(gates))
    return place / "pfa.yaml"


@pytest.fixture(scope="module")
def runs(config: Path) -> dict[str, Run]:
    return {name: pfa_gate.run(config, name) for name in ("none", "compensated", "all")}


def course(run: Run) -> list[tuple[str, float]]:
    assert run.record.compressed is not None
    return [(step.step, step.accuracy or 0.0) for step in run.record.compressed.recovery]


def test_compensation_gets_back_most_of_what_the_cut_cost(runs: dict[str, Run]) -> None:
    (cut, before), (step, after) = course(runs["compensated"])
    scores = runs["compensated"].record.scores
    assert (cut, step) == ("cut", "compensate")
    assert scores is not None
    assert scores.full is not None
    assert scores.full > 0.9
    assert before < scores.full - 0.1
    assert after > before + 0.6 * (scores.full - before)
    assert scores.compressed == after


def test_without_a_step_there_is_no_course(runs: dict[str, Run]) -> None:
    assert course(runs["none"]) == []


def test_the_steps_run_in_the_order_written_and_the_last_model_is_delivered(runs: dict[str, Run]) -> None:
    found = runs["all"].record
    assert [name for name, _ in course(runs["all"])] == ["cut", "compensate", "recalibrate", "distill", "finetune"]
    assert found.scores is not None
    assert course(runs["all"])[-1][1] == found.scores.compressed
    assert {"compensate", "recalibrate", "distill", "finetune"} <= found.seconds.keys()


def test_the_record_tells_each_layer_that_was_solved(runs: dict[str, Run]) -> None:
    compressed = loads(dumps(runs["compensated"].record)).compressed
    assert compressed is not None
    repairs = compressed.recovery[1].repairs
    assert [repair.layer for repair in repairs] == ["3", "8"]
    for repair in repairs:
        assert repair.before is not None
        assert repair.after is not None
        assert repair.after < repair.before
        assert (repair.ridge is not None) == (repair.reason is None)
        assert repair.rows > 0


def test_progress_says_what_compensation_will_take(config: Path) -> None:
    told: list[tuple[str, int, int]] = []
    run(config, "compensated", progress=lambda *each: told.append(each))
    foreseen = [(stage, done, total) for stage, done, total in told if stage.startswith("compensate, about")]
    assert re.fullmatch(r"compensate, about \d+ s and \d+ MB", foreseen[0][0])
    assert [each[1:] for each in foreseen] == [(0, 2), (1, 2), (2, 2)]


def test_layers_for_which_there_is_no_time_are_named_and_stay(config: Path) -> None:
    record = pfa_gate.run(config, "hurried").record
    assert record.compressed is not None
    cut, step = record.compressed.recovery
    assert (step.step, step.accuracy) == ("compensate", cut.accuracy)
    assert step.detail == "0 of 2 layers solved anew on 0 patches"
    fact = "left out, as 0.001 s are not enough for all layers and others lost more"
    assert [(repair.layer, repair.reason) for repair in step.repairs] == [("3", fact), ("8", fact)]


def test_the_proof_is_of_the_cut_alone(runs: dict[str, Run]) -> None:
    proofs = {name: run.record.compressed.exact for name, run in runs.items() if run.record.compressed}
    assert all(proof.passed for proof in proofs.values())
    assert len(set(proofs.values())) == 1


def test_the_delivered_model_is_the_recovered_one(runs: dict[str, Run], config: Path) -> None:
    model = runs["all"].model
    assert model is not None
    images = torch.randn(4, 2, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(pfa_gate.load(config.parent / ".pfa/all")(images), model(images))


def test_an_error_in_the_users_training_is_placed_in_the_config(config: Path) -> None:
    with pytest.raises(PFAGateError, match="no such luck") as caught:
        pfa_gate.run(config, "spoilt")
    assert "pfa.yaml:" in str(caught.value)
    assert not (config.parent / ".pfa/spoilt/record.json").exists()
