"""Zeros among the weights of a file, and the patterns N:M that they make along the channels that an operator reads."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pfa_gate.record import ZeroCount

PATTERNS = ("1:4", "2:4", "4:8")
_AXES = {"Conv": 1, "ConvTranspose": 0}
_PRODUCTS = ("Gemm", "MatMul")


def count(nonzero: Any, axis: int) -> ZeroCount:
    """Count the zeros of a weight.

    Args:
        nonzero: bool array of two axes or more.
        axis: along which the channels lie that it reads.

    Example:
        >>> import numpy as np
        >>> count(np.array([[1, 0, 1, 0], [1, 1, 1, 0]]) != 0, 1).patterns
        {'1:4': (0, 2), '2:4': (1, 2)}
    """
    numpy: Any = importlib.import_module("numpy")
    lines = numpy.moveaxis(nonzero, axis, -1).reshape(-1, nonzero.shape[axis])
    patterns = {}
    for pattern in PATTERNS:
        kept, of = map(int, pattern.split(":"))
        if lines.shape[1] >= of:
            padded = numpy.pad(lines, ((0, 0), (0, -lines.shape[1] % of)))
            met = padded.reshape(-1, of).sum(1) <= kept
            patterns[pattern] = (int(met.sum()), int(met.size))
    return ZeroCount(int(nonzero.size), int(nonzero.size - nonzero.sum()), patterns)


def zeros_of_onnx(proto: Any) -> dict[str, ZeroCount]:
    """The zeros of the weights by which an ONNX file convolves and multiplies, those of whole numbers too.

    Args:
        proto: the file as a ModelProto; tensors that lie in other files are left out.
    """
    helper: Any = importlib.import_module("onnx").numpy_helper
    stored = {each.name: each for each in proto.graph.initializer if not each.external_data}
    scaled = {node.output[0]: node for node in proto.graph.node if node.op_type == "DequantizeLinear"}
    found = {}
    for node in proto.graph.node:
        axis = _axis(node)
        name = node.input[1] if axis is not None and len(node.input) > 1 else ""
        integers = scaled.get(name)
        name = integers.input[0] if integers is not None else name
        if axis is None or name not in stored or len(stored[name].dims) < 2:
            continue
        if integers is not None and len(integers.input) > 2 and not _symmetric(helper, stored.get(integers.input[2])):
            continue  # there 0 is another number
        found[name] = count(helper.to_array(stored[name]) != 0, axis % len(stored[name].dims))
    return found


def _axis(node: Any) -> int | None:
    if node.op_type in _PRODUCTS:
        turned = any(each.name == "transB" and each.i for each in node.attribute)
        return -1 if turned else -2
    return _AXES.get(node.op_type)


def _symmetric(helper: Any, zero_point: Any) -> bool:
    return zero_point is not None and not helper.to_array(zero_point).any()


def zeros_of_tensors(tensors: Mapping[str, tuple[str, Sequence[int], bytes]]) -> dict[str, ZeroCount]:
    """The zeros of tensors as torch stores the weights of convolutions and linear layers: channels on the second axis.

    Args:
        tensors: name -> dtype as NumPy spells it, shape, and its bytes; those of fewer than two axes are left out.
    """
    numpy: Any = importlib.import_module("numpy")
    return {name: count(_nonzero(numpy, *tensor), 1) for name, tensor in _matrices(tensors)}


def _matrices(tensors: Mapping[str, tuple[str, Sequence[int], bytes]]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    for name, (dtype, shape, content) in tensors.items():
        elements = 1
        for size in shape:
            elements *= size
        if len(shape) > 1 and elements and len(content) in (elements, 2 * elements, 4 * elements, 8 * elements):
            yield name, (dtype, shape, content)


def _nonzero(numpy: Any, dtype: str, shape: Sequence[int], content: bytes) -> Any:
    """Where the bits of a number are not all 0, the sign of a floating one apart."""
    elements = int(numpy.prod(shape))
    width = len(content) // elements
    bits = numpy.frombuffer(content, f"<u{width}").reshape(shape)
    sign = 0 if dtype.startswith(("int", "uint", "bool")) else 1 << (8 * width - 1)
    return (bits & bits.dtype.type(~sign & ((1 << 8 * width) - 1))) != 0
