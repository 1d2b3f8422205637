"""A gate with fewer than 8 bits: planned, rounded, written, read back and judged; loaded elsewhere; or said why not."""

import importlib.util
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from pfa_gate import load
from pfa_gate.artifacts.few_bits_file import read_few_bits
from pfa_gate.errors import DataError, TargetError
from pfa_gate.pipeline.run import run
from pfa_gate.record import Record, dumps, loads
from pfa_gate.report.files import report_text
from pfa_gate.report.terminal import render

PROJECT = """
import torch
from torch import nn


def build(width=12):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 10, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(160, 3),
    )


def images(seed, count):
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def probe():
    return images(1, 160)


def few():
    return images(1, 60)


def test():
    inputs = images(2, 120)
    with torch.no_grad():
        labels = build().eval()(inputs).argmax(1)
    labels[::5] = (labels[::5] + 1) % 3
    return torch.utils.data.TensorDataset(inputs, labels)


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.inner, self.spread = nn.Embedding(30, 12), nn.Linear(12, 16), nn.Linear(16, 12)
        self.gate = nn.utils.parametrizations.weight_norm(nn.Linear(12, 12))
        self.mix = nn.Parameter(torch.randn(12, 12))

    def forward(self, ids):
        taken = self.gate(self.table(ids).sum(1)) @ self.mix
        return self.spread(self.inner(taken).relu()) @ self.table.weight.t()


def text():
    torch.manual_seed(0)
    return Text()


def sentences():
    return torch.randint(0, 30, (200, 6), generator=torch.Generator().manual_seed(3))
"""
GATE = """
    model: {factory: net.py:build}
    probe: {data: net.py:probe}
    recipe: {strategy: energy, energy: 0.9}
    evaluation: {data: net.py:test}
"""
CONFIG = f"""\
version: 1
gates:
  four:{GATE}
    quantize: {{bits: 4, layers: {{exclude: ["6"]}}}}
    artifacts: [weights]
    budgets:
      quantized: {{bytes: 1%, score: {{min: 10%}}, accuracy_drop: 60 pp, agreement: {{min: 10%}}, divergence: 5}}
  auto:{GATE}
    quantize: {{bits: auto, bytes: 14%}}
    artifacts: [weights]
    budgets: {{quantized: {{bytes: 14%, class_drop: {{max: 90 pp}}, output_error: 300%}}}}
  little:{GATE}
    quantize: {{bits: auto, bytes: 2%}}
    artifacts: [weights]
    budgets: {{quantized: {{bytes: 14%}}}}
  scarce:
    model: {{factory: net.py:build}}
    probe: {{data: net.py:few}}
    evaluation: {{data: net.py:test}}
    quantize: {{bits: auto, bytes: 14%}}
    artifacts: [weights]
    budgets: {{quantized: {{bytes: 14%}}}}
  short:
    model: {{factory: net.py:build}}
    probe: {{data: net.py:few}}
    evaluation: {{data: net.py:test}}
    quantize: {{bits: binary}}
    artifacts: [weights]
    budgets: {{quantized: {{bytes: 14%}}}}
  text:
    model: {{factory: net.py:text}}
    probe: {{data: net.py:sentences}}
    quantize: {{bits: 3}}
    artifacts: [pt2]
    budgets: {{quantized: {{output_error: 200%}}}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("few_bits")
    (place / "net.py").write_text(PROJECT)
    (place / "pfa.yaml").write_text(CONFIG)
    return place


@pytest.fixture(scope="module")
def four(folder: Path) -> Record:
    return run(folder / "pfa.yaml", "four").record


@pytest.fixture(scope="module")
def auto(folder: Path) -> Record:
    return run(folder / "pfa.yaml", "auto").record


def module_of(folder: Path) -> Any:
    """The project's module, under a name of its own: no other test's `net` is taken for it, or it for theirs."""
    spec = importlib.util.spec_from_file_location("project_of_few_bits_gates", folder / "net.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_budget_of_the_file_is_judged_on_what_was_read_back(folder: Path, four: Record) -> None:
    assert [(budget.id, budget.outcome) for budget in four.budgets] == [
        ("exact", "kept"),
        ("quantized.bytes", "broken"),
        ("quantized.score", "kept"),
        ("quantized.accuracy_drop", "kept"),
        ("quantized.agreement", "kept"),
        ("quantized.divergence", "kept"),
    ]
    file, net = four.quantized, module_of(folder)
    assert file is not None
    assert file.scores is not None
    assert file.answers is not None
    assert file.answers.divergence is not None
    inputs, labels = net.test().tensors
    with torch.no_grad():
        full, few = (model(inputs).double() for model in (net.build().eval(), load(folder / ".pfa/four", net.build())))
    assert file.scores.compressed == pytest.approx(float((few.argmax(1) == labels).double().mean()))
    gaps = torch.nn.functional.kl_div(few.log_softmax(1), full.log_softmax(1), reduction="batchmean", log_target=True)
    assert file.answers.divergence.value == pytest.approx(float(gaps), rel=1e-6)


OTHER = """
import sys
import torch
sys.path.insert(0, sys.argv[1])
import net, pfa_gate
torch.save(dict(pfa_gate.load(sys.argv[1] + "/.pfa/four", net.build()).state_dict()), sys.argv[2])
"""


def test_another_process_loads_the_weights_that_were_judged_bit_for_bit(
    folder: Path, four: Record, tmp_path: Path, torch_python: str
) -> None:
    subprocess.run([torch_python, "-c", OTHER, str(folder), str(tmp_path / "state.pt")], check=True)
    found = torch.load(tmp_path / "state.pt", weights_only=True)
    held = read_few_bits(folder / ".pfa" / "four" / "weights.q.safetensors")
    assert four.quantized is not None
    assert (four.quantized.bytes, four.quantized.file_bytes) == (
        held.bytes,
        (folder / ".pfa/four/weights.q.safetensors").stat().st_size,
    )
    assert sorted(held.widths) == ["0.weight", "3.weight"]
    for name, tensor in held.tensors.items():
        assert found[name].numpy().tobytes() == tensor.numpy().tobytes()
    grids = [np.unique(held.tensors[name][0]) for name in held.widths]
    assert all(len(values) <= 16 for values in grids)


def test_the_floating_weights_are_there_too(folder: Path, four: Record) -> None:
    net, place = module_of(folder), folder / ".pfa" / "four"
    floating, few = load(place, net.build(), few_bits=False), load(place, net.build())
    assert not torch.equal(floating.get_parameter("0.weight"), few.get_parameter("0.weight"))
    assert four.quantized is not None
    assert four.quantized.floating == {"6": "pfa.yaml leaves it out"}


def test_a_target_of_bytes_is_kept_by_the_plan_and_the_file(folder: Path, auto: Record) -> None:
    file = auto.quantized
    assert file is not None
    assert file.plan is not None
    assert file.plan.target == int(0.14 * auto.model.bytes)
    assert 0.9 * file.plan.target < file.bytes <= file.plan.target
    assert file.parameters == (auto.compressed.parameters if auto.compressed else None)
    assert {budget.outcome for budget in auto.budgets} == {"kept"}
    recipe = yaml.safe_load((folder / ".pfa/auto/recipe.yaml").read_text())
    assert recipe["bits"] == {
        layer.name: int(layer.width) if layer.width.isdecimal() else layer.width for layer in file.plan.layers
    }
    assert all(layer.alone is not None for layer in file.plan.layers)


def test_error_feedback_is_used_where_it_comes_closer_and_both_are_recorded(auto: Record) -> None:
    plan = auto.quantized.plan if auto.quantized else None
    assert plan is not None
    assert plan.nearest is not None
    assert plan.fed_back is not None
    assert plan.feedback == (plan.fed_back < plan.nearest)
    assert plan.feedback
    assert plan.samples == 32


def test_two_runs_give_the_same_file(folder: Path, auto: Record, tmp_path: Path) -> None:
    again = run(folder / "pfa.yaml", "auto", output=tmp_path).record
    assert again.quantized is not None
    assert auto.quantized is not None
    assert again.quantized.sha256 == auto.quantized.sha256


def test_a_target_out_of_reach_names_the_smallest(folder: Path) -> None:
    with pytest.raises(TargetError) as error:
        run(folder / "pfa.yaml", "little")
    fact, place, remedy = str(error.value).splitlines()
    assert fact.startswith("quantize.bytes asks for ")
    assert "with the fewest bits for every weight the file takes" in fact
    assert place.endswith("in gate 'little', while choosing bits")
    assert remedy.endswith("or more, or have the recipe cut more.")


def test_too_few_samples_to_allocate_by_are_an_error_and_to_round_by_are_said(folder: Path) -> None:
    with pytest.raises(DataError, match="answers are compared on every fifth of them"):
        run(folder / "pfa.yaml", "scarce")
    file = run(folder / "pfa.yaml", "short").record.quantized
    assert file is not None
    assert file.plan is not None
    assert (file.plan.feedback, file.plan.nearest, file.plan.samples) == (False, None, 0)
    assert file.plan.reason == "The probe has 60 samples, and answers are compared on every fifth of them."


def test_a_model_that_is_a_graph_is_loaded_with_them_too_and_what_it_computed_is_stored(folder: Path) -> None:
    record = run(folder / "pfa.yaml", "text").record
    assert record.quantized is not None
    assert record.quantized.plan is not None
    assert record.compressed is not None
    assert record.compressed.form == "graph"
    assert [layer.name for layer in record.quantized.plan.layers] == ["table", "gate", "mix", "inner", "spread"]
    held = read_few_bits(folder / ".pfa" / "text" / "weights.q.safetensors")
    state = load(folder / ".pfa" / "text").state_dict()
    assert state.keys() == held.tensors.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in held.tensors.items())


def test_every_report_tells_of_it(four: Record) -> None:
    terminal = render(four, width=80, colour=False, unicode=True, verbosity=1)
    words = " ".join(terminal.split())
    assert "no common CPU runtime runs these weights faster" in words
    assert "weights.q.safetensors has weights of 4 bits" in words
    for text in (report_text(four, "report.md"), report_text(four, "report.html")):
        assert "no common CPU runtime runs these weights faster" in text
        assert "Width of each layer" in text
    assert loads(dumps(four)) == four
