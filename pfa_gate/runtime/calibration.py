"""The samples that a file is calibrated on, and how much the outputs of its layers suffer from 8 bits on them."""

import importlib
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pfa_gate.model import Batch
from pfa_gate.record import QuantizedLayer
from pfa_gate.runtime.onnx_module import OnnxModel
from pfa_gate.runtime.quantize import ROWS, Feed, Int8Model
from pfa_gate.runtime.session import onnx_session
from pfa_gate.runtime.weight_nodes import WeightNode

MOST_COMPARED = 32
"""Samples on which layers are compared: their outputs are held in memory, those of a few samples at a time."""
_AT_ONCE = 4
_SCALED = "_DequantizeLinear_Output"
_LAST = "_QuantizeLinear_Input"  # of an output of the file, which keeps its name behind its scale


def feeds_of(model: OnnxModel, batches: Iterable[Batch], samples: int) -> Iterator[Feed]:
    """The first samples as a file is called with them.

    Args:
        model: the file.
        batches: with the samples.
        samples: how many at most.

    Raises:
        CandidateError: they do not fit the file's inputs.
    """
    left = samples
    for batch in batches:
        if left <= 0:
            return
        few = batch.take(slice(left)) if batch.size > left else batch
        left -= few.size
        yield from model.feeds(few)


def in_small_parts(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The same samples in batches of four."""
    for batch in batches:
        for start in range(0, batch.size, _AT_ONCE):
            yield batch.take(slice(start, start + _AT_ONCE))


def suffering(content: bytes, made: Int8Model, feeds: Iterable[Feed]) -> tuple[QuantizedLayer, ...]:
    """Signal to quantization noise of the outputs of each layer, in decibels, the worst first.

    Both files run without optimisations, so that each output is there to be read. The noise of a layer holds that of
    the layers before it.

    Args:
        content: of the floating file.
        made: the file with 8 bits.
        feeds: calls of both.

    Raises:
        CandidateError: one of the files does not run with its inner values as outputs.
    """
    load = importlib.import_module("onnx").load_from_string
    full, small = load(content), load(made.content)
    pairs = list(_pairs(full, small, made.nodes))
    floating = onnx_session(_showing(full, [pair[1] for pair in pairs]), "the floating file", optimised=False)
    quantized = onnx_session(_showing(small, [pair[2] for pair in pairs]), "the int8 file", optimised=False)
    signal, noise = np.zeros(len(pairs)), np.zeros(len(pairs))
    for feed in feeds:
        wanted = floating.run([pair[1] for pair in pairs], dict(feed))
        found = quantized.run([pair[2] for pair in pairs], dict(feed))
        for place, (one, other) in enumerate(zip(wanted, found, strict=True)):
            signal[place] += _power(one)
            noise[place] += _power(one.astype(np.float64) - other)
    rows = [
        QuantizedLayer(node.layer, node.operator, _decibels(float(signal[place]), float(noise[place])))
        for place, (node, _, _) in enumerate(pairs)
    ]
    return tuple(sorted(rows, key=lambda row: (row.noise_ratio is None, row.noise_ratio or 0.0, row.name)))


def _power(values: npt.NDArray[Any]) -> float:
    return float(np.square(values.astype(np.float64)).sum())


def _decibels(signal: float, noise: float) -> float | None:
    """Ten times the logarithm of signal over noise; None where one of them is nothing, or not finite.

    Example:
        >>> _decibels(100.0, 1.0), _decibels(1.0, 0.0)
        (20.0, None)
    """
    if not (signal > 0 and noise > 0 and math.isfinite(signal / noise)):
        return None
    return 10 * math.log10(signal / noise)


def _pairs(full: Any, small: Any, nodes: Sequence[WeightNode]) -> Iterator[tuple[WeightNode, str, str]]:
    """Each operator with its output in the floating and in the int8 file, there as the next operator reads it.

    The quantizer drops an activation that clips: the operator before it then gives the activation's output, which the
    zero point clips.
    """
    before = {name for node in full.graph.node for name in node.output}
    after = {name for node in small.graph.node for name in node.output}
    outputs = {node.name: node.output[0] for node in small.graph.node}
    for node in nodes:
        given = outputs.get(node.name, "").removesuffix(ROWS).removesuffix(_LAST)
        if given in before:
            scaled = f"{given}{_SCALED}"
            yield node, given, scaled if scaled in after else given


def _showing(proto: Any, names: Sequence[str]) -> bytes:
    """The file with these values as outputs too."""
    onnx = importlib.import_module("onnx")
    known = {each.name for each in proto.graph.output}
    proto.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in known)
    content: bytes = proto.SerializeToString()
    return content
