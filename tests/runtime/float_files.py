"""Small floating ONNX files, written by hand, with the names that torch's exporter gives."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]
FLOAT = TensorProto.FLOAT


def node(kind: str, reads: str, gives: str, layer: str = "", **settings: Any) -> onnx.NodeProto:
    """An operator; what it reads and gives as words, and the module in whose forward it is called."""
    made = helper.make_node(kind, reads.split(), gives.split(), name=f"node_{gives}".partition(" ")[0], **settings)
    made.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=str(["", layer, gives]))
    return made


def file(
    nodes: Sequence[onnx.NodeProto],
    stored: Mapping[str, Array],
    inputs: Mapping[str, Sequence[int | str]],
    output: Sequence[int | str],
    kind: int = FLOAT,
) -> bytes:
    """A file that gives `output`."""
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info(name, kind, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("output", FLOAT, output)],
        [numpy_helper.from_array(values, name) for name, values in stored.items()],
    )
    model = onnx.shape_inference.infer_shapes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    )
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def drawn(*shape: int, seed: int = 0, spread: float = 1.0) -> Array:
    """Float32 normal numbers."""
    return np.random.default_rng(seed).normal(0, spread, shape).astype(np.float32)


def convolutions() -> bytes:
    """Two convolutions with an activation between them, the mean, and a linear layer."""
    nodes = [
        node("Conv", "x first.weight first.bias", "first", "first", pads=[1, 1, 1, 1]),
        node("Relu", "first", "relu"),
        node("Conv", "relu second.weight second.bias", "second", "second", pads=[1, 1, 1, 1]),
        node("GlobalAveragePool", "second", "pooled"),
        node("Flatten", "pooled", "flat"),
        node("Gemm", "flat head.weight head.bias", "output", "head", transB=1),
    ]
    stored = {
        "first.weight": drawn(8, 3, 3, 3, seed=1),
        "first.bias": drawn(8, seed=2),
        "second.weight": drawn(6, 8, 3, 3, seed=3),
        "second.bias": drawn(6, seed=4),
        "head.weight": drawn(4, 6, seed=5),
        "head.bias": drawn(4, seed=6),
    }
    return file(nodes, stored, {"x": ["batch", 3, 8, 8]}, ["batch", 4])


def attention() -> bytes:
    """A table of tokens, one head of attention, and a linear layer."""
    nodes = [
        node("Gather", "tokens.weight ids", "taken", "tokens"),
        node("MatMul", "taken keys", "key", "attention.key"),
        node("Transpose", "key", "turned", "attention", perm=[0, 2, 1]),
        node("MatMul", "taken turned", "scores", "attention"),
        node("Softmax", "scores", "shares", "attention"),
        node("MatMul", "shares taken", "mixed", "attention"),
        node("ReduceMean", "mixed axes", "mean", keepdims=0),
        node("Gemm", "mean head.weight head.bias", "output", "head", transB=1),
    ]
    stored = {
        "tokens.weight": drawn(20, 8, seed=1),
        "keys": drawn(8, 8, seed=2),
        "axes": np.array([1], np.int64),
        "head.weight": drawn(3, 8, seed=3),
        "head.bias": drawn(3, seed=4),
    }
    return file(nodes, stored, {"ids": ["batch", 5]}, ["batch", 3], TensorProto.INT64)


def recurrent() -> bytes:
    """A linear layer, an LSTM, for which the quantizer has no form, and a product by einsum, which nothing has."""
    nodes = [
        node("Transpose", "x", "turned", perm=[1, 0, 2]),
        node("LSTM", "turned input hidden", "states last", "lstm", hidden_size=4),
        node("Squeeze", "last zero", "squeezed"),
        node("Einsum", "squeezed mixing", "mixed", "mixer", equation="bi,ij->bj"),
        node("Gemm", "mixed head.weight head.bias", "output", "head", transB=1),
    ]
    stored = {
        "input": drawn(1, 16, 6, seed=1),
        "hidden": drawn(1, 16, 4, seed=2),
        "zero": np.array([0], np.int64),
        "mixing": drawn(4, 5, seed=3),
        "head.weight": drawn(3, 5, seed=4),
        "head.bias": drawn(3, seed=5),
    }
    return file(nodes, stored, {"x": ["batch", 7, 6]}, ["batch", 3])


def images(count: int, seed: int = 7) -> Array:
    return drawn(count, 3, 8, 8, seed=seed)


def stored_in(content: bytes) -> dict[str, Array]:
    """All stored tensors by name."""
    return {each.name: numpy_helper.to_array(each) for each in onnx.load_from_string(content).graph.initializer}
