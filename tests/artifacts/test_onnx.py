"""model.onnx is made of the program as it is where that is sound, and of what the exporter traces anew where not."""

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.nn import functional

from pfa_gate.artifacts import onnx_model
from pfa_gate.artifacts.export import export_model
from pfa_gate.artifacts.onnx_model import write_onnx
from pfa_gate.artifacts.program import ExportFailedError, program_of, trials

pytest.importorskip("onnxruntime", reason="not run: the extra onnx is not installed")


class Overwriting(nn.Module):
    """Activations and sums in place, and both normalisation and pooling, as in most published networks."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.plain = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False)
        self.conv, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 2)
        self.norm.running_mean, self.norm.running_var = torch.randn(4), torch.rand(4) + 0.5

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.stem(x)), inplace=True)
        y = self.plain(self.conv(x))
        y += x
        pooled = functional.adaptive_avg_pool2d(functional.relu(y, inplace=True), 1).flatten(1)
        result: Tensor = self.head(functional.dropout(pooled, 0.5, self.training, inplace=True))
        return result


class ThroughAView(Overwriting):
    """What is written through a view is read by another name."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x))
        x.view(x.shape[0], -1).relu_()
        result: Tensor = self.head(x.mean((2, 3)))
        return result


class ThroughDropout(Overwriting):
    """Dropout in eval mode gives its input itself, of which its schema says nothing."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x))
        functional.dropout(x, 0.5, self.training).relu_()
        result: Tensor = self.head(x.mean((2, 3)))
        return result


@torch.library.custom_op("pfa_gate_tests::halve_", mutates_args=["x"])
def halve_(x: Tensor) -> None:
    x.mul_(0.5)


class Foreign(Overwriting):
    """An operator of the user's own writes in place; ATen has none of its name."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x))
        halve_(x * 2)
        result: Tensor = self.head(x.mean((2, 3)))
        return result


def onnx(model: nn.Module, path: Path) -> Path:
    inputs = ((torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)),), {})
    program = program_of(model.eval(), inputs)
    tried = trials(program, model, inputs)
    assert len(tried) == 2
    write_onnx(program, path, model, tried)  # which compares the two at two batch sizes
    return path


def test_what_onnx_has_is_not_traced_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def anew(*_: object, **__: object) -> None:
        pytest.fail("traced anew")

    monkeypatch.setattr(ExportedProgram, "run_decompositions", anew)
    assert onnx(Overwriting(), tmp_path / "model.onnx").exists()


def test_what_is_written_through_a_view_is_traced_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, own = [], ExportedProgram.run_decompositions
    monkeypatch.setattr(ExportedProgram, "run_decompositions", lambda *args: asked.append(args) or own(*args))
    assert onnx(ThroughAView(), tmp_path / "model.onnx").exists()
    assert len(asked) == 1


def test_an_operator_in_place_that_has_no_other_form_is_no_crash(tmp_path: Path) -> None:
    model, inputs = Foreign().eval(), ((torch.randn(2, 3, 8, 8),), {})
    write_onnx(export_model(model, *inputs), tmp_path / "model.onnx", model, [inputs])
    assert (tmp_path / "model.onnx").exists()  # nobody reads what the operator has written


def test_what_the_exporter_itself_gets_wrong_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ExportFailedError, match="its outputs are off by"):
        onnx(ThroughDropout(), tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_the_exporters_table_of_operators_is_made_once_and_holds_those_of_no_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = importlib.import_module("torch.onnx._internal.exporter._registration").ONNXRegistry
    kept: dict[Any, Any] = {}
    monkeypatch.setattr(onnx_model, "_TABLES", kept)
    own, model = vars(registry)["from_torchlib"], Overwriting()
    first = onnx(model, tmp_path / "first.onnx").read_bytes()
    assert vars(registry)["from_torchlib"] is own, "other users of the exporter get their own table"
    (table,) = kept.values()
    plain = registry.from_torchlib(table.opset_version)
    assert {name: len(forms) for name, forms in table.functions.items()} == {
        name: len(forms) for name, forms in plain.functions.items()
    }
    monkeypatch.setattr(registry, "from_torchlib", classmethod(lambda *_, **__: pytest.fail("made anew")))
    assert onnx(model, tmp_path / "second.onnx").read_bytes() == first
