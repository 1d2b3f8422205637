"""A whole run through the public page: what it finds, what it writes, and what it leaves alone."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import pfa_gate
from pfa_gate.pipeline.run import Run

PROJECT = """
import torch
from torch import nn
from torch.utils.data import TensorDataset


class Dead(nn.Module):
    '''Two filters of the first layer never change, and give their reader a number all the same.'''

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 6, 3, bias=False)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.second(self.norm(self.first(x)).sigmoid()).relu().mean((2, 3)))


class Undecided(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = self.first(x)
        return self.head(x.relu()) if x.sum() > 0 else self.head(x)


def dead():
    torch.manual_seed(0)
    model = Dead()
    with torch.no_grad():
        model.first.weight[[2, 5]] = 0
        model.norm.bias.normal_()
    return model


def undecided():
    torch.manual_seed(0)
    return Undecided()


def images():
    return TensorDataset(torch.randn(300, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(300) % 3)


def rows():
    return TensorDataset(torch.randn(300, 6, generator=torch.Generator().manual_seed(0)), torch.arange(300) % 3)
"""

CONFIG = """
version: 1
gates:
  dead:
    model: {factory: net.py:dead}
    probe: {data: net.py:images}
    recipe: {strategy: energy, energy: 0.99999}
    evaluation: {data: net.py:images, allow_chance: true}
    budgets: {layers: [{match: "*", inactive: 1, kl: 1.0}], compressed: {accuracy_drop: 0 pp}}
    selection: correlation
    recovery: []
  undecided:
    model: {factory: net.py:undecided}
    probe: {data: net.py:rows}
    evaluation: {data: net.py:rows}
    budgets: {layers: [{match: "*", kl: 1.0}], compressed: {parameters: 90%, accuracy_drop: 1 pp}}
    selection: correlation
    recovery: []
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("project")
    (place / "net.py").write_text(PROJECT)
    (place / "pfa.yaml").write_text(CONFIG)
    return place


@pytest.fixture(scope="module")
def dead(folder: Path) -> Run:
    return pfa_gate.run(folder / "pfa.yaml", "dead")


def outcomes(run: Run) -> dict[str, str]:
    return {finding.id: finding.outcome for finding in run.record.budgets}


def test_constant_filters_are_cut_without_a_trace(dead: Run, folder: Path) -> None:
    """Two dead filters go first; their number stays, in the bias behind them, so no score moves."""
    first = dead.record.layers[0]
    assert first.inactive == 2
    assert first.kept == (0, 1, 3, 4, 6, 7)
    assert outcomes(dead) == {
        "exact": "kept",
        "layers.kl": "kept",
        "layers.inactive": "broken",
        "compressed.accuracy_drop": "kept",
    }
    assert dead.record.scores is not None
    assert dead.record.scores.drop == 0


def test_the_folder_holds_what_the_record_says(dead: Run, folder: Path) -> None:
    written = json.loads((folder / ".pfa/dead/record.json").read_text())
    assert written["gate"] == "dead"
    assert [layer["keep"] for layer in written["layers"]] == [layer.keep for layer in dead.record.layers]
    recipe = yaml.safe_load((folder / ".pfa/dead/recipe.yaml").read_text())
    assert recipe["parameters"]["first.weight"] == {0: [0, 1, 3, 4, 6, 7]}
    assert {Path(path).name for path in dead.record.files.values()} <= {
        path.name for path in (folder / ".pfa/dead").iterdir()
    }


def test_the_written_model_is_the_one_that_was_scored(dead: Run, folder: Path) -> None:
    assert dead.model is not None
    images = torch.randn(5, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(pfa_gate.load(folder / ".pfa/dead")(images), dead.model(images))


def test_it_loads_into_the_users_class_whose_reader_had_no_bias(dead: Run, folder: Path) -> None:
    space: dict[str, Any] = {}
    exec(PROJECT, space)
    images = torch.randn(5, 1, 8, 8)
    loaded = pfa_gate.load(folder / ".pfa/dead", model=space["dead"]())
    assert dead.model is not None
    assert loaded.get_submodule("second").bias is not None
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), dead.model(images))


def test_a_model_that_cannot_be_exported_is_measured_but_not_compressed(folder: Path) -> None:
    run = pfa_gate.run(folder / "pfa.yaml", "undecided")
    assert outcomes(run) == {
        "exact": "not judged",
        "layers.kl": "kept",
        "compressed.parameters": "not judged",
        "compressed.accuracy_drop": "not judged",
    }
    assert "cannot be followed" in run.record.budgets[0].sentence
    assert run.record.layers[0].kl_ratio is not None
    assert run.model is None
    written = {path.name for path in (folder / ".pfa/undecided").iterdir()}
    assert written == {"record.json", "report.html", "report.md", "badge.json"}


def test_several_gates_need_a_name(folder: Path) -> None:
    with pytest.raises(pfa_gate.ConfigError, match="declares 2 gates"):
        pfa_gate.run(folder / "pfa.yaml")
