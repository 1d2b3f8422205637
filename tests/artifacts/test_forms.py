"""A gate writes the forms of its model that `artifacts` names: no other is made, listed, missed or spoken of."""

import dataclasses
from pathlib import Path

import pytest
import torch
import yaml
from conftest import written
from networks import network

import pfa_gate
from pfa_gate.artifacts import model_files
from pfa_gate.errors import ArtifactError
from pfa_gate.files import sha256_of
from pfa_gate.record import loads
from pfa_gate.report.delivery import delivery

ALWAYS = {"record.json", "report.html", "report.md", "badge.json", "recipe.yaml"}
NET = """
import torch

def build():
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))

def probe():
    return torch.randn(64, 4)
"""
GATE = """
version: 1
gates:
  tiny:
    model: {factory: net.py:build}
    probe: {data: net.py:probe}
    budgets: {model: {parameters: 100}}
    selection: correlation
    recovery: []
    artifacts: [weights, onnx]
"""


@pytest.mark.parametrize(
    ("forms", "files"),
    [
        (["weights"], {"weights.safetensors"}),
        (["pt2"], {"model.pt2"}),
        (["pt2", "weights"], {"weights.safetensors", "model.pt2"}),
    ],
)
def test_what_is_asked_for_is_written_and_nothing_else(forms: list[str], files: set[str], tmp_path: Path) -> None:
    record, smaller = written("residual", tmp_path, forms)
    folder = tmp_path / "residual"
    assert {path.name for path in folder.iterdir()} == ALWAYS | files
    assert {Path(path).name for path in record.files.values()} == ALWAYS | files
    assert loads((folder / "record.json").read_text("utf-8")) == record
    assert record.unmeasured == ()
    assert yaml.safe_load((folder / "recipe.yaml").read_text("utf-8"))["files"] == {
        name: sha256_of(folder / name) for name in files
    }
    fresh, example = network("residual")
    with torch.no_grad():
        torch.testing.assert_close(pfa_gate.load(folder, model=fresh)(example), smaller(example))


def test_without_the_program_a_model_is_needed(tmp_path: Path) -> None:
    written("residual", tmp_path, ["weights"])
    with pytest.raises(ArtifactError) as caught:
        pfa_gate.load(tmp_path / "residual")
    assert str(caught.value) == (
        f"{tmp_path / 'residual'} has no model.pt2.\n"
        "  Name it under artifacts in pfa.yaml; if it is, record.json says why under 'unmeasured'."
    )


def test_a_graph_of_which_no_program_is_written_is_told(tmp_path: Path) -> None:
    record, _ = written("padded_shortcut", tmp_path, ["weights"])
    fact = "The model's own class cannot run at the new widths, and artifacts leaves out pt2, the file that can."
    assert delivery(record) == (fact,)
    assert fact in (tmp_path / "padded_shortcut" / "report.md").read_text("utf-8")
    in_onnx = dataclasses.replace(record, files={**record.files, "onnx": "model.onnx"})
    assert (
        delivery(in_onnx)[0]
        == "The model's own class cannot run at the new widths; model.onnx holds its graph, which can."
    )


def test_a_form_that_needs_an_extra_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_files, "_EXTRA", ("onnx", "no_such_module"))
    (tmp_path / "net.py").write_text("raise SystemExit('imported')")
    (tmp_path / "pfa.yaml").write_text(GATE)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactError) as caught:
        pfa_gate.run("pfa.yaml")
    assert str(caught.value) == (
        "The gate asks for model.onnx, which needs no_such_module.\n"
        "  at pfa.yaml:10:5, in gate 'tiny', while loading\n"
        "  Run pip install 'pfa-gate[onnx]', or take onnx out of artifacts."
    )
