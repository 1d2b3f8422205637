"""`pfa-gate inspect`: what is in files of the gate and of other tools, against counts by hand."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from onnx_files import FLOAT, eight_bits, linear, tensor, written
from safetensors.torch import save_file
from torch import Tensor, nn

from pfa_gate.artifacts.few_bits_file import PackedWeight, write_few_bits
from pfa_gate.cli import main
from pfa_gate.compress.quantize import WeightLayer, Width, rounded


class Net(nn.Module):
    """Two inputs by name, a mapping of two outputs, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)
        self.head.weight.data[:, 1:3] = 0

    def forward(self, images: Tensor, scale: Tensor) -> dict[str, Tensor]:
        maps = self.norm(self.body(images)).relu() * scale[:, None, None, None]
        return {"logits": self.head(maps.mean((2, 3))), "maps": maps}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("program") / "net.pt2"
    dim = torch.export.Dim.AUTO
    sizes = {"images": {0: dim, 2: dim}, "scale": {0: dim}}
    given = (torch.zeros(2, 3, 8, 9), torch.ones(2))
    torch.export.save(torch.export.export(Net().eval(), given, dynamic_shapes=sizes), path)
    return path


def facts(capsys: pytest.CaptureFixture[str], path: Path) -> dict[str, Any]:
    assert main(["inspect", str(path), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["schema"] == "pfa_gate.inspect/1"
    return found


def port(name: str, *shape: int | str, dtype: str = "float32") -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": list(shape)}


def test_a_program_of_torch_export_is_read_without_torch_or_its_pickles(
    program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = facts(capsys, program)
    assert found["inputs"] == [port("images", "batch", 3, "height", 9), port("scale", "batch")]
    assert found["outputs"] == [port("logits", "batch", 2), port("maps", "batch", 4, "height + -2", 7)]
    assert found["ranges"]["height"][0] >= 3
    assert found["operators"]["conv2d"] == found["operators"]["linear"] == 1
    weights = 3 * 4 * 9 + 4 + 4 + 4 + 4 * 2 + 2
    assert found["parameters"] == weights
    assert found["stored"]["float32"] == {"tensors": 8, "elements": weights + 8, "bytes": 4 * (weights + 8)}
    assert found["bytes"] == 4 * (weights + 8) + 8
    assert found["producer"].startswith("torch 2.")
    script = (
        "import sys; sys.modules |= dict.fromkeys(('torch', 'numpy', 'onnx'))\n"
        f"from pfa_gate.cli import main; sys.exit(main(['inspect', {str(program)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "  images  float32 [batch, 3, height, 9]\n" in done.stdout


def test_tensors_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(
        {"a": torch.zeros(3, 4), "b": torch.zeros(5, dtype=torch.int8), "c": torch.zeros(2, dtype=torch.bfloat16)}, path
    )
    assert main(["inspect", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"weights.safetensors: tensors alone (safetensors), {path.stat().st_size} B"
    assert lines[2:] == [
        "Stored",
        "  19 elements, 57 bytes in all tensors",
        "  float32  1 tensor, 12 elements, 48 bytes",
        "  int8  1 tensor, 5 elements, 5 bytes",
        "  bfloat16  1 tensor, 2 elements, 4 bytes",
        "Zeros",
        "  100.0% of 12 elements in 1 weight of two axes or more",
        "  1:4 along the input channels: a",
        "  2:4 along the input channels: a",
    ]


def test_zeros_and_patterns_are_counted_in_every_form_of_a_file(
    tmp_path: Path, program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a convolution along its channels, of a product of ONNX along its first axis, of whole numbers, of minus 0."""
    layer = nn.Linear(10, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(1.0, 31).reshape(3, 10))
        layer.weight[:, ::2] = -0.0
        layer.weight[0] = 1
    wanted = {"weights": 30, "zeros": 10, "patterns": {"1:4": [2, 9], "2:4": [7, 9], "4:8": [5, 6]}}
    save_file({"weight": layer.weight.detach(), "half": layer.weight.detach().half()}, tmp_path / "net.safetensors")
    assert facts(capsys, tmp_path / "net.safetensors")["zeros"] == {"half": wanted, "weight": wanted}
    assert facts(capsys, program)["zeros"] == {
        "body.weight": {"weights": 108, "zeros": 0, "patterns": {}},
        "head.weight": {"weights": 8, "zeros": 4, "patterns": {"1:4": [0, 2], "2:4": [2, 2]}},
    }
    for write in (linear, eight_bits):
        assert facts(capsys, write(tmp_path / "net.onnx", layer))["zeros"] == {"weight": wanted}
    grouped = torch.zeros(4, 8, 3)
    grouped[:, :4] = 1
    weight = tensor("w", grouped.numpy(), np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=2)
    path = written(tmp_path / "conv.onnx", [node], [weight], {"x": (FLOAT, [1, 16, 9])}, {"y": [1, 4, 7]})
    assert facts(capsys, path)["zeros"] == {
        "w": {"weights": 96, "zeros": 48, "patterns": {"1:4": [12, 24], "2:4": [12, 24], "4:8": [12, 12]}}
    }


def test_an_onnx_file_of_any_tool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    found = facts(capsys, eight_bits(tmp_path / "net.onnx", nn.Linear(6, 3)))
    assert (found["inputs"], found["outputs"]) == ([port("x", "batch", 6)], [port("logits", "batch", 3)])
    assert found["operators"] == {"DequantizeLinear": 2, "Add": 1, "MatMul": 1}
    assert (found["parameters"], found["bytes"]) == (21, 18 + 12 + 3 + 12 + 12)
    assert found["stored"]["int8"] == {"tensors": 2, "elements": 21, "bytes": 21}
    assert found["opset"] == {"ai.onnx": 21}
    fixed = facts(capsys, linear(tmp_path / "fixed.onnx", nn.Linear(6, 3), batch=4))
    assert fixed["inputs"] == [port("x", 4, 6)]


def test_foreign_operators_unnamed_sizes_and_tensors_in_other_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = [helper.make_node("Fancy", ["x", "weight"], ["y"], domain="com.example")]
    inputs = [helper.make_tensor_value_info("x", FLOAT, [None, 2]), helper.make_tensor_value_info("z", FLOAT, None)]
    outputs = [helper.make_tensor_value_info("y", FLOAT, ["n", "2*n"])]
    weight = tensor("weight", np.ones((64, 64)), np.float32)
    model = helper.make_model(
        helper.make_graph(nodes, "net", inputs, outputs, [weight]),
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("com.example", 3)],
        producer_name="a tool\x1b[2J",
    )
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    found = facts(capsys, tmp_path / "net.onnx")
    assert found["inputs"] == [port("x", "?", 2), {"name": "z", "dtype": "float32", "shape": None}]
    assert found["operators"] == {"com.example.Fancy": 1}
    assert (found["parameters"], found["bytes"], found["beside"]) == (4096, 16384, ["net.data"])
    (tmp_path / "net.data").unlink()
    assert main(["inspect", str(tmp_path / "net.onnx")]) == 0
    shown = capsys.readouterr().out
    assert "  written by a tool?[2J\n  operators of ai.onnx 20, com.example 3\n" in shown
    assert "  Tensors of it lie beside it, in net.data.\n" in shown


def test_no_line_is_wider_than_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = "output_of_a_very_long_chain_of_modules." * 5
    nodes = [helper.make_node("Relu" if at % 2 else "Sigmoid", [f"v{at}"], [f"v{at + 1}"]) for at in range(30)]
    nodes += [helper.make_node("Identity", ["v30"], [long])]
    written(tmp_path / "net.onnx", nodes, [], {"v0": (FLOAT, ["batch", 3])}, {long: ["batch", 3]})
    assert main(["inspect", str(tmp_path / "net.onnx")]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def refused(capsys: pytest.CaptureFixture[str], path: Path) -> str:
    assert main(["inspect", str(path)]) == 2
    return capsys.readouterr().err.replace(str(path), "FILE")


def test_packed_weights_are_told_by_their_width(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = Net()
    widths: dict[str, Width] = {"body": 3, "head": "ternary"}
    layers = [
        WeightLayer(name, f"{name}.weight", 0, tuple(net.get_parameter(f"{name}.weight").shape)) for name in widths
    ]
    weights = {
        layer.weight: PackedWeight(
            layer, widths[layer.name], rounded(net.get_parameter(layer.weight), widths[layer.name])
        )
        for layer in layers
    }
    path = tmp_path / "weights.q.safetensors"
    write_few_bits(path, net, weights, "digits")
    found = facts(capsys, path)
    assert found["packed"] == {
        "3": {"tensors": 1, "elements": 108, "bytes": 41 + 16},
        "ternary": {"tensors": 1, "elements": 8, "bytes": 2 + 8},
    }
    assert found["parameters"] == sum(tensor.numel() for tensor in net.state_dict().values())
    assert main(["inspect", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "  3 bits  1 weight of 108 numbers, 57 bytes with scales" in lines
    assert "  ternary  1 weight of 8 numbers, 10 bytes with scales" in lines


NONE = "FILE is no ONNX file, no program of torch.export and no safetensors file: "
NAME = "\n  Name a .onnx, .pt2 or .safetensors file.\n"


def test_other_files_are_refused_with_what_they_are(
    tmp_path: Path, program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file"
    assert refused(capsys, path) == "There is no FILE.\n"
    assert refused(capsys, tmp_path) == "FILE cannot be read: Is a directory.\n"
    none = "its content is none of these"
    broken = "JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
    contents = {b"": none, b"import torch\n": none, b'{"version": 1}': none, bytes([5, *[0] * 7]) + b"{oops": broken}
    for content, why in contents.items():
        path.write_bytes(content)
        assert refused(capsys, path) == f"{NONE}{why}.{NAME}"
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    assert refused(capsys, path) == "FILE is a Git LFS pointer, not the model.\n  Run git lfs pull.\n"
    torch.save(nn.Linear(1, 1).state_dict(), path)
    assert refused(capsys, path) == (f"{NONE}ValueError: it holds a checkpoint or an archive of another kind.{NAME}")
    path.write_bytes(program.read_bytes()[:3000])
    assert refused(capsys, path) == f"{NONE}BadZipFile: File is not a zip file.{NAME}"


def test_nothing_of_an_archive_is_unpickled(tmp_path: Path, program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "evil.pt2"
    with zipfile.ZipFile(program) as clean, zipfile.ZipFile(path, "w") as archive:
        for entry in clean.infolist():
            evil = b"cos\nsystem\n(S'touch pwned'\ntR."
            archive.writestr(entry.filename, evil if "sample_inputs" in entry.filename else clean.read(entry))
    assert main(["inspect", str(path)]) == 0
    assert "logits" in capsys.readouterr().out
    assert not Path("pwned").exists()
