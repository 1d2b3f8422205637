"""`pfa-gate parity`: the same machine, a changed weight, another model, a runtime that lacks something."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx_files import FLOAT, written

from pfa_gate.cli import main
from pfa_gate.pipeline.run import run
from pfa_gate.runtime.cpu import this_cpu

NET = """
import torch
from torch import nn


def samples(seed, count):
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 4))


def probe():
    return samples(1, 60)


def test():
    return samples(2, 200), torch.zeros(200, dtype=torch.int64)
"""
CONFIG = """\
version: 1
gates:
  small:
    model: {factory: net.py:build}
    probe: {data: net.py:probe}
    evaluation: {data: net.py:test, allow_chance: true}
    recovery: []
    artifacts: [onnx]
    budgets: {compressed: {parity: 0}}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    (folder / "net.py").write_text(NET)
    (folder / "pfa.yaml").write_text(CONFIG)
    record = run(folder / "pfa.yaml").record
    assert [(each.id, each.outcome) for each in record.budgets] == [("exact", "kept"), ("compressed.parity", "kept")]
    return folder / ".pfa" / "small"


@pytest.fixture
def shipped(made: Path, tmp_path: Path) -> Path:
    """What goes to a device: two files."""
    for name in ("model.onnx", "parity.npz"):
        shutil.copy(made / name, tmp_path)
    return tmp_path


def here() -> str:
    cpu = this_cpu()
    return f"{cpu.name} with {', '.join(cpu.flags)}"


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    return " ".join(" ".join(lines).split())


def test_the_same_files_on_the_same_machine_flip_nothing(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["parity", str(made.parent)]) == 0
    shown = printed(capsys)
    assert shown.startswith("small: model.onnx: 0 of 200 answers flip against the compressed model in torch; ")
    assert " On 200 samples of the evaluation. here: ONNX Runtime " in shown
    assert f"1 thread, {here()} there: " in shown
    assert shown.endswith(" 1 file is as the gate judged.")


def changed_weight(path: Path, add: float) -> None:
    model = onnx.load(path)
    tensor = next(each for each in model.graph.initializer if list(each.dims) == [4])  # the bias of the classes
    values = numpy_helper.to_array(tensor).copy()
    values[1] += add
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, path)


def test_one_changed_weight_is_named_with_what_flipped(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changed_weight(shipped / "model.onnx", 0.2)
    assert main(["parity", "--json", str(shipped)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["same"]) == ("pfa_gate.parity_check/1", False)
    (file,) = found["files"]
    assert (file["verdict"], file["gate"], file["of"], file["changed"]) == ("other answers", "small", 200, True)
    assert file["here"]["flips"] >= len(file["here"]["flipped"]) > 0
    assert file["here"]["gap"] == pytest.approx(0.2, rel=1e-4)
    for flip in file["here"]["flipped"]:
        assert flip["here"] == 1 != flip["reference"]
        assert 0 <= flip["lead"] <= 0.2001
    assert main(["parity", str(shipped)]) == 1
    first = file["here"]["flipped"][0]
    shown = printed(capsys)
    assert f" sample {first['sample']}: {first['reference']} there, 1 here; {first['reference']} led by " in shown
    assert shown.endswith(" 1 file is not what the gate judged.")


def test_a_changed_weight_that_flips_nothing_makes_it_another_file(
    shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed_weight(shipped / "model.onnx", 1e-7)
    assert main(["parity", str(shipped)]) == 1
    assert "model.onnx is not the file that the gate judged: its SHA-256 differs. " in printed(capsys)
    assert main(["parity", str(shipped), "--file", str(shipped / "model.onnx")]) == 0, "another file was asked for"


def test_a_device_needs_neither_torch_nor_the_project_nor_its_config(shipped: Path) -> None:
    script = (
        "import sys; sys.modules |= dict.fromkeys(('torch', 'onnx', 'onnxscript', 'scipy', 'safetensors'))\n"
        "from pfa_gate.cli import main; status = main(['parity', '.'])\n"
        "print(sorted({'numpy', 'onnxruntime', 'pfa_gate.pipeline'} & set(sys.modules))); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=shipped, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("1 file is as the gate judged.\n['numpy', 'onnxruntime']\n")


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["parity", *arguments]) == 2
    return capsys.readouterr().err


def test_a_missing_file_or_folder(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shipped / "model.onnx").unlink()
    assert refused(capsys, str(shipped)) == (
        f"{shipped / 'parity.npz'} is of model.onnx, which is not at {shipped / 'model.onnx'}.\n"
        "  Copy it there, or name it with --file.\n"
    )
    assert refused(capsys, "no/such").startswith("There is no no/such/parity.npz.\n  A gate writes it where ")


def node(op: str, path: Path, domain: str = "") -> Path:
    nodes = [
        helper.make_node("Flatten", ["input"], ["flat"]),
        helper.make_node(op, ["flat"], ["output"], domain=domain),
    ]
    if not domain:
        return written(path, nodes, [], {"input": (FLOAT, ["batch", 3, 8, 8])}, {"output": ["batch", 192]})
    ports = [helper.make_tensor_value_info(name, FLOAT, None) for name in ("input", "output")]
    model = helper.make_model(
        helper.make_graph(nodes, "net", ports[:1], ports[1:]),
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid(domain, 1)],
        ir_version=10,
    )
    onnx.save(model, path)
    return path


def test_a_runtime_that_lacks_an_operator_says_which(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node("Fancy", shipped / "model.onnx", "com.example")
    said = refused(capsys, str(shipped))
    assert said.startswith("ONNX Runtime ")
    assert " does not take model.onnx: " in said
    assert "Fancy" in said
    assert said.endswith(
        "\n  It lacks an operator of the file: update the runtime, or write the file for this version of it.\n"
    )


def test_a_damaged_file_and_another_model(shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node("Identity", shipped / "model.onnx")
    assert "gives outputs of the shapes [[32, 192]], and its reference [[32, 4]]." in refused(capsys, str(shipped))
    nodes = [helper.make_node("Identity", ["other"], ["output"])]
    written(shipped / "model.onnx", nodes, [], {"other": (FLOAT, [2])}, {"output": [2]})
    assert refused(capsys, str(shipped)) == (
        "parity.npz has no values for the input 'other'.\n  This is another model: run the gate again.\n"
    )
    (shipped / "model.onnx").write_bytes(b"no model")
    assert " does not take model.onnx: " in refused(capsys, str(shipped))


def test_a_provider_that_is_not_there_and_a_number_that_is_none(
    shipped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, str(shipped), "--provider", "NPUExecutionProvider")
    assert " has no provider 'NPUExecutionProvider' here.\n  It has " in said
    with pytest.raises(SystemExit) as stopped:
        main(["parity", "--threads", "0"])
    assert stopped.value.code == 2
    assert "must be a whole number from 1, not '0'" in capsys.readouterr().err


def test_several_gates_are_checked_together_and_one_file_stands_for_one(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        shutil.copytree(made, tmp_path / name)
    assert main(["parity", str(tmp_path)]) == 0
    assert printed(capsys).endswith(" 2 files are as the gate judged.")
    said = refused(capsys, str(tmp_path), "--file", "model.onnx")
    assert said.startswith("--file stands for one file, and there are 2: ")


def test_no_runtime_is_said(shipped: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr("pfa_gate.runtime.parity_check.find_spec", lambda name: None)
    assert refused(capsys, str(shipped)) == (
        "Files run in ONNX Runtime, which is not installed.\n  Run pip install onnxruntime.\n"
    )


def test_the_stored_outputs_are_those_of_the_model_in_torch(made: Path) -> None:
    from pfa_gate.runtime.parity_data import read_parity  # noqa: PLC0415

    data = read_parity(made / "parity.npz")
    assert [len(call.rows) for call in data.calls] == [32] * 6 + [8]
    assert [row for call in data.calls for row in call.rows] == list(range(200))
    assert all(each.outputs["model.onnx"][0].dtype == np.float32 for each in data.calls)
