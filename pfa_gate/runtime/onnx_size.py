"""What an ONNX file stores, and the multiply-accumulates of one sample where its operators have a formula."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from pfa_gate.errors import CandidateError
from pfa_gate.graph.cost import Stored
from pfa_gate.runtime.onnx_module import OnnxModel
from pfa_gate.runtime.onnx_tensors import stored_tensors, tensors_of
from pfa_gate.runtime.session import onnx_session

# Operators that multiply, and how many multiplications they make: of the shapes of their inputs and of the output.
Shape = Sequence[int]
Formula = Callable[[Sequence[Shape], Shape], int]


def _convolution(weight: int) -> Formula:
    return lambda inputs, output: prod(output) * prod(inputs[weight][1:])


def _matrix(left: int) -> Formula:
    return lambda inputs, output: prod(output) * inputs[left][-1]


def _transposed(inputs: Sequence[Shape], output: Shape) -> int:
    del output
    return prod(inputs[0]) * prod(inputs[1][1:])


_FORMULAS: Mapping[str, Formula] = {
    "Conv": _convolution(1), "FusedConv": _convolution(1), "ConvInteger": _convolution(1),
    "QLinearConv": _convolution(3), "ConvTranspose": _transposed, "MatMul": _matrix(0), "FusedMatMul": _matrix(0),
    "MatMulInteger": _matrix(0), "MatMulIntegerToFloat": _matrix(0), "DynamicQuantizeMatMul": _matrix(0),
    "MatMulNBits": _matrix(0), "QLinearMatMul": _matrix(0), "Gemm": _matrix(0), "FusedGemm": _matrix(0),
    "QGemm": _matrix(0),
}  # fmt: skip
_STANDARD = ("", "ai.onnx", "ai.onnx.ml")
_NO_FORMULA = frozenset(
    "Attention Einsum LSTM GRU RNN DeformConv If Loop Scan DFT STFT MultiHeadAttention QAttention".split()
)
# Of other domains, those that make no product of matrices.
_PLAIN = frozenset(
    "QLinearAdd QLinearMul QLinearGlobalAveragePool QLinearAveragePool QLinearLeakyRelu QLinearSigmoid QLinearSoftmax "
    "QLinearConcat QuantizeLinear DequantizeLinear Gelu FastGelu BiasGelu QuickGelu LayerNormalization "
    "SkipLayerNormalization SimplifiedLayerNormalization NhwcMaxPool".split()
)


@dataclass(frozen=True)
class OnnxSize:
    """What a file stores and computes.

    Attributes:
        stored: elements of its weights, and bytes of all its tensors.
        macs: of one sample; None where they cannot be counted.
        reason: why not.
    """

    stored: Stored
    macs: int | None
    reason: str = ""


def onnx_stored(proto: Any) -> Stored:
    """Count what an ONNX file stores; see `stored_tensors`.

    Args:
        proto: the file as a ModelProto, its tensors read.
    """
    return Stored(*stored_tensors(proto))


def onnx_size(proto: Any, name: str, run: Callable[[OnnxModel], int]) -> OnnxSize:
    """Count what a file stores and computes; it is run once, as its shapes may follow from the data.

    Args:
        proto: the file as a ModelProto, its tensors read; output entries are added to it.
        name: of the file, for people.
        run: calls the model it is given, and says with how many samples.
    """
    held = onnx_stored(proto)
    try:
        return OnnxSize(held, _macs(proto, name, run))
    except _UncountedError as error:
        return OnnxSize(held, None, str(error))


class _UncountedError(Exception):
    """The multiply-accumulates of a file cannot be counted."""


def _macs(proto: Any, name: str, run: Callable[[OnnxModel], int]) -> int:
    products = [node for node in proto.graph.node if _is_product(node)]
    if proto.functions and any(_is_product(node) for function in proto.functions for node in function.node):
        raise _UncountedError("the file hides products in functions of its own")
    tensors = {key: tuple(tensor.dims) for key, tensor in tensors_of(proto.graph)}
    values = [value for node in products for value in (*node.input, node.output[0]) if value and value not in tensors]
    shapes, samples = _shapes(proto, name, list(dict.fromkeys(values)), run)
    known = {**tensors, **shapes}
    total = sum(_product(node, known) for node in products)
    return total // samples


def _is_product(node: Any) -> bool:
    if node.op_type in _FORMULAS:
        return True
    foreign = node.domain not in _STANDARD and node.op_type not in _PLAIN
    if foreign or node.op_type in _NO_FORMULA:
        raise _UncountedError(f"operator {node.op_type} has no formula")
    return False


def _product(node: Any, shapes: Mapping[str, Shape]) -> int:
    inputs = [shapes.get(value, ()) for value in node.input]
    transposed = {attribute.name: attribute.i for attribute in node.attribute}.get("transA", 0)
    if transposed:
        inputs[0] = (*inputs[0][:-2], inputs[0][-1], inputs[0][-2])
    count: int = _FORMULAS[node.op_type](inputs, shapes[node.output[0]])
    return count


def _shapes(
    proto: Any, name: str, values: Sequence[str], run: Callable[[OnnxModel], int]
) -> tuple[dict[str, Shape], int]:
    """The shapes of some values on a run, and with how many samples it was."""
    onnx = importlib.import_module("onnx")
    known = {each.name for each in (*proto.graph.input, *proto.graph.output)}
    proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(value) for value in values if value not in known)
    inputs = [value for value in values if value in {each.name for each in proto.graph.input}]
    try:
        model = _Shapes(onnx_session(proto.SerializeToString(), name, optimised=False), name)
        samples = run(model)
    except (CandidateError, ValueError) as error:  # a file of over 2 GB cannot be written into memory
        raise _UncountedError(f"its values cannot be read: {error}") from error
    return {**model.found, **{value: model.given[value] for value in inputs}}, model.batch or samples


class _Shapes(OnnxModel):
    """Remembers the shapes of all inputs and outputs of its last part."""

    def __init__(self, session: Any, name: str) -> None:
        super().__init__(session, name)
        self.found: dict[str, Shape] = {}
        self.given: dict[str, Shape] = {}

    def _run(self, feed: Mapping[str, Any]) -> list[Any]:
        values = super()._run(feed)
        self.given = {name: tuple(value.shape) for name, value in feed.items()}
        self.found = {name: tuple(value.shape) for name, value in zip(self._names, values, strict=True)}
        return values
