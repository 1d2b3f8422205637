"""The int8 file as plain data: how it was made, and what was measured of it in the runtime that runs it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pfa_gate.budget import Answers, PartSize, QuantizedMeasure
from pfa_gate.record.measured import Scores
from pfa_gate.record.plain_data import LATER
from pfa_gate.record.timing import TimingRecord


@dataclass(frozen=True)
class QuantizedLayer:
    """How much the outputs of a layer suffer from few bits, those of the layers before it included.

    Attributes:
        name: of the layer.
        operator: that the file has for it.
        noise_ratio: signal to quantization noise of its outputs, against those of the float file, in decibels; None
            where both are equal, or one is not finite.
    """

    name: str
    operator: str
    noise_ratio: float | None


@dataclass(frozen=True)
class LayerBits:
    """The width of a layer's weight.

    Attributes:
        name: of the layer.
        width: bits of a number, or `ternary` or `binary`.
        weights: how many numbers.
        bytes: that these and their scales take.
        alone: how far the answers move when it alone has that width, as a measure of `BitsRecord`; None where it was
            not measured, or an answer is ruled out.
        levels: values that a number may have.
    """

    name: str
    width: str
    weights: int
    bytes: int
    alone: float | None = None
    levels: int = 0


@dataclass(frozen=True)
class BitsRecord:
    """The plan of a file of few bits, and how it was rounded.

    Attributes:
        layers: in the order of the model.
        target: bytes that the plan was to keep to; None where every layer has the same width.
        measure: of `alone`, `nearest` and `fed_back`: divergence, in nats, or output error, where the model gives no
            class scores; from the compressed model's answers.
        samples: of the probe, on which they were measured, and nothing was fitted; 0 where they were not.
        nearest: of all layers with the nearest numbers; None where it was not measured.
        fed_back: of all layers rounded one after the other with error feedback; None where that was not done.
        feedback: whether the file has the numbers of error feedback.
        reason: why error feedback was not tried; empty where it was.
    """

    layers: tuple[LayerBits, ...]
    target: int | None
    measure: str
    samples: int
    nearest: float | None
    fed_back: float | None
    feedback: bool
    reason: str = ""

    @property
    def weights(self) -> int:
        """Numbers of all layers."""
        return sum(layer.weights for layer in self.layers)

    @property
    def bits_each(self) -> float:
        """Bits that a number takes on average, with its share of the scales."""
        return 8 * sum(layer.bytes for layer in self.layers) / max(1, self.weights)


@dataclass(frozen=True)
class QuantizedRecord:
    """The int8 file of the compressed model, or the file of fewer bits.

    Attributes:
        sha256: of the file.
        file_bytes: of the file.
        runtime: what it was run in.
        bits: of a weight: 8, fewer, `ternary`, `binary`, or `auto`, where each layer has its own.
        scheme: static, with weights and activations of so many bits; weights, with floating activations; or packed,
            in a file of tensors that no runtime runs.
        reason: why the activations stay floating; empty where they do not.
        samples: of the probe, of which the ranges of the activations were taken; 0 where none were.
        parameters: elements of the weights that it stores.
        bytes: of all tensors that it stores: weights, biases, scales, zero points and constants.
        forecast: what a recipe that had `bytes` for its target expected them to be; None for any other recipe.
        scores: of the full model, and of this file in the place of the compressed model; None without an evaluation.
        answers: of this file against the full model; None where they were not compared.
        floating: layer whose weights stay floating -> why.
        layers: those whose outputs suffer most first.
        compared: samples of the probe on which the outputs of the layers were compared.
        weight_bits: that the values of a weight use: 7 of the 8 cannot saturate.
        timing: how long it takes; None where it was not timed, for the reason `untimed`.
        plan: the width of each layer; None for an int8 file.
    """

    sha256: str
    file_bytes: int
    runtime: str
    bits: int | str
    scheme: Literal["static", "weights", "packed"]
    reason: str
    samples: int
    parameters: int
    bytes: int
    forecast: int | None = None
    scores: Scores | None = None
    answers: Answers | None = None
    floating: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[QuantizedLayer, ...] = ()
    compared: int = 0
    weight_bits: int = 8
    timing: TimingRecord | None = field(default=None, metadata=LATER)
    untimed: str = field(default="", metadata=LATER)
    plan: BitsRecord | None = field(default=None, metadata=LATER)

    @property
    def called(self) -> str:
        """What people call it: int8 file, or file of few bits.

        Example:
            >>> QuantizedRecord("ab", 99, "torch", 4, "packed", "", 64, 9, 18).called
            'file of few bits'
        """
        return "file of few bits" if self.scheme == "packed" else "int8 file"

    @property
    def label(self) -> str:
        """What tables call it.

        Example:
            >>> QuantizedRecord("ab", 99, "torch", 4, "packed", "", 64, 9, 18).label
            'packed'
        """
        return "packed" if self.scheme == "packed" else "int8"

    def measure(self) -> QuantizedMeasure:
        """What budgets are judged on, without the noise of the scores.

        Example:
            >>> QuantizedRecord("ab", 99, "ONNX Runtime", 8, "static", "", 64, 9, 18).measure().size.bytes
            18
        """
        scores = self.scores.measure() if self.scores else None
        time = self.timing.measure() if self.timing else None
        size = PartSize(self.parameters, self.bytes, None)
        return QuantizedMeasure(size, scores, self.answers, time, self.untimed, self.called)
