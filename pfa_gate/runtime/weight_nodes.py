"""The operators of an ONNX file that hold weights, each with the layer of the model that it comes from."""

import ast
import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_FILTERS = {"Conv": 0, "ConvTranspose": 1, "LSTM": 1, "GRU": 1, "RNN": 1}
_PLACES = {"Gather": (0,), "LSTM": (1, 2), "GRU": (1, 2), "RNN": (1, 2)}
_PRODUCTS = ("MatMul", "Attention", "MultiHeadAttention")
_FLOATING = ("FLOAT", "FLOAT16", "DOUBLE", "BFLOAT16")
_SCOPES = "pkg.torch.onnx.name_scopes"


@dataclass(frozen=True)
class WeightNode:
    """An operator with a weight.

    Attributes:
        layer: name of the module that it comes from; that of its weight where that is not known.
        name: of the operator, alone in its file.
        operator: its type.
        weights: names of the stored tensors that it multiplies by.
        axis: of these along which the filters lie; None where one scale has to do for all of them.
        output: what it gives.
    """

    layer: str
    name: str
    operator: str
    weights: tuple[str, ...]
    axis: int | None
    output: str

    @property
    def known(self) -> bool:
        """Whether it has a form with 8 bits: it multiplies by its weight, or takes rows of it."""
        return self.operator in _FILTERS or self.operator in ("Gemm", "MatMul", "Gather")


def weight_nodes(proto: Any) -> list[WeightNode]:
    """The operators with weights, in their order.

    Args:
        proto: the file as a ModelProto; an operator without a name gets one.
    """
    stored = {tensor.name: tensor for tensor in proto.graph.initializer if _is_weight(tensor)}
    found = []
    for place, node in enumerate(proto.graph.node):
        node.name = node.name or f"{node.op_type}_{place}"
        weights = tuple(name for at, name in enumerate(node.input) if name in stored and _multiplies(node, at))
        if weights:
            layer = _layer(node, weights[0])
            axis = _axis(node, stored[weights[0]])
            found.append(WeightNode(layer, node.name, node.op_type, weights, axis, node.output[0]))
    return found


def product_of_activations(proto: Any) -> str:
    """The layer of the first operator that multiplies activations with one another, as attention does; empty for none.

    Args:
        proto: the file as a ModelProto.
    """
    constant = {tensor.name for tensor in proto.graph.initializer}
    constant |= {name for node in proto.graph.node if node.op_type == "Constant" for name in node.output}
    for node in proto.graph.node:
        if node.op_type in _PRODUCTS and sum(name not in constant for name in node.input[:2]) > 1:
            return _scope(node) or node.name or node.op_type
    return ""


def _is_weight(tensor: Any) -> bool:
    kinds = importlib.import_module("onnx").TensorProto.DataType
    return len(tensor.dims) > 1 and kinds.Name(tensor.data_type) in _FLOATING


def _multiplies(node: Any, at: int) -> bool:
    return at in _PLACES.get(node.op_type, (at,))


def _axis(node: Any, weight: Any) -> int | None:
    if node.op_type == "Gemm":
        turned = any(each.name == "transB" and each.i for each in node.attribute)
        return 0 if turned else 1
    if node.op_type == "MatMul":
        return 1 if len(weight.dims) == 2 and node.input[1] == weight.name else None
    return _FILTERS.get(node.op_type)


def _layer(node: Any, weight: str) -> str:
    owner, _, last = weight.rpartition(".")
    return owner if owner and last == "weight" else _scope(node) or weight


def _scope(node: Any) -> str:
    """The module in whose forward an operator was called, as the exporter notes it."""
    notes = {each.key: each.value for each in node.metadata_props}
    try:
        scopes = ast.literal_eval(notes.get(_SCOPES, "[]"))
    except (SyntaxError, ValueError):
        return ""
    return str(scopes[-2]) if isinstance(scopes, list) and len(scopes) > 1 else ""


def floating_reasons(nodes: Sequence[WeightNode], proto: Any, spared: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The layers whose weights a file stores as floating numbers, and why.

    Args:
        nodes: with weights, in the file that was quantized.
        proto: the file that came of it.
        spared: layer -> why it was to stay floating.
    """
    left = {tensor.name for tensor in proto.graph.initializer if _is_weight(tensor)}
    for node in nodes:
        if not left.isdisjoint(node.weights):
            yield node.layer, spared.get(node.layer) or f"{node.operator} has no form of 8 bits"
