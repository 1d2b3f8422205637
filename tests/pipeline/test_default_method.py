"""What a gate does that names neither selection nor recovery, and the paper's own method, one word away."""

from pathlib import Path

import numpy as np
import pytest

import pfa_gate
from pfa_gate.compress import recover
from pfa_gate.compress.select import reconstruction
from pfa_gate.errors import TraceError
from pfa_gate.pipeline.run import Run
from pfa_gate.record import RecoveryStep

PROJECT = """
import torch
from torch import nn


class Fixed(nn.Module):
    '''Its forward takes two samples, as many as it is recorded with, and no other number.'''

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(6, 12), nn.Linear(12, 12), nn.Linear(12, 3)

    def forward(self, x):
        return self.last(self.second(self.first(x).relu().view(2, 12)).relu())


def plain():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 3))


def fixed():
    torch.manual_seed(0)
    return Fixed()


def uncut():
    return nn.Linear(6, 3)


def rows():
    return torch.randn(400, 6, generator=torch.Generator().manual_seed(1)), torch.arange(400) % 3
"""
GATE = """
  {name}:
    model: {{factory: net.py:{factory}}}
    probe: {{data: net.py:rows}}
    recipe: {{strategy: energy, energy: 0.9}}
    artifacts: [weights]
    budgets: {{layers: [{{match: "*", kl: 1.0}}]}}
"""
OLD = "    layers: {include: ['*'], exclude: []}\n    selection: correlation\n    recovery: []\n"
GATES = {
    "default": GATE.format(name="default", factory="plain"),
    "named": GATE.format(name="named", factory="plain") + "    selection: reconstruction\n    recovery: [compensate]\n",
    "paper": GATE.format(name="paper", factory="plain") + OLD,
    "l1": GATE.format(name="l1", factory="plain") + "    selection: l1\n    recovery: []\n",
    "uncut": GATE.format(name="uncut", factory="uncut"),
    "fixed": GATE.format(name="fixed", factory="fixed"),
    "taylor": GATE.format(name="taylor", factory="fixed") + "    selection: taylor\n",
}

# Taken before the defaults were changed, of a gate that named neither selection nor recovery.
PAPER = {"0": [0, 2, 10, 17, 19], "2": [3, 5, 6, 8, 11, 18, 19]}
WEIGHTS = 13.998533248901367


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("defaults")
    (folder / "net.py").write_text(PROJECT)
    (folder / "pfa.yaml").write_text("version: 1\ngates:" + "".join(GATES.values()))
    return folder / "pfa.yaml"


def kept(run: Run) -> dict[str, list[int]]:
    return {layer.name: list(layer.kept) for layer in run.record.layers if layer.kept is not None}


def steps(run: Run) -> tuple[RecoveryStep, ...]:
    assert run.record.compressed is not None
    return run.record.compressed.recovery


def test_what_is_left_out_is_reconstruction_and_compensation(config: Path) -> None:
    default, named = (pfa_gate.run(config, name) for name in ("default", "named"))
    assert kept(default) == kept(named)
    assert [(step.step, step.detail, step.repairs) for step in steps(default)] == [
        (step.step, step.detail, step.repairs) for step in steps(named)
    ]
    assert [step.step for step in steps(default)] == ["cut", "compensate"]


def test_a_gate_that_names_the_old_keys_gives_the_numbers_of_before(config: Path) -> None:
    """Kept filters and weights as written by the version whose defaults these were."""
    paper = pfa_gate.run(config, "paper")
    assert kept(paper) == PAPER
    assert steps(paper) == ()
    assert paper.model is not None
    full = np.concatenate([tensor.flatten().numpy() for tensor in paper.model.state_dict().values()])
    assert float(np.abs(full).sum()) == pytest.approx(WEIGHTS, rel=1e-6)


def test_where_nothing_is_cut_there_is_nothing_to_solve(config: Path) -> None:
    cut, step = steps(pfa_gate.run(config, "uncut"))
    assert (cut.step, step.step) == ("cut", "compensate")
    assert step.detail == "nothing to solve: no layer reads anything else than before"
    assert step.repairs == ()


def test_a_model_that_compensation_cannot_follow_is_kept_as_cut_unless_it_was_asked_for(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> None:
        raise TraceError("The forward goes another way each time.")

    monkeypatch.setattr(recover, "compensate", lost)
    default = pfa_gate.run(config, "default")
    assert steps(default)[1].detail == "left out: The forward goes another way each time."
    assert {each.outcome for each in default.record.budgets} == {"kept"}
    with pytest.raises(TraceError, match="another way each time"):
        pfa_gate.run(config, "named")


@pytest.mark.parametrize("name", ["fixed", "taylor"])
def test_a_forward_that_takes_one_batch_alone_is_selected_and_solved(config: Path, name: str) -> None:
    _, step = steps(pfa_gate.run(config, name))
    assert step.detail == "2 of 2 layers solved anew on 800 patches"


def test_readers_that_are_too_wide_leave_the_order_to_the_norm_and_the_record_says_so(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconstruction, "COLUMNS", 23)
    wide = pfa_gate.run(config, "default")
    assert kept(wide) == kept(pfa_gate.run(config, "l1"))
    assert [(each.what, each.reason) for each in wide.record.unmeasured] == [
        (
            f"selection of {name}",
            "the L1 norm of its weights chose its filters: it is read through 24 columns, more than 23",
        )
        for name in ("0", "2")
    ]
