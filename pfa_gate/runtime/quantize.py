"""An ONNX file with 8 bits for each number: by ONNX Runtime's quantizer, or for the weights alone where that fails.

Activations are signed and asymmetric, weights signed and symmetric with a scale for each filter. Processors without
VNNI add two products in 16 bits: with all 8 bits of both that saturates, and answers change without a word. So a weight
uses 7 of its 8 bits unless the gate wants all of them.
"""

import importlib
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pfa_gate.errors import CandidateError
from pfa_gate.runtime.session import first_line, onnx_session
from pfa_gate.runtime.weight_nodes import WeightNode, floating_reasons, product_of_activations, weight_nodes

Feed = Mapping[str, npt.NDArray[Any]]
"""Input of a file -> its values, for one call."""
EXCLUDED = "pfa.yaml leaves it out"
ROWS = "_int8"
"""What follows the name of a value where it has not met its scale yet."""
_LARGEST = 127
# With few channels and many samples a scale of 8 bits for these costs more than their parameters weigh.
_STAY_FLOATING = ("BatchNormalization", "InstanceNormalization", "LayerNormalization")
# What no operator with 8 bits reads, scores of classes say, is not rounded: a step of it would be a tie, or a flip.
_GIVE_FLOATING = ("Gemm", "MatMul")
_ELEMENTWISE = ("Add", "Sub", "Mul", "Div")


class NotQuantizedError(Exception):
    """A file that cannot be made; the reason goes into the record."""


@dataclass(frozen=True)
class Int8Model:
    """A file with 8 bits for each weight.

    Attributes:
        content: of the file.
        scheme: static, with activations of 8 bits too; or weights, with floating ones.
        reason: why the activations stay floating; empty where they do not.
        floating: layer whose weights stay floating -> why.
        nodes: the operators with weights of the floating file.
        weight_bits: that the values of a weight use.
    """

    content: bytes = field(repr=False)
    scheme: Literal["static", "weights"]
    reason: str
    floating: Mapping[str, str]
    nodes: tuple[WeightNode, ...]
    weight_bits: int = 8


def quantize(
    content: bytes,
    feeds: Sequence[Feed],
    spares: Callable[[str], bool] = lambda layer: False,
    *,
    reduced: bool = True,
) -> Int8Model:
    """Give each number of an ONNX file 8 bits.

    Args:
        content: of the floating file.
        feeds: calls of it, of which the ranges of the activations are taken.
        spares: whether a layer of this name stays floating.
        reduced: whether weights that meet activations of 8 bits use 7 of theirs.

    Raises:
        NotQuantizedError: neither activations nor weights can be quantized, or what came of it does not run.
    """
    proto = importlib.import_module("onnx").load_from_string(content)
    nodes = weight_nodes(proto)
    spared = {node.layer: EXCLUDED for node in nodes if spares(node.layer)}
    if all(node.layer in spared or not node.known for node in nodes):
        raise NotQuantizedError("no layer of it has a form of 8 bits" if not spared else "quantize.layers leaves none")
    product = product_of_activations(proto)
    reason = f"{product} multiplies activations with one another, as attention does" if product else ""
    made: Any = None
    if not reason:
        excluded = [node.name for node in nodes if node.layer in spared]
        try:
            made = _static(proto, feeds, excluded, reduced)
        except Exception as error:  # whatever the quantizer meets in a user's model
            reason = f"the quantizer does not make it: {first_line(error)}"
    if made is not None:
        _weights_alone(made, nodes, spared)
        try:
            _run(made, feeds)
        except CandidateError as error:
            made, reason = None, f"the quantizer does not make it: {first_line(error)}"
    if made is None:
        made = importlib.import_module("onnx").load_from_string(content)
        _weights_alone(made, weight_nodes(made), spared)
        try:
            _run(made, feeds)
        except CandidateError as error:
            raise NotQuantizedError(error.fact.rstrip(".")) from error
    floating = dict(floating_reasons(nodes, made, spared))
    scheme: Literal["static", "weights"] = "weights" if reason else "static"
    return Int8Model(_bare(made), scheme, reason, floating, tuple(nodes), 7 if reduced and not reason else 8)


def _static(proto: Any, feeds: Sequence[Feed], excluded: Sequence[str], reduced: bool) -> Any:
    """What ONNX Runtime's quantizer makes of a file."""
    onnx, tools = importlib.import_module("onnx"), importlib.import_module("onnxruntime.quantization")
    registry = importlib.import_module("onnxruntime.quantization.registry")
    kinds = sorted({*registry.QLinearOpsRegistry, *registry.QDQRegistry} - set(_STAY_FLOATING))
    with tempfile.TemporaryDirectory(prefix="pfa_gate.") as folder, _in_silence():
        source, target = Path(folder, "float.onnx"), Path(folder, "int8.onnx")
        onnx.save(proto, str(source))
        tools.quantize_static(
            str(source),
            str(target),
            _reader(tools.CalibrationDataReader, feeds),
            quant_format=tools.QuantFormat.QDQ,
            op_types_to_quantize=kinds,
            per_channel=True,
            reduce_range=reduced,
            activation_type=tools.QuantType.QInt8,
            weight_type=tools.QuantType.QInt8,
            nodes_to_exclude=[*excluded, *_with_constants(proto)],
            calibrate_method=tools.CalibrationMethod.MinMax,
            extra_options={"OpTypesToExcludeOutputQuantization": list(_GIVE_FLOATING)},
        )
        made = onnx.load(str(target))
    _require_finite(made)
    return made


def _reader(kind: Any, feeds: Sequence[Feed]) -> Any:
    class Reader(kind):  # type: ignore[misc]  # the quantizer asks for its own class
        def __init__(self) -> None:
            self._left = iter(feeds)

        def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
            feed = next(self._left, None)
            return None if feed is None else dict(feed)

    return Reader()


def _with_constants(proto: Any) -> Iterator[str]:
    """Sums and products with a stored tensor, a bias say: all of it would get one scale."""
    stored = {tensor.name for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type in _ELEMENTWISE and not stored.isdisjoint(node.input):
            yield node.name


@contextmanager
def _in_silence() -> Iterator[None]:
    """Keep the quantizer's advice, which goes to the root of all logs, out of everybody's."""
    root = logging.getLogger()

    def foreign(record: logging.LogRecord) -> bool:
        return "onnxruntime" not in record.pathname

    root.addFilter(foreign)
    try:
        yield
    finally:
        root.removeFilter(foreign)


def _require_finite(proto: Any) -> None:
    numpy_of = importlib.import_module("onnx").numpy_helper.to_array
    for tensor in proto.graph.initializer:
        if tensor.name.endswith("_scale") and not np.isfinite(numpy_of(tensor)).all():
            raise ValueError(f"the range of {tensor.name.removesuffix('_scale')} is not finite")


def _weights_alone(proto: Any, nodes: Sequence[WeightNode], spared: Mapping[str, str]) -> None:
    """Store the weights that are floating still with 8 bits, and multiply each by its scale where it is read."""
    onnx = importlib.import_module("onnx")
    left = {tensor.name: tensor for tensor in proto.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT}
    for node in nodes:
        if node.layer in spared:
            for name in node.weights:
                left.pop(name, None)
    for node in nodes:
        for name in node.weights:
            tensor = left.pop(name, None) if node.known else None
            if tensor is not None:
                whole, scale = rounded(onnx.numpy_helper.to_array(tensor), node.axis)
                fresh = (f"{name}{ROWS}", whole), (f"{name}_scale", scale)
                proto.graph.initializer.remove(tensor)
                proto.graph.initializer.extend(onnx.numpy_helper.from_array(values, each) for each, values in fresh)
                _read_scaled(proto, name, node.axis)


def rounded(values: npt.NDArray[np.float32], axis: int | None) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """The nearest whole numbers up to 127, and the scale by which they are multiplied.

    Args:
        values: of a weight.
        axis: along which each index gets a scale of its own; None for one scale.

    Example:
        >>> whole, scale = rounded(np.array([[1.27, -0.5], [0.0, 0.0]], np.float32), 0)
        >>> whole.tolist(), [f"{each:.3f}" for each in scale]
        ([[127, -50], [0, 0]], ['0.010', '1.000'])
    """
    others = None if axis is None else tuple(place for place in range(values.ndim) if place != axis)
    largest = np.abs(values).max(axis=others, keepdims=axis is not None)
    # Below the normal numbers a scale is rounded to nothing, or to far less than the weights need.
    scale = np.where(largest > 0, np.maximum(largest / _LARGEST, np.finfo(np.float32).tiny), 1.0).astype(np.float32)
    whole = np.clip(np.rint(values / scale), -_LARGEST, _LARGEST).astype(np.int8)
    return whole, scale.reshape(() if axis is None else (-1,))


def _read_scaled(proto: Any, name: str, axis: int | None) -> None:
    """Put a multiplication by the scale before each reader of a weight; rows of a table are taken before it."""
    stored, scale = f"{name}{ROWS}", f"{name}_scale"
    for place in range(len(proto.graph.node) - 1, -1, -1):
        node = proto.graph.node[place]
        if name not in node.input:
            continue
        if node.op_type == "Gather" and node.input[0] == name and axis is None:
            output, rows = node.output[0], f"{node.output[0]}{ROWS}"
            node.input[0], node.output[0] = stored, rows
            proto.graph.node.insert(place + 1, _scaled(rows, scale, output, axis))
            continue
        read = f"{name}_of_{node.name}"
        for at, given in enumerate(node.input):
            node.input[at] = read if given == name else given
        proto.graph.node.insert(place, _scaled(stored, scale, read, axis))


def _scaled(value: str, scale: str, output: str, axis: int | None) -> Any:
    where = {} if axis is None else {"axis": axis}
    make = importlib.import_module("onnx").helper.make_node
    return make("DequantizeLinear", [value, scale], [output], f"{output}_scaled", **where)


def _run(proto: Any, feeds: Sequence[Feed]) -> None:
    session = onnx_session(proto.SerializeToString(), "the int8 file")
    for feed in feeds[:1]:
        try:
            session.run(None, dict(feed))
        except Exception as error:  # the runtime refuses in exceptions of its own
            raise CandidateError(f"ONNX Runtime does not run the int8 file: {first_line(error)}.") from error


def _bare(proto: Any) -> bytes:
    """The file without the exporter's notes and shapes, which weigh a quarter of it and name the user's classes."""
    graph = proto.graph
    for noted in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.initializer):
        noted.ClearField("metadata_props")
        noted.ClearField("doc_string")
    graph.ClearField("value_info")
    content: bytes = proto.SerializeToString(deterministic=True)
    return content
