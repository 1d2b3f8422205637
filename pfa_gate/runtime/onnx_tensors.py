"""What the tensors of an ONNX file take, and which of them are weights. ONNX alone, no torch."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

# Inputs that are no weights: scales and zero points, statistics, and what is given for the shape of an output.
_SCALES = {0: (), 1: (1, 2), 3: (1, 2, 4, 5, 6, 7)}
_NO_WEIGHTS: Mapping[str, Sequence[int]] = {
    "QuantizeLinear": _SCALES[1], "DequantizeLinear": _SCALES[1], "QLinearConv": _SCALES[3],
    "QLinearMatMul": _SCALES[3], "QLinearAdd": _SCALES[3], "QLinearMul": _SCALES[3], "QGemm": (1, 2, 4, 5, 7, 8),
    "ConvInteger": (2, 3), "MatMulInteger": (2, 3), "MatMulIntegerToFloat": (2, 3, 4, 5),
    "DynamicQuantizeMatMul": (2, 3), "MatMulNBits": (2, 3, 4), "QLinearGlobalAveragePool": (1, 2, 3, 4),
    "QLinearAveragePool": (1, 2, 3, 4), "QLinearLeakyRelu": (1, 2, 3, 4), "QLinearSigmoid": (1, 2, 3, 4),
    "QLinearSoftmax": (1, 2, 3, 4), "BatchNormalization": (3, 4), "Resize": (1, 2, 3), "Upsample": (1,),
    "Clip": (1, 2), "Pad": (1, 2, 3), "Dropout": (1, 2), "Pow": (1,), "Range": (0, 1, 2),
}  # fmt: skip
_BITS = {"INT4": 4, "UINT4": 4, "FLOAT4E2M1": 4, "INT2": 2, "UINT2": 2}
_BIASES = {"DequantizeLinear": 0, "QLinearConv": 8, "QGemm": 6, "DynamicQuantizeMatMul": 4}


def stored_tensors(proto: Any) -> tuple[int, int]:
    """Count what an ONNX file stores: elements of its weights, and bytes of all its tensors.

    Weights are tensors that an operator computes with, floating or quantized; not scales, zero points, statistics
    of batch norms, and numbers without an axis.

    Args:
        proto: the file as a ModelProto.
    """
    onnx = importlib.import_module("onnx")
    tensors = dict(tensors_of(proto.graph))
    packed = {name: count for node in nodes_of(proto) for name, count in _packed(node)}
    weights = {name for node in nodes_of(proto) for name in _weights(node, tensors, onnx) if name in tensors}
    parameters = sum(packed.get(name, prod(tensors[name].dims)) for name in weights)
    return parameters, sum(bytes_of(tensor) for tensor in tensors.values())


def nodes_of(proto: Any) -> Iterator[Any]:
    """The operators of a ModelProto, those of its functions and of graphs inside graphs too."""
    graphs = [proto.graph, *proto.functions]
    while graphs:
        for node in graphs.pop().node:
            yield node
            graphs += [
                graph for attribute in node.attribute for graph in (attribute.g, *attribute.graphs) if graph.node
            ]


def tensors_of(graph: Any) -> Iterator[tuple[str, Any]]:
    """The stored tensors of a graph and those inside it: initialisers, and constants."""
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                yield node.output[0], attribute.t
            for inner in (attribute.g, *attribute.graphs):
                yield from tensors_of(inner) if inner.node else ()


def _weights(node: Any, tensors: Mapping[str, Any], onnx: Any) -> Iterator[str]:
    skipped = _NO_WEIGHTS.get(node.op_type, ())
    for place, name in enumerate(node.input):
        tensor = tensors.get(name)
        if tensor is None or place in skipped or not tensor.dims:
            continue
        kind = onnx.TensorProto.DataType.Name(tensor.data_type)
        bias = kind == "INT32" and _BIASES.get(node.op_type) == place
        if kind.startswith(("FLOAT", "DOUBLE", "BFLOAT")) or kind in (*_BITS, "INT8", "UINT8") or bias:
            yield name


def _packed(node: Any) -> Iterator[tuple[str, int]]:
    """Weights several of which lie in one byte, and how many they are."""
    sizes = {attribute.name: attribute.i for attribute in node.attribute}
    if node.op_type == "MatMulNBits":
        yield node.input[1], sizes["K"] * sizes["N"]


def bytes_of(tensor: Any) -> int:
    """Bytes of a tensor by its type and axes, wherever its elements lie."""
    onnx = importlib.import_module("onnx")
    kind = onnx.TensorProto.DataType.Name(tensor.data_type)
    if kind == "STRING":
        return sum(map(len, tensor.string_data))
    bits = _BITS.get(kind) or 8 * int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    elements: int = prod(tensor.dims)
    return -(-elements * bits // 8)
