"""Real gates on models whose layers are not simply called one after the other: no traceback, and no false sentence."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pfa_gate.errors import LayerNotCalledError
from pfa_gate.pipeline.check_model import CheckOptions, check

NET = """
import torch
from torch import nn


class Queries(nn.Module):
    '''Learnt queries, as in DETR and Perceiver.'''

    def __init__(self):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(3, 16))
        self.stem = nn.Linear(8, 16)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.hidden, self.head = nn.Linear(16, 12), nn.Linear(12, 3)

    def forward(self, x):
        x, queries = self.stem(x), self.queries.unsqueeze(0).expand(x.shape[0], -1, -1)
        return self.head(self.hidden(self.attention(queries, x, x)[0].mean(1)).relu())


class Undecided(Queries):
    '''Cannot be exported, as it looks at its own numbers.'''

    def forward(self, x):
        return super().forward(x if float(x.sum()) > 0 else x * 2)


class Causal(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Conv1d(5, 16, 3), nn.Conv1d(16, 12, 3), nn.Linear(12, 3)

    def forward(self, x):
        y = self.first(x).relu()
        return self.head(self.second(torch.cat([y.new_zeros(y.shape[0], 16, 2), y], 2)).relu().mean(2))


class Mixer(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.tokens, self.head = nn.Linear(8, 16), nn.Linear(5, 7), nn.Linear(16, 3)

    def forward(self, x):
        return self.head(self.tokens(self.embed(x).relu().transpose(1, 2)).relu().mean(2))


class Idle(Mixer):
    def __init__(self):
        super().__init__()
        self.left, self.over = nn.Linear(2, 2), nn.Conv2d(1, 1, 1)


def seeded(kind):
    def build():
        torch.manual_seed(0)
        return kind()

    return build


queries, undecided, causal, mixer, idle = (seeded(kind) for kind in (Queries, Undecided, Causal, Mixer, Idle))


def probe():
    return torch.randn(200, 5, 8, generator=torch.Generator().manual_seed(0))
"""
GATE = """
  {name}:
    model: {{factory: "net.py:{name}"}}
    probe: {{data: net.py:probe, batch_size: 64}}
    artifacts: [weights]
    recipe: {{strategy: energy, energy: 0.8}}
    budgets: {{layers: [{{match: "*", kl: 1}}], model: {{macs: 1 M}}{more}}}
"""
COMPRESSED = ", compressed: {parameters: 100%}"
GATES = {"queries": COMPRESSED, "causal": COMPRESSED, "mixer": COMPRESSED, "undecided": "", "idle": ""}
CANNOT = (
    "'attention', of type MultiheadAttention, reads its weights without calling it, "
    "and a model that cannot be followed is read at calls alone"
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, torch_python: str) -> tuple[Path, str, int]:
    folder = tmp_path_factory.mktemp("awkward")
    (folder / "net.py").write_text(NET)
    gates = "".join(GATE.format(name=name, more=more) for name, more in GATES.items())
    (folder / "pfa.yaml").write_text(f"version: 1\ngates:{gates}")
    command = [torch_python, "-m", "pytest", "--pfa", "-p", "no:cacheprovider", "--color=no", "-rA"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return folder, done.stdout + done.stderr, done.returncode


def record(outcome: tuple[Path, str, int], gate: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((outcome[0] / ".pfa" / gate / "record.json").read_text())
    return found


def test_all_but_the_idle_one_are_judged_and_no_gate_ends_in_a_traceback(outcome: tuple[Path, str, int]) -> None:
    _, output, code = outcome
    assert code == 1
    assert "Traceback" not in output
    judged = {tuple(found) for found in re.findall(r"^(PASSED|ERROR|FAILED) pfa\.yaml::(\S+?)(?= |$)", output, re.M)}
    budgets = ["layers.kl", "model.macs", "exact"]
    expected = {("PASSED", f"{gate}::{each}") for gate in GATES for each in budgets if gate != "idle"}
    expected |= {("PASSED", f"{gate}::compressed.parameters") for gate, more in GATES.items() if more}
    expected -= {("PASSED", "undecided::exact")}
    assert judged == expected | {("ERROR", "undecided::exact")} | {("ERROR", f"idle::{each}") for each in budgets}


@pytest.mark.parametrize("gate", ["queries", "causal", "mixer"])
def test_what_is_measured_is_cut_and_proved(outcome: tuple[Path, str, int], gate: str) -> None:
    found = record(outcome, gate)
    assert found["compressed"]["exact"]["passed"]
    assert found["compressed"]["put_back"] == []
    assert found["compressed"]["parameters"] < found["model"]["parameters"]


def test_a_layer_over_tokens_is_listed_with_its_reason(outcome: tuple[Path, str, int]) -> None:
    layers = {layer["name"]: layer for layer in record(outcome, "mixer")["layers"]}
    assert list(layers) == ["embed", "tokens", "head"]
    assert layers["tokens"]["skipped"] == "mixes another axis than that of the filters"
    assert layers["tokens"]["samples"] == 200


def test_where_nothing_can_be_followed_all_that_is_called_is_judged(outcome: tuple[Path, str, int]) -> None:
    found = record(outcome, "undecided")
    assert {layer["name"]: layer["skipped"] for layer in found["layers"]} == {
        "stem": None,
        "attention.out_proj": CANNOT,
        "hidden": None,
        "head": None,
    }
    reasons = {each["what"]: each["reason"] for each in found["unmeasured"]}
    assert reasons["layer attention.out_proj"] == CANNOT
    said = "The model cannot be followed: which operators it runs depends on the values of its inputs"
    assert reasons["compressed model"].startswith(said)


def test_layers_that_are_never_called_are_named_together(outcome: tuple[Path, str, int]) -> None:
    assert "2 layers are never called in the forward pass: 'left', 'over'.\n" in outcome[1]
    assert "  Remove them from the model, or exclude them: layers: {exclude: [left, over]}.\n" in outcome[1]


class Undecided(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.head, self.idle = nn.Linear(8, 6), nn.Linear(6, 3), nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.first(x if float(x.sum()) > 0 else -x).relu())  # type: ignore[no-any-return]


def test_the_fixture_judges_a_model_that_cannot_be_exported() -> None:
    question = CheckOptions({"kl": 1.0}, exclude=["idle"])
    found = check(Undecided(), torch.randn(64, 8, generator=torch.Generator().manual_seed(0)), question)
    assert [(layer.name, layer.skipped) for layer in found.layers][:2] == [("first", None), ("head", None)]
    assert [(each.id, each.outcome) for each in found.budgets] == [("layers.kl", "kept")]
    with pytest.raises(LayerNotCalledError, match="Layer 'idle' is never called"):
        check(Undecided(), torch.randn(64, 8), CheckOptions({"kl": 1.0}))
