"""weights.q.safetensors: read by a reader of its own as docs/quantization.md says, bit for bit; its bytes; refusals."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import nn

from pfa_gate.artifacts.few_bits_file import (
    HEAD,
    PackedWeight,
    floating_bytes,
    put_into,
    read_few_bits,
    write_few_bits,
)
from pfa_gate.artifacts.recipe import RecipeFile
from pfa_gate.compress.quantize import WIDTHS, WeightLayer, Width, rounded
from pfa_gate.errors import ArtifactError

READER = '''
"""The layout of docs/quantization.md with the standard library and NumPy alone."""
import json, sys
import numpy as np

content = open(sys.argv[1], "rb").read()
length = int.from_bytes(content[:8], "little")
header = json.loads(content[8 : 8 + length])
head = json.loads(header.pop("__metadata__")["pfa_gate.few_bits"])
kinds = {"U8": "u1", "F32": "<f4", "I64": "<i8"}

def tensor(name):
    entry = header[name]
    start, end = entry["data_offsets"]
    return np.frombuffer(content[8 + length + start : 8 + length + end], kinds[entry["dtype"]]).reshape(entry["shape"])

found = {}
for name, entry in head["weights"].items():
    shape, axis, width = entry["shape"], entry["axis"], entry["width"]
    count = int(np.prod(shape))
    packed = tensor(name + ".numbers")
    if width == "ternary":
        places = [int(byte) // 3**place % 3 for byte in packed for place in range(5)][:count]
    else:
        bits = 1 if width == "binary" else int(width)
        whole = int.from_bytes(packed.tobytes(), "little")
        places = [whole >> (bits * number) & (2**bits - 1) for number in range(count)]
    numbers = np.array(places) * entry["step"] + entry["start"]
    filters_first = [shape[axis], *shape[:axis], *shape[axis + 1 :]]
    scale = tensor(name + ".scale").reshape(-1, *[1] * (len(shape) - 1))
    weight = numbers.reshape(filters_first).astype(np.float32) * scale
    found[name] = np.moveaxis(weight, 0, axis)
np.savez(sys.argv[2], **found)
'''


def _net() -> nn.Module:
    torch.manual_seed(0)
    images = (nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ConvTranspose2d(8, 5, 2))
    return nn.Sequential(*images, nn.Flatten(), nn.Linear(9, 11), nn.Linear(11, 4)).eval()


def _layer(net: nn.Module, name: str, axis: int = 0) -> WeightLayer:
    return WeightLayer(name, f"{name}.weight", axis, tuple(net.get_parameter(f"{name}.weight").shape))


def _written(net: nn.Module, path: Path, widths: dict[str, Width]) -> dict[str, PackedWeight]:
    weights = {}
    for name, width in widths.items():
        layer = _layer(net, name, 1 if name == "2" else 0)
        weights[layer.weight] = PackedWeight(layer, width, rounded(net.get_parameter(layer.weight), width, layer.axis))
    write_few_bits(path, net, weights, "digits")
    return weights


@pytest.fixture(scope="module")
def widths() -> dict[str, Width]:
    return {"0": 3, "2": "ternary", "4": "binary", "5": 6}


def test_a_reader_of_its_own_finds_the_weights_bit_for_bit(tmp_path: Path, widths: dict[str, Width]) -> None:
    net, path = _net(), tmp_path / "weights.q.safetensors"
    weights = _written(net, path, widths)
    script = [sys.executable, "-c", READER, str(path), str(tmp_path / "found.npz")]
    subprocess.run(script, check=True)
    found, own = dict(np.load(tmp_path / "found.npz")), read_few_bits(path)
    assert found.keys() == weights.keys() == own.widths.keys()
    for name, weight in found.items():
        assert (
            weight.tobytes()
            == own.tensors[name].numpy().tobytes()
            == weights[name].weight(torch.float32).numpy().tobytes()
        )


@pytest.mark.parametrize("width", WIDTHS)
def test_the_bytes_are_those_of_the_tensors_and_were_known_beforehand(tmp_path: Path, width: Width) -> None:
    net, path = _net(), tmp_path / "weights.q.safetensors"
    _written(net, path, dict.fromkeys(("0", "4", "5"), width))
    layers = [_layer(net, name) for name in ("0", "4", "5")]
    held = floating_bytes(net, {layer.weight for layer in layers})
    tensors = load_file(path)
    assert read_few_bits(path).bytes == sum(tensor.nbytes for tensor in tensors.values())
    assert read_few_bits(path).bytes == held + sum(layer.bytes(width) for layer in layers)


def test_the_same_model_gives_the_same_bytes(tmp_path: Path, widths: dict[str, Width]) -> None:
    for name in ("one", "two"):
        _written(_net(), tmp_path / name, widths)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_of_other_types_come_back_in_them(tmp_path: Path, dtype: torch.dtype) -> None:
    net = _net().to(dtype)
    weights = _written(net, tmp_path / "file", {"4": 4})
    found = read_few_bits(tmp_path / "file")
    assert {tensor.dtype for name, tensor in found.tensors.items() if "num_batches" not in name} == {dtype}
    assert torch.equal(found.tensors["4.weight"], weights["4.weight"].weight(dtype))


def test_a_weight_with_two_names_is_stored_once_and_fills_both(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(6, 4), nn.Linear(4, 6, bias=False)
            self.head.weight = self.table.weight

    net = Tied()
    _written(net, tmp_path / "file", {"table": 4})
    assert sorted(load_file(tmp_path / "file")) == ["table.weight.numbers", "table.weight.scale"]
    again = Tied()
    put_into(again, read_few_bits(tmp_path / "file"))
    assert torch.equal(again.head.weight, read_few_bits(tmp_path / "file").tensors["table.weight"])


@pytest.mark.parametrize(("change", "fault"), [
    (lambda head, tensors: head.update(version=2), "its version is 2, not 1"),
    (lambda head, tensors: tensors.pop("4.weight.scale"), "'4.weight.scale'"),
    (lambda head, tensors: head["weights"]["4.weight"].update(levels=3), "a number is place 7 of 3"),
    (lambda head, tensors: head["weights"]["4.weight"].update(shape=[11, 8]), "38 bytes for 88 numbers of width 3"),
])  # fmt: skip
def test_a_file_that_is_not_as_it_was_written_is_refused(tmp_path: Path, change: object, fault: str) -> None:
    path = tmp_path / "weights.q.safetensors"
    _written(_net(), path, {"4": 3})
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    head, tensors = json.loads(header["__metadata__"][HEAD]), dict(load_file(path))
    change(head, tensors)  # type: ignore[operator]
    save_file(tensors, path, {HEAD: json.dumps(head)})
    with pytest.raises(ArtifactError) as error:
        read_few_bits(path)
    assert str(error.value) == f"{path} is no file of few bits: {fault}.\n  Run the gate again."


def test_a_file_that_is_not_there_is_said() -> None:
    with pytest.raises(ArtifactError, match="is no file of few bits"):
        read_few_bits(Path("no/weights.q.safetensors"))


@pytest.mark.parametrize(("other", "fault"), [
    (lambda: nn.Sequential(nn.Linear(4, 3), nn.Linear(5, 2)), "1.weight is [2, 3] in the file and [2, 5] in the model"),
    (lambda: nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2), nn.Linear(2, 1)), "the file has no 2.weight"),
    (lambda: nn.Sequential(nn.Linear(4, 3)), "the model has no 1.bias"),
])  # fmt: skip
def test_a_model_of_other_tensors_is_refused(tmp_path: Path, other: Callable[[], nn.Module], fault: str) -> None:
    _written(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)), tmp_path / "file", {"1": 3})
    with pytest.raises(RuntimeError) as error:
        put_into(other(), read_few_bits(tmp_path / "file"))
    assert str(error.value) == fault


def test_a_gate_without_such_a_file_is_told_what_to_write() -> None:
    with pytest.raises(ArtifactError) as error:
        RecipeFile(Path("digits"), "module", {}, {}).file("weights.q.safetensors")
    assert str(error.value) == (
        "digits has no weights.q.safetensors.\n"
        "  Write quantize, such as {bits: 4}, in pfa.yaml; if it is, record.json says why under 'unmeasured'."
    )
