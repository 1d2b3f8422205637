"""A package of somebody else's, installed beside pfa_gate: its loader, metric, selection and section are used."""

import json
import os
from pathlib import Path

import pytest
from projects import Pfa

HOOKS = """
import functools

import numpy as np
import torch
from torch import nn

from pfa_gate.hooks import hookimpl


def load_from_shelf(name, width=6):
    torch.manual_seed(len(name))
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 3))


@hookimpl
def pfa_gate_model_loader(factory):
    shelf, _, name = factory.partition(":")
    return functools.partial(load_from_shelf, name) if shelf == "acme" else None


def margin(model, batches):
    gaps = [model(*batch.args).topk(2, dim=1).values @ torch.tensor([1.0, -1.0]) for batch in batches]
    return float(torch.cat(gaps).mean())


@hookimpl
def pfa_gate_metric(name):
    return margin if name == "acme:margin" else None


def last_filters_first(evidence):
    return {group.name: np.arange(group.width)[::-1].copy() for group in evidence.groups}


@hookimpl
def pfa_gate_selection(name):
    return last_filters_first if name == "last" else None
"""
SECTION = """
def pytest_pfa_report_section(record):
    return f"{record.gate}: {record.model.macs} MACs on the shelf"
"""
CONFIG = """\
version: 1
gates:
  shelf:
    model: {factory: "acme:perceptron", arguments: {width: 8}}
    probe: {data: data.npz}
    recipe: {strategy: parameters, parameters: 70%}
    selection: last
    recovery: []
    evaluation: {data: data.npz, metric: "acme:margin", direction: higher}
    budgets:
      layers: [{match: "*", kl: 1}]
      compressed: {parameters: 70%, score_drop: 100}
"""
DATA = "import numpy as np; np.savez('data.npz', images=np.random.default_rng(0).normal(size=(96, 4)).astype('f'))"


@pytest.fixture
def shop(project: pytest.Pytester, torch_python: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the installed package; a gate that needs it lies in the project."""
    (tmp_path / "acme_hooks.py").write_text(HOOKS)
    (tmp_path / "acme_section.py").write_text(SECTION)
    facts = tmp_path / "acme-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        "[pfa_gate]\nacme = acme_hooks\n\n[pytest11]\nacme_section = acme_section\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
    project.makefile(".yaml", pfa=CONFIG)
    project.run(torch_python, "-c", DATA)
    return tmp_path


@pytest.mark.parametrize("way", [[], ["-n2"]])
def test_all_four_hooks_are_asked(project: pytest.Pytester, real: Pfa, shop: Path, way: list[str]) -> None:
    result = real(*way)
    assert result.ret == 0, result.stdout.str()
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["shelf  KEPT*", "shelf: * MACs on the shelf"])
    record = json.loads((project.path / ".pfa" / "shelf" / "record.json").read_text())
    assert record["layers"][0]["filters"] == 8
    kept = record["layers"][0]["kept"]
    assert kept == list(range(len(kept))), "the last filters went first"
    assert 0 < len(kept) < 8
    scores = record["scores"]
    assert scores["metric"] == "acme:margin"
    low, high = scores["interval"]
    assert low <= scores["drop"] <= high


def test_without_the_package_each_is_an_error_with_its_place(project: pytest.Pytester, real: Pfa, shop: Path) -> None:
    (shop / "acme-1.0.dist-info" / "entry_points.txt").write_text("")
    result = real()
    assert result.ret == 1
    result.assert_outcomes(errors=4)
    result.stdout.fnmatch_lines(["There is no module 'acme'.", "  at pfa.yaml:4:22"])


def test_a_package_that_does_not_load_is_named(project: pytest.Pytester, real: Pfa, shop: Path) -> None:
    (shop / "acme_hooks.py").write_text("raise SystemExit(0)")
    result = real()
    assert result.ret == 1
    result.stdout.fnmatch_lines(["A package under the entry points pfa_gate does not load: SystemExit: 0."])


def test_a_hook_that_raises_is_told(project: pytest.Pytester, real: Pfa, shop: Path) -> None:
    broken = HOOKS.replace('shelf, _, name = factory.partition(":")', "raise LookupError(factory)")
    (shop / "acme_hooks.py").write_text(broken)
    result = real()
    assert result.ret == 1
    result.stdout.fnmatch_lines(["Another package was asked for 'acme:perceptron' and raised LookupError: acme:per*"])


def test_a_gate_that_needs_no_package_does_not_load_it(project: pytest.Pytester, real: Pfa, shop: Path) -> None:
    (shop / "acme_hooks.py").write_text("raise SystemExit(0)")
    (project.path / "net.py").write_text("from torch import nn\n\ndef build():\n    return nn.Linear(4, 3)\n")
    text = CONFIG.replace('"acme:perceptron", arguments: {width: 8}', "net.py:build").replace(
        "    selection: last\n", ""
    )
    lines = [line for line in text.splitlines() if "evaluation" not in line and "compressed" not in line]
    (project.path / "pfa.yaml").write_text("\n".join(line for line in lines if "recipe" not in line))
    assert "does not load" not in real().stdout.str()
