"""Memory followed through an ONNX file: that of the model it was written from, and what is not followed."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from pfa_gate.artifacts.onnx_model import onnx_content
from pfa_gate.artifacts.program import program_of
from pfa_gate.candidate.load import one_sample
from pfa_gate.errors import DataError
from pfa_gate.graph.live_memory import live_memory
from pfa_gate.graph.watch import LiveMemory
from pfa_gate.model import Batch
from pfa_gate.runtime.onnx_memory import onnx_memory

sys.path.insert(0, str(Path(__file__).parents[1] / "zoo"))

from classics import UNet


def plain() -> nn.Module:
    body = (nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ReLU())
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(4 * 14 * 14, 5))


@pytest.mark.parametrize(("build", "side"), [(plain, 16), (UNet, 32)])
def test_the_file_of_a_model_needs_what_the_model_needs(build: Callable[[], nn.Module], side: int) -> None:
    torch.manual_seed(0)
    model = build().eval()
    example = Batch((torch.randn(2, 3, side, side),), {})
    inputs = (example.args, example.kwargs)
    export = program_of(model, inputs)
    found = onnx_memory(onnx_content(export, model, [inputs]), "model.onnx", one_sample(example))
    want = live_memory(model, example)
    assert (found.bytes, found.samples) == (want.bytes, 1)
    assert [each.bytes for each in found.alive] == [each.bytes for each in want.alive]
    if build is plain:
        assert [step.bytes for step in found.steps] == [step.bytes for step in want.steps]
        assert found.moved == want.moved
        assert [step.layer for step in found.steps] == ["0", "", "2", "", "5"]


def file_of(nodes: list[Any], stored: dict[str, list[float]] | None = None) -> bytes:
    rows = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 25]) for name in ("x", "y")]
    tensors = [helper.make_tensor(name, TensorProto.FLOAT, [len(data)], data) for name, data in (stored or {}).items()]
    graph = helper.make_graph(nodes, "net", rows[:1], rows[1:], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    content: bytes = made.SerializeToString()
    return content


def followed(content: bytes) -> LiveMemory:
    return onnx_memory(content, "net.onnx", one_sample(Batch((torch.zeros(2, 25),), {})))


def steps(found: LiveMemory) -> list[tuple[str, int]]:
    return [(step.operator, step.bytes) for step in found.steps]


def test_views_share_constants_are_apart_and_values_live_to_their_last_reader() -> None:
    node = helper.make_node
    nodes = [
        node("Exp", ["weight"], ["scale"]),  # of weights alone
        node("Relu", ["x"], ["a"]),
        node("Identity", ["a"], ["seen"]),
        node("Mul", ["seen", "scale"], ["b"]),
        node("Add", ["a", "b"], ["c"]),
        node("Exp", ["c"], ["y"]),
    ]
    found = followed(file_of(nodes, {"weight": [1.0] * 25}))
    assert steps(found) == [("Relu", 200), ("Mul", 200), ("Add", 300), ("Exp", 200)]
    assert found.moved == 200 + 200 + 300 + 200
    assert [each.operator for each in found.alive] == ["Relu", "Mul", "Add"]


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        (
            [
                helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
                helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
            ],
            "The memory of the file is not followed: runtimes fuse its operator DynamicQuantizeLinear with others.",
        ),
        (
            [helper.make_node("NoSuchOperator", ["x"], ["y"])],
            "The memory of net.onnx is not followed: ONNX Runtime ",
        ),
    ],
)
def test_what_is_not_followed_is_told(nodes: list[Any], why: str) -> None:
    with pytest.raises(DataError) as told:
        followed(file_of(nodes))
    assert str(told.value).startswith(why)


def test_graphs_within_operators_are_not_followed() -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["out"])], "b", [], [onnx.ValueInfoProto(name="out")]
    )
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["some"], to=TensorProto.BOOL),
        helper.make_node("If", ["some"], ["y"], then_branch=branch, else_branch=branch),
    ]
    with pytest.raises(DataError, match=r"its operator If holds a graph"):
        followed(file_of(nodes))
