"""A run from Python against a baseline, and what a broken limit on layers says of the size of its remedy."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pfa_gate
from pfa_gate.config import load
from pfa_gate.record import Record
from pfa_gate.record.baseline import Stamp, baseline_entry, baseline_text
from pfa_gate.record.baseline_source import subject
from pfa_gate.redundancy import most_within_kl

NET = """
import torch
from torch import nn


def build():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 3))
    with torch.no_grad():
        model[0].weight[6:] = model[0].weight[:6] + 0.01 * model[0].weight[6:]
    return model
"""
CONFIG = """\
version: 1
gates:
  small:
    model: {factory: net.py:build}
    probe: {data: probe.npy}
    artifacts: [weights]
    budgets: {layers: [{match: "*", kl: LIMIT}]}
    selection: correlation
    recovery: []
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    np.save("probe.npy", np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32))
    (tmp_path / "pfa.yaml").write_text(CONFIG.replace("LIMIT", "1"))
    return tmp_path


def baseline(record: Record) -> Path:
    config = load("pfa.yaml").gate("small")
    stamp = Stamp("2026-11-01", "", subject(config, Path.cwd()))
    Path("before.json").write_text(baseline_text({"small": baseline_entry(record, stamp)}))
    return Path("before.json")


def test_python_compares_with_a_baseline_too(project: Path) -> None:
    before = pfa_gate.run("pfa.yaml").record
    path = baseline(before)
    (project / "pfa.yaml").write_text(CONFIG.replace("LIMIT", "{max_increase: 0, ratchet: true}"))
    alone = pfa_gate.run("pfa.yaml").record
    assert alone.baseline is None
    compared = pfa_gate.run("pfa.yaml", baseline=path).record
    assert compared.baseline is not None
    assert compared.baseline.written == "2026-11-01"
    assert {finding.outcome for finding in compared.budgets} == {"kept"}
    lowered = json.loads(path.read_text())
    layers = lowered["gates"]["small"]["layers"]
    for values in layers.values():
        values["kl"] = values["kl"] / 2
    path.write_text(json.dumps(lowered))
    worse = pfa_gate.run("pfa.yaml", baseline=str(path)).record
    assert [finding.outcome for finding in worse.budgets if finding.id == "layers.kl"] == ["broken"]


def test_a_baseline_that_is_not_there_is_an_error(project: Path) -> None:
    with pytest.raises(pfa_gate.ArtifactError, match=r"There is no baseline no\.json"):
        pfa_gate.run("pfa.yaml", baseline="no.json")
    with pytest.raises(pfa_gate.ArtifactError, match="git says: fatal: not a git repository"):
        pfa_gate.run("pfa.yaml", baseline="git:nowhere")


def test_a_broken_layer_says_what_its_remedy_leaves(project: Path) -> None:
    (project / "pfa.yaml").write_text(CONFIG.replace("LIMIT", "0.3"))
    record = pfa_gate.run("pfa.yaml").record
    (finding,) = [each for each in record.budgets if each.id == "layers.kl"]
    assert finding.outcome == "broken"
    broken = [each.layer for each in finding.details if each.outcome == "broken"]
    assert broken
    space: dict[str, Any] = {}
    exec(NET, space)
    coupling = pfa_gate.trace(space["build"](), torch.zeros(2, 4))
    keep = {layer.group: most_within_kl(layer.eigenvalues, 0.3) for layer in record.layers if layer.name in broken}
    left = coupling.footprint(keep)
    assert left.parameters < record.model.parameters
    share = f"{100 * left.parameters / record.model.parameters:.1f}%"
    expected = f"Cut so far that these layers keep it, the model would have {left.parameters} parameters ({share}), "
    assert [note for note in finding.notes if note.startswith(expected)]
