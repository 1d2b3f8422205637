"""How well a model does: a score on labelled data."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pfa_gate.config.field_types import Direction
from pfa_gate.errors import LabelsError, MetricError, NotFiniteError, PFAGateError
from pfa_gate.model import Batch, Batches, Fingerprint, Metric
from pfa_gate.model.batch import batch_usage
from pfa_gate.model.device import input_device, prefetched
from pfa_gate.model.evaluation.answers import Comparison
from pfa_gate.model.evaluation.passes import FEWEST_SAMPLES, calls_of, data_read, parts_of, require_samples, with_passes
from pfa_gate.model.evaluation.sample_states import SampleStates, evaluate, too_few
from pfa_gate.model.metric import direction_of, is_share
from pfa_gate.model.outputs import class_scores
from pfa_gate.model.torch_module import forward, size_remedy
from pfa_gate.model.torchmetric import TorchMetric
from pfa_gate.model.user_frames import raised

HITS = {"accuracy": 1, "top5": 5}


@dataclass(frozen=True)
class Score:
    """What a metric gave.

    Args:
        value: of the metric; for accuracy and top5 the share of hits, in [0, 1].
        outcomes: f64 [N], 1 for a hit and 0 for a miss, in the order of the data; None for the user's
            own metric.
        samples: N, as many as were read.
        parts: f64 [parts], what the user's own metric gives on equal parts of the data; None where it was not asked.
        no_parts: why there are no parts.
        data: fingerprint of the inputs and labels that were read, in their order.
        labels: int64 [N], the class of each sample, in the order of the data; None for the user's own metric.
        states: what a metric of torchmetrics has of each sample; None for all others, and for one whose states of two
            halves of the data do not make up that of all.
        direction: which way of the metric is better.
        share: whether the value is a share from 0 to 1.
        comparison: with the full model's answers, where the pass that scored it had them.
    """

    value: float
    outcomes: npt.NDArray[np.float64] | None
    samples: int
    parts: npt.NDArray[np.float64] | None = None
    no_parts: str = ""
    data: str = ""
    labels: npt.NDArray[np.int64] | None = None
    states: SampleStates | None = None
    direction: Direction = "higher"
    share: bool = False
    comparison: Comparison | None = None

    @property
    def has_interval(self) -> bool:
        """Whether a drop from this score can have an interval."""
        return self.outcomes is not None or (not self.no_parts and (self.parts is not None or self.states is not None))


@dataclass(frozen=True)
class Outcomes:
    """What a model did with each sample.

    Attributes:
        hits: f64 [N], 1 for a hit, 0 for a miss, NaN for a sample that another rank runs.
        labels: int64 [N], the class of each sample; -1 where the data has none: the rank that runs it raises.
        data: fingerprint of all inputs, in their order.
        comparison: with the answers of the full model, where these were kept.
    """

    hits: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    data: str
    comparison: Comparison | None = None


def score(model: nn.Module, batches: Batches, metric: Metric, *, in_parts: bool = False) -> Score:
    """Score a model.

    Args:
        model: in eval mode; for accuracy and top5 its first floating output (or `logits`) is [N, classes].
        batches: with integer labels [N] for accuracy and top5.
        metric: `accuracy`, `top5`, a `TorchMetric`, or a callable(model, batches) -> float.
        in_parts: ask the user's own metric for parts of the data too, from which an interval can be drawn.

    Raises:
        LabelsError: no labels, or labels that do not fit the outputs.
        MetricError: the outputs are no class scores; the user's metric raises or gives no finite number.
        NotFiniteError: a class score is NaN or plus infinity.
        DataError: reading the data raises.

    Example:
        >>> from pfa_gate.model import Sampling, batches_of
        >>> images, labels = torch.eye(3), torch.tensor([0, 1, 1])
        >>> score(nn.Identity(), batches_of((images, labels), "eye", Sampling()), "accuracy").outcomes
        array([1., 1., 0.])
    """
    if callable(metric):
        asked = _score_of_states if isinstance(metric, TorchMetric) else _own_score
        result = asked(model, batches, metric)
        result = replace(result, direction=direction_of(metric), share=is_share(metric))
        return _with_parts(result, model, batches, metric) if in_parts else result
    return score_of(outcomes(model, batches, metric))


def score_of(result: Outcomes) -> Score:
    """The score of hits and misses of all samples."""
    hits, data, labels = result.hits, result.data, result.labels
    value, samples = float(hits.mean()), len(hits)
    return Score(value, hits, samples, data=data, labels=labels, share=True, comparison=result.comparison)


def outcomes(
    model: nn.Module,
    batches: Batches,
    metric: str,
    runs_here: Callable[[int], bool] = lambda number: True,
    watch: Callable[[int, Batch, Any], None] = lambda number, batch, output: None,
) -> Outcomes:
    """Hits and misses in the order of the data; see `score`.

    Args:
        model: in eval mode.
        batches: with integer labels.
        metric: `accuracy` or `top5`.
        runs_here: whether the model is to run on a batch, counted from 0; the samples of others are NaN.
        watch: called with the number of each batch, the batch, and what the model gave; None where it did not run.
    """
    seen, start = Fingerprint(labels=True), 0

    def read() -> Iterator[Batch]:
        for batch in batches:
            seen.update(batch)
            yield batch
        require_samples(seen.samples, batches)

    hits: list[npt.NDArray[np.float64]] = []
    labels: list[npt.NDArray[np.int64]] = []
    for number, batch in enumerate(prefetched(read(), input_device(model))):
        try:
            if runs_here(number):
                output = forward(model, batch)
                hits.append(_hits(output, batch, metric, start))
                watch(number, batch, output)
            else:
                hits.append(np.full(batch.size, np.nan))
                watch(number, batch, None)
        except PFAGateError as error:
            for place in batches.where:
                error.at(place)
            raise
        labels.append(_classes(batch))
        start += batch.size
    return Outcomes(np.concatenate(hits), np.concatenate(labels), seen.hexdigest())


def _score_of_states(model: nn.Module, batches: Batches, metric: Any) -> Score:
    """As `_own_score`, with what the metric has of each sample."""
    found: list[SampleStates | None] = []

    def run(model: nn.Module, batches: Batches) -> float:
        value, states = evaluate(metric, model, batches)
        found.append(states)
        return value

    run.__name__ = metric.name
    return replace(_own_score(model, batches, run), states=found[-1])


def _with_parts(result: Score, model: nn.Module, batches: Batches, metric: Callable[..., Any]) -> Score:
    if result.samples < FEWEST_SAMPLES:
        return replace(result, no_parts=f"the evaluation has {result.samples} samples; {FEWEST_SAMPLES} are needed")
    if result.states is not None:
        return replace(result, no_parts=too_few(result.states))
    try:
        values = [_own_score(model, part, metric).value for part in parts_of(batches)]
    except PFAGateError as error:
        # It gave a value on all of the data, so this is no mistake: AUC needs both classes in each part.
        return replace(result, no_parts=f"on a part of the evaluation alone it fails: {error.fact}")
    return replace(result, parts=np.array(values, dtype=np.float64))


def _own_score(model: nn.Module, batches: Batches, metric: Callable[..., Any]) -> Score:
    """What the user's own metric gives, if it read the data and called the model for it."""
    watched, passes = with_passes(batches)
    with calls_of(model) as called:
        try:
            value = _own_value(model, watched.on(input_device(model)), metric)
        except MetricError:
            if any(data_pass.complete for data_pass in passes):
                data_read(passes, _name(metric), batches)  # what it read may be the reason
            raise
    samples, data = data_read(passes, _name(metric), batches)
    if not called:
        raise MetricError(
            f"The metric '{_name(metric)}' gave {value:g} without a call of the model.",
            remedy="Let it call model(*batch.args, **batch.kwargs) each time it is asked, and remember no value.",
        )
    return Score(value, None, samples, data=data)


def _name(metric: Callable[..., Any]) -> str:
    return str(getattr(metric, "name", None) or getattr(metric, "__name__", type(metric).__name__))


def _own_value(model: nn.Module, batches: Batches, metric: Callable[..., Any]) -> float:
    name = _name(metric)
    try:
        with torch.no_grad():
            value = metric(model, batches)
    except (LabelsError, MetricError, NotFiniteError):
        raise
    except PFAGateError as error:
        raise MetricError(f"The metric failed: {error.fact}", remedy=error.remedy, where=error.where) from error
    except Exception as error:
        remedy = batch_usage(error, name) or size_remedy(model)
        raise MetricError(f"The metric '{name}' raised {raised(error)}.", remedy=remedy) from error
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise MetricError(
            f"The metric '{name}' gave an object of type {type(value).__name__}, not a number.",
            remedy="Return one float.",
        )
    if not isfinite(value):
        raise MetricError(f"The metric '{name}' gave {float(value)}.", remedy="Return one finite float.")
    return float(value)


def _hits(output: Any, batch: Batch, metric: str, start: int) -> npt.NDArray[np.float64]:
    scores = class_scores(output)
    _check_scores(scores, batch.size, metric, start)
    labels = _checked_labels(batch, scores.shape[1], metric)
    best = scores.topk(HITS[metric], dim=1).indices.to(labels.device)
    hits: npt.NDArray[np.float64] = (best == labels[:, None]).any(dim=1).double().cpu().numpy()
    return hits


def _classes(batch: Batch) -> npt.NDArray[np.int64]:
    if not _has_classes(batch):
        return np.full(batch.size, -1)
    classes: npt.NDArray[np.int64] = batch.labels.long().cpu().numpy()
    return classes


def _has_classes(batch: Batch) -> bool:
    labels = batch.labels
    return isinstance(labels, Tensor) and not labels.is_floating_point() and labels.shape == (batch.size,)


def _check_scores(scores: Tensor, samples: int, metric: str, start: int) -> None:
    fewest = HITS[metric] + 1
    if scores.ndim != 2 or len(scores) != samples or scores.shape[1] < fewest:
        raise MetricError(
            f"The model gave {list(scores.shape)} for {samples} samples; "
            f"{metric} needs [{samples}, classes] with at least {fewest} classes.",
            remedy="Name a metric of your own: evaluation.metric: module:callable.",
        )
    wrong = (scores.isnan() | scores.isposinf()).any(dim=1)
    if bool(wrong.any()):
        first = start + int(wrong.nonzero()[0])
        raise NotFiniteError(
            f"The model's output is not finite for sample {first} of the evaluation.",
            remedy="Check the weights and the scale of the inputs.",
        )


def _checked_labels(batch: Batch, classes: int, metric: str) -> Tensor:
    given = batch.labels
    if given is None:
        raise LabelsError(
            f"The evaluation has no labels, and {metric} needs them.",
            remedy="Give batches (inputs, labels), or arrays named images and labels.",
        )
    if not _has_classes(batch):
        what = f"{given.dtype} {list(given.shape)}" if isinstance(given, Tensor) else type(given).__name__
        raise LabelsError(
            f"The labels of {batch.size} samples are {what.removeprefix('torch.')}; "
            f"{metric} needs whole numbers [{batch.size}].",
            remedy="Give the number of the class for each sample.",
        )
    labels: Tensor = batch.labels.long()
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise LabelsError(
            f"The labels run from {low} to {high}; the model scores the classes 0 to {classes - 1}.",
            remedy="Number the classes from 0, as in training.",
        )
    return labels
