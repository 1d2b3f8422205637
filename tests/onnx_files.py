"""Small ONNX files, written by hand: a linear classifier in float, and the same in eight bits."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn

FLOAT = TensorProto.FLOAT


def tensor(name: str, values: Any, kind: type) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, dtype=kind), name)


def written(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    tensors: Sequence[onnx.TensorProto],
    inputs: dict[str, tuple[int, list[int | str]]],
    outputs: dict[str, list[int | str]],
) -> Path:
    graph = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in outputs.items()], tensors,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def linear(path: Path, layer: nn.Linear, kind: int = FLOAT, batch: int | str = "batch", name: str = "x") -> Path:
    """A linear layer; its input is converted to float where it is of another kind."""
    weight, bias = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    nodes = [
        helper.make_node("Cast", [name], ["given"], to=FLOAT),
        helper.make_node("Gemm", ["given", "weight", "bias"], ["logits"], transB=1),
    ]
    tensors = [tensor("weight", weight, np.float32), tensor("bias", bias, np.float32)]
    inputs: dict[str, tuple[int, list[int | str]]] = {name: (kind, [batch, layer.in_features])}
    return written(path, nodes, tensors, inputs, {"logits": [batch, layer.out_features]})


def eight_bits(path: Path, layer: nn.Linear) -> Path:
    """A linear layer whose weights are whole numbers with one scale a filter, and whose bias is of 32 bits."""
    weight, bias = layer.weight.detach().numpy().T, layer.bias.detach().numpy()
    scale = np.abs(weight).max(axis=0) / 127
    nodes = [
        helper.make_node("DequantizeLinear", ["weight", "scale", "zeros"], ["dense"], axis=1),
        helper.make_node("DequantizeLinear", ["bias", "fine"], ["offset"], axis=0),
        helper.make_node("MatMul", ["x", "dense"], ["product"]),
        helper.make_node("Add", ["product", "offset"], ["logits"]),
    ]
    tensors = [
        tensor("weight", np.rint(weight / scale), np.int8), tensor("scale", scale, np.float32),
        tensor("zeros", np.zeros(len(scale)), np.int8), tensor("bias", np.rint(bias * 2**20), np.int32),
        tensor("fine", np.full(len(scale), 2.0**-20), np.float32),
    ]  # fmt: skip
    features, classes = weight.shape
    return written(path, nodes, tensors, {"x": (FLOAT, ["batch", features])}, {"logits": ["batch", classes]})


FEATURES = 64


def saturating(path: Path, activations: type = np.uint8, weights: type = np.int8) -> Path:
    """Two classes of bytes: the first has the larger sum, unless sums of unsigned by signed bytes overflow.

    With all inputs at 1 a pair of products is 2 x 255 x 127 = 64,770 for the first class and 32,640 for the second;
    sixteen bits hold 32,767. The second class has an offset of 1, which is less than what is lost by that.
    """
    weight = np.repeat([[127, 64]], FEATURES, axis=0)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "fine", "zero"], ["bytes"]),
        helper.make_node("DequantizeLinear", ["bytes", "fine", "zero"], ["given"]),
        helper.make_node("DequantizeLinear", ["weight", "scale", "none"], ["dense"]),
        helper.make_node("MatMul", ["given", "dense"], ["product"]),
        helper.make_node("QuantizeLinear", ["product", "coarse", "zero"], ["rounded"]),
        helper.make_node("DequantizeLinear", ["rounded", "coarse", "zero"], ["sums"]),
        helper.make_node("Add", ["sums", "offset"], ["logits"]),
    ]
    tensors = [
        tensor("fine", 1 / 255, np.float32), tensor("zero", np.iinfo(activations).min, activations),
        tensor("weight", weight, weights), tensor("scale", 0.01, np.float32), tensor("none", 0, weights),
        tensor("coarse", 0.5, np.float32), tensor("offset", [0.0, 1.0], np.float32),
    ]  # fmt: skip
    return written(path, nodes, tensors, {"x": (FLOAT, ["batch", FEATURES])}, {"logits": ["batch", 2]})
