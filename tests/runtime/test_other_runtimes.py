"""Files for OpenVINO and ExecuTorch: equal to the model before they are written, run as ONNX Runtime runs its own."""

import importlib
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pfa_gate.artifacts.export import ExportFailedError
from pfa_gate.artifacts.program import program_of, trials
from pfa_gate.budget.parity import Machine, Parity
from pfa_gate.errors import ArtifactError, CandidateError
from pfa_gate.model import Batch
from pfa_gate.pipeline.deployed import ParityFindings
from pfa_gate.pipeline.parity import together
from pfa_gate.runtime.onnx_module import OnnxModel
from pfa_gate.runtime.other_runtimes import RUNTIMES, asked, digest, opened, require
from pfa_gate.runtime.pair import RuntimeFile
from pfa_gate.runtime.session import machine_of

FORMS = ("openvino", "executorch")


def module_of(form: str) -> ModuleType:
    """Of a runtime that is installed; the test is not run where it is not."""
    lacking = RUNTIMES[form].missing
    if lacking:
        pytest.skip(f"not run: {', '.join(lacking)} is not installed (pip install 'pfa-gate[{form}]')")
    module: ModuleType = RUNTIMES[form].module
    return module


def net() -> nn.Module:
    torch.manual_seed(0)
    body = (nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(8, 4)).eval()


def images(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def written(form: str, folder: Path, model: nn.Module, inputs: Any) -> Path:
    path = folder / RUNTIMES[form].file
    export = program_of(model, inputs)
    module_of(form).write(export, path, model, trials(export, model, inputs))
    return path


@pytest.mark.parametrize("form", FORMS)
def test_a_file_equals_the_model_and_runs_at_any_number_of_samples(form: str, tmp_path: Path) -> None:
    model = net()
    path = written(form, tmp_path, model, ((images(2),), {}))
    session = opened(path, 1, ("input",))
    file = OnnxModel(session, path.name)
    with torch.no_grad():
        assert (file(images(5)) - model(images(5))).abs().max() < 1e-5
    assert machine_of(session, 1).runtime.startswith({"openvino": "OpenVINO 2", "executorch": "ExecuTorch 1"}[form])
    assert [each.name for each in session.get_inputs()] == ["input"]
    assert file.floating == ["output" if form == "openvino" else "output_0"]


def test_two_writings_of_openvino_are_the_same_bytes(tmp_path: Path) -> None:
    model, digests = net(), set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        digests.add(digest(written("openvino", tmp_path / name, model, ((images(2),), {}))))
    assert len(digests) == 1


@pytest.mark.parametrize("form", FORMS)
def test_keyword_inputs_and_whole_numbers_keep_their_names(form: str, tmp_path: Path) -> None:
    class Text(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words, self.head = nn.Embedding(20, 8), nn.Linear(8, 3)

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"logits": self.head((self.words(ids) * mask[..., None]).sum(1))}

    torch.manual_seed(0)
    model = Text().eval()
    batch = {"mask": torch.ones(3, 6), "ids": torch.arange(18).reshape(3, 6)}
    path = written(form, tmp_path, model, ((), batch))
    names = tuple(program_of(model, ((), batch)).sizes)
    file = OnnxModel(opened(path, 1, names), path.name)
    with torch.no_grad():
        (given,) = file.outputs(Batch((), batch))
        assert (given - model(**batch)["logits"]).abs().max() < 1e-5


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_gives_something_else_is_not_written(form: str, tmp_path: Path) -> None:
    module = module_of(form)
    model, other = net(), net()
    with torch.no_grad():
        other[0].weight += 0.1
    export = program_of(model, ((images(2),), {}))
    path = tmp_path / RUNTIMES[form].file
    compared = other if form == "openvino" else _Lying(model)
    with pytest.raises(ExportFailedError, match=r"its outputs are off by"):
        module.write(export, path, compared, trials(export, model, ((images(2),), {})))
    assert list(tmp_path.iterdir()) == []


class _Lying(nn.Module):
    """Gives another answer once it was exported."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.model(x)
        return out if torch.compiler.is_exporting() else out + 1


@pytest.mark.parametrize("form", FORMS)
def test_what_a_runtime_does_not_take_is_refused(form: str, tmp_path: Path) -> None:
    module_of(form)
    path = tmp_path / RUNTIMES[form].file
    path.write_bytes(b"nothing")
    with pytest.raises(CandidateError, match=rf"does not take {path.name}"):
        opened(path)


# --- without the runtimes


def test_a_runtime_is_asked_for_by_name_alone() -> None:
    assert asked(None) == ()
    assert asked(("weights", "onnx")) == ()
    assert [each.file for each in asked(("executorch", "openvino"))] == ["model.xml", "model.pte"]
    assert opened(Path("model.onnx")) is None


@pytest.mark.parametrize("form", FORMS)
def test_an_extra_that_is_missing_is_told_before_anything_is_measured(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pfa_gate.runtime.other_runtimes.find_spec", lambda name: None)
    with pytest.raises(ArtifactError) as told:
        require(["weights", form])
    assert str(told.value) == (
        f"The gate asks for {RUNTIMES[form].file}, which needs {form}.\n"
        f"  Run pip install 'pfa-gate[{form}]', or take {form} out of artifacts."
    )


def test_weights_beside_a_file_belong_to_its_digest(tmp_path: Path) -> None:
    xml = tmp_path / "model.xml"
    xml.write_bytes(b"<net/>")
    alone = digest(xml)
    (tmp_path / "model.bin").write_bytes(b"1")
    one = digest(xml)
    (tmp_path / "model.bin").write_bytes(b"2")
    assert len({alone, one, digest(xml)}) == 3
    assert RuntimeFile("openvino", xml.name, str(xml), None).sha256 == digest(xml)


def test_openvino_is_loaded_without_the_package_that_calls_its_makers(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    module = importlib.import_module("pfa_gate.runtime.openvino")
    real = importlib.import_module

    def loaded(name: str) -> Any:
        if name.startswith("openvino"):
            seen.append(sys.modules.get("openvino_telemetry", "absent"))
            return SimpleNamespace()
        return real(name)

    monkeypatch.setattr(module.importlib, "import_module", loaded)
    mark = ModuleType("openvino_telemetry")
    monkeypatch.setitem(sys.modules, "openvino_telemetry", mark)
    with module._calling_nobody():
        assert sys.modules["openvino_telemetry"] is mark
    assert seen == [None]


class _Device:
    """A compiled model of OpenVINO: two inputs, of which it gives the sum."""

    def __init__(self) -> None:
        self.inputs = [_Port("left", (None, 3)), _Port("right", (None, 3))]
        self.outputs = [_Port("sum", (None, 3))]

    def get_property(self, name: str) -> Any:
        return {"EXECUTION_DEVICES": ["CPU"], "INFERENCE_PRECISION_HINT": "<Type: 'bfloat16'>"}[name]

    def __call__(self, feed: Mapping[str, Any]) -> dict[Any, Any]:
        return {self.outputs[0]: feed["left"] + feed["right"]}


class _Port:
    def __init__(self, name: str, shape: tuple[int | None, ...]) -> None:
        self.name, self.shape = name, shape

    def get_any_name(self) -> str:
        return self.name

    def get_partial_shape(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(is_static=size is not None, get_length=lambda size=size: size) for size in self.shape]

    def get_element_type(self) -> SimpleNamespace:
        return SimpleNamespace(get_type_name=lambda: "f32")


def test_a_session_of_openvino_has_the_face_of_one_of_onnx_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("pfa_gate.runtime.openvino")
    given: list[Any] = []
    core = SimpleNamespace(compile_model=lambda *call: given.append(call) or _Device())
    stand_in = SimpleNamespace(__version__="2026.4.1-22982-e213", Core=lambda: core)
    monkeypatch.setattr(module, "_openvino", lambda: stand_in)
    session = module.run("model.xml", "model.xml", 2)
    assert given == [("model.xml", "CPU", {"INFERENCE_NUM_THREADS": 2})]
    assert machine_of(session, 2).runtime == "OpenVINO 2026.4.1"
    # Where the processor has half precision the runtime takes it, and the report says so.
    assert machine_of(session, 2).providers == ("CPU", "bfloat16")
    file = OnnxModel(session, "model.xml")
    left, right = torch.ones(2, 3), torch.full((2, 3), 2.0)
    assert torch.equal(file(left, right), left + right)
    assert np.array_equal(session.run(["sum"], {"left": left.numpy(), "right": right.numpy()})[0], 3 * np.ones((2, 3)))


def test_the_tests_of_a_runtime_say_where_they_are_not_run() -> None:
    absent = [form for form in FORMS if find_spec(form) is None]
    assert [bool(RUNTIMES[form].missing) for form in FORMS] == [form in absent for form in FORMS]


# --- one budget for all of them


def compared(**flips: int) -> dict[str, Parity]:
    machine = Machine("a runtime", ("CPU",), 1, "a processor", ())
    return {
        section: Parity(f"{section}.file", "the model", machine, "probe", 9, True, count, 0.1, 0.1, 0.001)
        for section, count in flips.items()
    }


def test_the_budget_is_judged_on_the_file_with_the_most_flips() -> None:
    found = ParityFindings(compared(compressed=1, openvino=3, executorch=0, quantized=7))
    held = together(found, FORMS).found
    assert {section: each.flips for section, each in held.items()} == {
        "compressed": 3, "onnx": 1, "executorch": 0, "quantized": 7
    }  # fmt: skip
    assert held["compressed"].file == "openvino.file"
    alike = together(ParityFindings(compared(compressed=0, openvino=0)), FORMS).found
    assert {section: each.file for section, each in alike.items()} == {
        "compressed": "compressed.file", "openvino": "openvino.file"
    }  # fmt: skip


def test_the_budget_is_not_judged_where_a_file_could_not_be_compared() -> None:
    reasons = {"openvino": "model.xml was not written: no.", "quantized": "No int8 file."}
    held = together(ParityFindings(compared(compressed=0, executorch=0), reasons), FORMS)
    assert set(held.found) == {"onnx", "executorch"}
    assert held.reasons == {"compressed": "model.xml was not written: no.", "quantized": "No int8 file."}
