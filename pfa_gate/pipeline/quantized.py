"""The int8 file of the compressed model: made, checked, and measured as ONNX Runtime runs it."""

import hashlib
import importlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from pfa_gate.analysis.layer_patterns import any_matches, names_of, require_matched
from pfa_gate.artifacts.folders import written_to
from pfa_gate.budget import Answers, QuantizedMeasure
from pfa_gate.errors import CandidateError
from pfa_gate.model.evaluation import Score
from pfa_gate.model.torch_module import forward
from pfa_gate.pipeline.answers import compare_answers
from pfa_gate.pipeline.cut import Cut
from pfa_gate.pipeline.job import GateJob
from pfa_gate.pipeline.measure_and_cut import score_both, scores_record
from pfa_gate.record import QuantizedLayer, QuantizedRecord
from pfa_gate.report.ownership import INT8
from pfa_gate.runtime.calibration import MOST_COMPARED, feeds_of, in_small_parts, suffering
from pfa_gate.runtime.onnx_module import OnnxModel
from pfa_gate.runtime.onnx_size import onnx_stored
from pfa_gate.runtime.quantize import Int8Model, NotQuantizedError, quantize
from pfa_gate.runtime.session import onnx_session, runtime_version


@dataclass(frozen=True)
class QuantizedFindings:
    """What became of the int8 file.

    Attributes:
        record: of the file; None where there is none.
        reason: why not.
        samples: of the evaluation, on which it was scored.
    """

    record: QuantizedRecord | None
    reason: str = ""
    samples: int = 0

    def measure(self) -> QuantizedMeasure | None:
        """What the budgets are judged on."""
        if self.record is None:
            return None
        found, scores = self.record.measure(), self.record.scores
        if scores is None or found.scores is None:
            return found
        return replace(found, scores=replace(found.scores, samples=self.samples, interval=scores.interval))


def quantized(cut: Cut, floating: bytes | None, why_not: str, places: tuple[Path, Path]) -> QuantizedFindings:
    """Make the int8 file of a compressed model, and measure it.

    Args:
        cut: the compressed model.
        floating: content of its ONNX file; None where it has none.
        why_not: why it has none.
        places: the gate's new folder, and the one whose place it takes.

    Raises:
        LayerPatternError: a pattern of `quantize.layers` matches no layer of the file.
        ArtifactError: the disk is full.
    """
    job = cut.job
    if floating is None:
        return QuantizedFindings(None, f"The compressed model has no ONNX form: {why_not}.")
    try:
        with job.stages.stage("quantizing", "quantize"):
            made, samples = int8_of(job, floating)
        fresh, folder = places
        with written_to(folder):
            (fresh / INT8).write_bytes(made.content)
        return _measured(cut, floating, made, samples)
    except (NotQuantizedError, CandidateError) as error:
        fact = error.fact if isinstance(error, CandidateError) else f"The int8 file cannot be made: {error}."
        return QuantizedFindings(None, fact)


def int8_of(job: GateJob, floating: bytes, most: int | None = None) -> tuple[Int8Model, int]:
    """The int8 file of a floating one, and how many samples it was calibrated on.

    Args:
        job: the gate.
        floating: content of the floating file.
        most: samples at most; as many as pfa.yaml says unless given.

    Raises:
        NotQuantizedError: it cannot be made.
        CandidateError: the samples do not fit the file.
        LayerPatternError: a pattern of `quantize.layers` matches no layer of the file.
    """
    config = job.config.quantize
    if config is None:
        raise TypeError("The gate has no section quantize.")
    model, probe = _as_model(job, floating, "model.onnx"), job.subject.probe
    samples = min(config.samples if most is None else most, probe.samples)
    patterns = config.layers.exclude
    feeds = list(feeds_of(model, probe, samples))
    named = partial(names_of, full=job.subject.model)
    made = quantize(floating, feeds, lambda layer: any_matches(named(layer), patterns), reduced=config.reduce_range)
    every = {name for node in made.nodes for name in named(node.layer)}
    require_matched(patterns, sorted(every), "quantize.layers.exclude")
    return made, samples


def _as_model(job: GateJob, content: bytes, name: str) -> OnnxModel:
    """The file called like the full model, with outputs in the structure of the full model's."""
    model = OnnxModel(onnx_session(content, name), name)
    model.answer_as(forward(job.subject.model, job.subject.example))
    return model


def _measured(cut: Cut, floating: bytes, made: Int8Model, samples: int) -> QuantizedFindings:
    job = cut.job
    model = _as_model(job, made.content, INT8)
    scores = score_both(job, model, full=cut.scores[0] if cut.scores else None)
    answers = compare_answers(job, model, scores)
    with job.stages.stage("comparing layers", "quantize"):
        layers, compared = _layers(job, floating, made)
    forecast = cut.plan.forecast if cut.factorized is None else None  # the recipe's, before layers were put in two
    record = _record(made, samples, answers, forecast)
    full, small = scores or (None, None)
    record = replace(record, layers=layers, compared=compared, scores=scores_record(job.config, full, small))
    return QuantizedFindings(record, samples=full.samples if isinstance(full, Score) else 0)


def _record(made: Int8Model, samples: int, answers: Answers | None, forecast: int | None) -> QuantizedRecord:
    size = onnx_stored(importlib.import_module("onnx").load_from_string(made.content))
    return QuantizedRecord(
        sha256=hashlib.sha256(made.content).hexdigest(),
        file_bytes=len(made.content),
        runtime=runtime_version(),
        bits=8,
        scheme=made.scheme,
        reason=made.reason,
        samples=samples if made.scheme == "static" else 0,
        parameters=size.parameters,
        bytes=size.bytes,
        answers=answers,
        weight_bits=made.weight_bits,
        floating=dict(sorted(made.floating.items())),
        forecast=forecast,
    )


def _layers(job: GateJob, floating: bytes, made: Int8Model) -> tuple[tuple[QuantizedLayer, ...], int]:
    """How much the outputs of each layer suffer, and on how many samples."""
    probe = job.subject.probe
    samples = min(MOST_COMPARED, probe.samples)
    model = _as_model(job, floating, "model.onnx")
    return suffering(floating, made, feeds_of(model, in_small_parts(probe), samples)), samples
