"""A gate with `quantize`: the int8 file is made, measured as it runs, judged and reported; or it is said why not."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from pfa_gate import load
from pfa_gate.artifacts import model_files
from pfa_gate.errors import ArtifactError, LayerPatternError
from pfa_gate.pipeline.run import Run, run
from pfa_gate.record import Record
from pfa_gate.report.files import report_text
from pfa_gate.report.terminal import render


# Here, and not in the project: with a module that is imported anew its operator goes, and torch calls freed memory.
@torch.library.custom_op("quantized_gates::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@twice.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


PROJECT = """
import torch
from torch import nn


def build():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 10, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(160, 3),
    )


def images(seed, count):
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def probe():
    return images(1, 80)


def test():
    inputs = images(2, 120)
    with torch.no_grad():
        labels = build().eval()(inputs).argmax(1)
    labels[::5] = (labels[::5] + 1) % 3
    return torch.utils.data.TensorDataset(inputs, labels)


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.inner, self.outer = nn.Conv2d(1, 12, 3), nn.Conv2d(12, 12, 3, padding=1), nn.Linear(12, 3)

    def forward(self, x):
        x = self.stem(x).relu()
        return self.outer((x + self.inner(x)).relu().mean((2, 3)))


def residual():
    torch.manual_seed(0)
    return Residual()


class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.inner, self.outer = nn.Embedding(30, 12), nn.Linear(12, 16), nn.Linear(16, 4)

    def forward(self, ids, mask):
        taken = self.table(ids) * mask[..., None]
        return {"logits": self.outer(self.inner(taken.sum(1)).relu())}


def text():
    torch.manual_seed(0)
    return Text()


def sentences():
    draw = torch.Generator().manual_seed(3)
    for _ in range(26):
        ids = torch.randint(0, 30, (8, 6), generator=draw)
        yield {"ids": ids, "mask": (ids > 3).float()}
"""
FOREIGN = """
import torch
from torch import nn


class Foreign(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(64, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.outer(torch.ops.quantized_gates.twice(self.inner(x.flatten(1)).relu()))


def foreign():
    torch.manual_seed(0)
    return Foreign()
"""
CONFIG = """\
version: 1
gates:
  images:
    model: {factory: net.py:build}
    probe: {data: net.py:probe}
    recipe: {strategy: energy, energy: 0.9}
    quantize: {bits: 8, samples: 32, layers: {exclude: ["6"]}}
    evaluation: {data: net.py:test}
    artifacts: [weights, onnx-int8]
    budgets:
      quantized:
        bytes: 1%
        score: {min: 10%}
        accuracy_drop: 60 pp
        agreement: {min: 10%}
        divergence: 5
        output_error: 200%
        class_drop: {max: 90 pp, ratchet: true}
  text:
    model: {factory: net.py:text}
    probe: {data: net.py:sentences}
    quantize: {bits: 8, samples: 1}
    artifacts: [weights]
    budgets: {quantized: {output_error: 100%, bytes: 60%}}
  foreign:
    model: {factory: foreign.py:foreign}
    probe: {data: net.py:probe}
    quantize: {bits: 8}
    evaluation: {data: net.py:test}
    artifacts: [weights]
    budgets: {model: {parameters: 1 M}, quantized: {bytes: 30%, score_drop: 50 pp}}
  both:
    model: {factory: net.py:build}
    probe: {data: net.py:probe}
    recipe: {strategy: bytes, bytes: 20%}
    quantize: {bits: 8, samples: 8}
    artifacts: [weights]
    budgets: {quantized: {bytes: 20%}}
  padded:
    model: {factory: net.py:residual}
    probe: {data: net.py:probe}
    recipe: {strategy: bytes, bytes: 30%, residual: pad}
    quantize: {bits: 8, samples: 8}
    artifacts: [weights]
    budgets: {quantized: {bytes: 30%}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("quantized")
    (place / "net.py").write_text(PROJECT)
    (place / "foreign.py").write_text(FOREIGN)
    (place / "pfa.yaml").write_text(CONFIG)
    return place


@pytest.fixture(scope="module")
def made(folder: Path) -> Run:
    return run(folder / "pfa.yaml", "images")


@pytest.fixture(scope="module")
def record(made: Run) -> Record:
    return made.record


def test_every_budget_of_the_file_is_judged(record: Record) -> None:
    assert [(budget.id, budget.outcome) for budget in record.budgets] == [
        ("exact", "kept"),
        ("quantized.bytes", "broken"),
        ("quantized.score", "kept"),
        ("quantized.accuracy_drop", "kept"),
        ("quantized.agreement", "kept"),
        ("quantized.divergence", "kept"),
        ("quantized.output_error", "kept"),
        ("quantized.class_drop", "kept"),
    ]


def test_the_file_and_no_other_onnx_file_is_there(folder: Path, record: Record) -> None:
    names = {Path(path).name for path in record.files.values()}
    assert {"model.int8.onnx", "weights.safetensors"} <= names
    assert names.isdisjoint({"model.onnx", "model.pt2"})
    assert {path.name for path in (folder / ".pfa" / "images").iterdir()} == names


def module_of(folder: Path) -> Any:
    """The project's module, under a name of its own: no other test's `net` is taken for it, or it for theirs."""
    spec = importlib.util.spec_from_file_location("project_of_int8_gates", folder / "net.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


READER = """
import json, sys
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
inputs = np.load(sys.argv[2])
answers = session.run(None, {session.get_inputs()[0].name: inputs})[0]
print(json.dumps([answers.tolist(), "pfa_gate" in sys.modules]))
"""


def test_a_script_without_the_project_finds_the_same_score_and_answers(
    folder: Path, record: Record, tmp_path: Path
) -> None:
    net = module_of(folder)
    inputs, labels = net.test().tensors
    np.save(tmp_path / "inputs.npy", inputs.numpy())
    command = [sys.executable, "-c", READER, str(folder / ".pfa/images/model.int8.onnx"), str(tmp_path / "inputs.npy")]
    answers, imported = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    found = np.array(answers).argmax(1)
    full = net.build().eval()(inputs).detach().numpy().argmax(1)
    file = record.quantized
    assert not imported
    assert file is not None
    assert file.scores is not None
    assert file.answers is not None
    assert file.scores.compressed == pytest.approx((found == labels.numpy()).mean())
    assert file.answers.agreement is not None
    assert file.answers.agreement.value == pytest.approx((found == full).mean())


def test_its_bytes_are_those_of_the_tensors_in_the_file(folder: Path, record: Record) -> None:
    proto = onnx.load(folder / ".pfa" / "images" / "model.int8.onnx")
    held = sum(numpy_helper.to_array(tensor).nbytes for tensor in proto.graph.initializer)
    assert record.quantized is not None
    assert (record.quantized.bytes, record.quantized.file_bytes) == (
        held,
        (folder / ".pfa/images/model.int8.onnx").stat().st_size,
    )


def test_what_is_excluded_stays_floating_and_is_said(record: Record) -> None:
    assert record.quantized is not None
    assert record.quantized.floating == {"6": "pfa.yaml leaves it out"}
    assert {layer.name for layer in record.quantized.layers} == {"0", "3", "6"}
    assert (record.quantized.scheme, record.quantized.samples, record.quantized.compared) == ("static", 32, 32)


def test_two_runs_give_the_same_file(folder: Path, record: Record, tmp_path: Path) -> None:
    again = run(folder / "pfa.yaml", "images", output=tmp_path).record
    assert again.quantized is not None
    assert record.quantized is not None
    assert again.quantized.sha256 == record.quantized.sha256


def test_every_report_tells_of_it(record: Record) -> None:
    terminal = render(record, width=100, colour=False, unicode=True, verbosity=1)
    for text in (terminal, report_text(record, "report.md"), report_text(record, "report.html")):
        assert "has weights and activations of 8 bits, their ranges from 32 samples of the probe" in text
        assert "The outputs that suffer most are those of" in text
        assert "int8 bytes" in text
    steps = terminal[terminal.index("Recovery") :]
    assert [line.split()[0] for line in steps.splitlines()[2:6]] == ["full", "cut", "compensate", "int8"]


def test_the_module_is_rebuilt_from_the_folder_as_ever(folder: Path, made: Run) -> None:
    net = module_of(folder)
    rebuilt, inputs = load(folder / ".pfa" / "images", net.build()), net.probe()[:4]
    assert made.model is not None
    assert (rebuilt.eval()(inputs) - made.model.eval()(inputs)).abs().max() < 1e-6


@pytest.fixture(scope="module")
def text(folder: Path) -> Record:
    return run(folder / "pfa.yaml", "text").record


def test_a_probe_of_mappings_calibrates_by_name_and_answers_are_judged_on_what_was_held_out(text: Record) -> None:
    file = text.quantized
    assert file is not None
    assert file.answers is not None
    assert (file.scheme, file.samples, file.scores) == ("static", 1, None)
    assert (file.answers.source, file.answers.samples) == ("probe", text.probe.held_out)
    assert [(budget.id, budget.outcome) for budget in text.budgets] == [
        ("exact", "kept"),
        ("quantized.bytes", "kept"),
        ("quantized.output_error", "kept"),
    ]


def test_without_an_onnx_form_nothing_of_the_file_is_judged(folder: Path) -> None:
    record = run(folder / "pfa.yaml", "foreign").record
    outcomes = {budget.id: (budget.outcome, budget.sentence) for budget in record.budgets}
    reason = "The compressed model has no ONNX form: "
    assert {key: outcome for key, (outcome, _) in outcomes.items()} == {
        "exact": "kept",
        "model.parameters": "kept",
        "quantized.bytes": "not judged",
        "quantized.score_drop": "not judged",
    }
    assert outcomes["quantized.bytes"][1].startswith(reason)
    assert [gap.reason.startswith(f"not written: {reason}") for gap in record.unmeasured if "int8" in gap.what] == [
        True
    ]


@pytest.mark.parametrize("gate", ["both", "padded"])
def test_a_target_of_bytes_is_met_by_the_int8_file_to_the_byte(folder: Path, gate: str) -> None:
    record = run(folder / "pfa.yaml", gate).record
    file = record.quantized
    assert file is not None
    assert file.forecast == file.bytes
    target = (0.2 if gate == "both" else 0.3) * record.model.bytes
    assert 0.85 * target < file.bytes <= target
    assert [(budget.id, budget.outcome) for budget in record.budgets][1:] == [("quantized.bytes", "kept")]


def test_a_pattern_that_matches_no_layer_is_an_error_before_anything_is_measured(folder: Path) -> None:
    config = folder / "wrong.yaml"
    config.write_text(CONFIG.replace('exclude: ["6"]', "exclude: [linaer]"))
    with pytest.raises(LayerPatternError) as error:
        run(config, "images")
    assert "The pattern 'linaer' of quantize.layers.exclude matches no layer." in str(error.value)
    assert "while choosing layers" in str(error.value)
    config.write_text(CONFIG.replace("samples: 1}", "samples: 1, layers: {exclude: [outre]}}"))
    with pytest.raises(LayerPatternError, match=r"The nearest layers are outer"):
        run(config, "text")


def test_without_the_extra_the_gate_is_refused_before_anything_is_measured(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_files, "find_spec", lambda name: None)
    with pytest.raises(ArtifactError) as error:
        run(folder / "pfa.yaml", "images")
    assert str(error.value).splitlines() == [
        "The gate asks for model.int8.onnx, which needs onnx, onnxscript, onnxruntime.",
        f"  at {folder / 'pfa.yaml'}:7:5, in gate 'images', while loading",
        "  Run pip install 'pfa-gate[onnx]', or remove quantize.",
    ]
