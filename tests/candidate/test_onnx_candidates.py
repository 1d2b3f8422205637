"""An ONNX file as a candidate: it is called like the full model, and what it stores and computes is counted by hand."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnx_files import FLOAT, eight_bits, linear, tensor, written
from torch import Tensor, nn

from pfa_gate.candidate import Candidate, load_candidate
from pfa_gate.config.candidate import CandidateConfig
from pfa_gate.config.paths import external_files
from pfa_gate.errors import CandidateError
from pfa_gate.model import Batch

EXAMPLE = Batch((torch.randn(2, 6, generator=torch.Generator().manual_seed(0)),), {})


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(6, 3).eval()


def loaded(path: Path, example: Batch = EXAMPLE, full: nn.Module | None = None) -> Candidate:
    config = CandidateConfig.model_validate({"onnx": path.name})
    return load_candidate(config, path.parent, example, full)


def refused(path: Path, example: Batch = EXAMPLE) -> str:
    with pytest.raises(CandidateError) as error:
        loaded(path, example)
    return str(error.value)


def test_it_gives_what_the_layer_gives_and_says_which_file_it_is(tmp_path: Path, layer: nn.Linear) -> None:
    path = linear(tmp_path / "net.onnx", layer)
    found = loaded(path)
    torch.testing.assert_close(found.model(EXAMPLE.args[0]), layer(EXAMPLE.args[0]), rtol=1e-6, atol=1e-6)
    assert (found.stored.parameters, found.stored.bytes, found.macs) == (21, 84, 18)
    assert found.origin.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (found.origin.form, found.origin.file_bytes) == ("onnx", path.stat().st_size)
    assert found.remarks == ()


def test_whole_numbers_are_weights_and_their_scales_are_not(tmp_path: Path, layer: nn.Linear) -> None:
    found = loaded(eight_bits(tmp_path / "net.onnx", layer))
    # 18 weights of one byte, three scales, three zero points, three biases of four bytes, and their three scales.
    assert (found.stored.parameters, found.stored.bytes, found.macs) == (21, 18 + 12 + 3 + 12 + 12, 18)
    with torch.no_grad():
        assert float((found.model(EXAMPLE.args[0]) - layer(EXAMPLE.args[0])).abs().max()) < 0.02


def test_statistics_of_a_batch_norm_and_scalars_are_no_weights(tmp_path: Path) -> None:
    weight = np.ones((4, 2, 3, 3))
    nodes = [
        helper.make_node("Conv", ["x", "weight"], ["made"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("BatchNormalization", ["made", "gamma", "beta", "mean", "var"], ["normal"]),
        helper.make_node("Mul", ["normal", "half"], ["y"]),
    ]
    four = ("gamma", "beta", "mean", "var")
    tensors = [tensor("weight", weight, np.float32), *(tensor(name, np.ones(4), np.float32) for name in four)]
    tensors.append(tensor("half", 0.5, np.float32))
    shape: list[int | str] = ["n", 2, 8, 8]
    path = written(tmp_path / "net.onnx", nodes, tensors, {"x": (FLOAT, shape)}, {"y": ["n", 4, 4, 4]})
    found = loaded(path, Batch((torch.zeros(2, 2, 8, 8),), {}))
    assert (found.stored.parameters, found.stored.bytes) == (72 + 8, 4 * (72 + 16 + 1))
    assert found.macs == 4 * 4 * 4 * 2 * 9


def test_an_operator_without_a_formula_leaves_the_macs_unknown(tmp_path: Path) -> None:
    nodes = [helper.make_node("Einsum", ["x", "weight"], ["y"], equation="ni,oi->no")]
    path = written(
        tmp_path / "net.onnx", nodes, [tensor("weight", np.ones((3, 6)), np.float32)],
        {"x": (FLOAT, ["n", 6])}, {"y": ["n", 3]},
    )  # fmt: skip
    found = loaded(path)
    assert (found.macs, found.uncounted) == (None, "operator Einsum has no formula")
    assert found.stored.parameters == 18


def test_inputs_go_by_name_where_the_data_has_names(tmp_path: Path) -> None:
    nodes = [helper.make_node("Sub", ["second", "first"], ["y"])]
    ports: dict[str, tuple[int, list[int | str]]] = {"second": (FLOAT, ["n", 2]), "first": (FLOAT, ["n", 2])}
    path = written(tmp_path / "net.onnx", nodes, [], ports, {"y": ["n", 2]})
    one, two = torch.ones(3, 2), torch.full((3, 2), 5.0)
    named = Batch((), {"first": one, "second": two})
    by_name = loaded(path, named)
    assert by_name.model(**named.kwargs)[0].unique().tolist() == [4.0]
    assert loaded(path, Batch((one, two), {})).model(one, two).unique().tolist() == [-4.0]
    more = loaded(path, Batch((), {**named.kwargs, "mask": one}))
    assert more.remarks == ("it has no input 'mask', which the data gives",)
    assert "it has no input named 'third'.\n" in refused(path, Batch((), {"first": one, "third": two}))


def test_a_fixed_number_of_samples_is_met_in_parts(tmp_path: Path, layer: nn.Linear) -> None:
    found = loaded(linear(tmp_path / "net.onnx", layer, batch=4))
    inputs = torch.randn(10, 6)
    torch.testing.assert_close(found.model(inputs), layer(inputs), rtol=1e-5, atol=1e-6)
    assert found.macs == 18
    assert found.remarks == ("the file runs on 4 samples at a time",)


def test_numbers_are_converted_within_their_kind_and_it_is_said(tmp_path: Path, layer: nn.Linear) -> None:
    found = loaded(linear(tmp_path / "net.onnx", layer, TensorProto.FLOAT16))
    assert found.remarks == ("its input 'x' is float16, to which float32 was converted",)
    whole = Batch((torch.tensor([[2**40] * 6] * 2),), {})
    said = refused(linear(tmp_path / "whole.onnx", layer, TensorProto.INT32), whole)
    assert "numbers of it are too large for 'x' int32 [any, 6].\n" in said


@pytest.mark.parametrize(
    ("kind", "given", "said"),
    [
        (
            FLOAT,
            torch.zeros(2, 7),
            "The data gives float32 [2, 7], which does not fit the inputs of net.onnx: it takes 'x' float32 [any, 6].\n"
            "  Its inputs are 'x' float32 [any, 6]. Export it with the inputs of the full model.",
        ),
        (
            TensorProto.UINT8,
            torch.zeros(2, 6),
            "The data gives float32 [2, 6], which does not fit the inputs of net.onnx: it takes 'x' uint8 [any, 6].\n"
            "  Its inputs are 'x' uint8 [any, 6]. Export it with the inputs of the full model.",
        ),
    ],
)
def test_data_that_does_not_fit_is_shown_beside_what_fits(
    tmp_path: Path, layer: nn.Linear, kind: int, given: Tensor, said: str
) -> None:
    assert refused(linear(tmp_path / "net.onnx", layer, kind), Batch((given,), {})) == said


def test_more_inputs_than_the_data_has(tmp_path: Path, layer: nn.Linear) -> None:
    two = Batch((torch.zeros(2, 6), torch.zeros(2, 1)), {})
    said = refused(linear(tmp_path / "net.onnx", layer), two)
    assert said.startswith(
        "The data gives float32 [2, 6], float32 [2, 1], which does not fit the inputs of net.onnx: it has 1 of them.\n"
    )


class Answer(nn.Module):
    """Gives its scores under a name."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"scores": self.layer(x)}


def test_outputs_have_the_structure_of_the_full_models(tmp_path: Path, layer: nn.Linear) -> None:
    found = loaded(linear(tmp_path / "net.onnx", layer), full=Answer(layer))
    assert list(found.model(EXAMPLE.args[0])) == ["scores"]


def test_tensors_in_another_file_are_counted_and_hashed(tmp_path: Path, layer: nn.Linear) -> None:
    whole: Any = onnx.load(str(linear(tmp_path / "whole.onnx", layer)))
    path, other = tmp_path / "net.onnx", tmp_path / "net.weights"
    onnx.save(whole, str(path), save_as_external_data=True, location=other.name, size_threshold=0)
    assert external_files(path) == (other,)
    assert external_files(tmp_path / "whole.onnx") == ()
    found = loaded(path)
    assert (found.stored.parameters, found.stored.bytes) == (21, 84)
    assert found.origin.sha256 == hashlib.sha256(path.read_bytes() + other.read_bytes()).hexdigest()


def test_files_that_are_no_model(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"no model")
    assert " does not take net.onnx: InvalidProtobuf: " in refused(tmp_path / "net.onnx")
    (tmp_path / "net.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert refused(tmp_path / "net.onnx") == "net.onnx is a Git LFS pointer, not the model.\n  Run git lfs pull."
    assert refused(tmp_path / "gone.onnx") == (
        "There is no candidate gone.onnx.\n  Relative paths start at the folder of pfa.yaml."
    )
