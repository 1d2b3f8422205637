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
class QuantizedRecord:
    """The int8 file of the compressed model.

    Attributes:
        sha256: of the file.
        file_bytes: of the file.
        runtime: what it was run in.
        bits: of a weight.
        scheme: static, with weights and activations of so many bits; or weights, with floating activations.
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
    """

    sha256: str
    file_bytes: int
    runtime: str
    bits: int
    scheme: Literal["static", "weights"]
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

    def measure(self) -> QuantizedMeasure:
        """What budgets are judged on, without the noise of the scores.

        Example:
            >>> QuantizedRecord("ab", 99, "ONNX Runtime", 8, "static", "", 64, 9, 18).measure().size.bytes
            18
        """
        scores = self.scores.measure() if self.scores else None
        time = self.timing.measure() if self.timing else None
        size = PartSize(self.parameters, self.bytes, None)
        return QuantizedMeasure(size, scores, self.answers, time, self.untimed)
