"""The answers of two models on the same samples: how many change, how far, and which classes lose by it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pfa_gate.errors import MetricError, NotFiniteError, PFAGateError
from pfa_gate.model import Batch, Batches, Fingerprint
from pfa_gate.model.device import input_device, prefetched
from pfa_gate.model.evaluation.intervals import Estimate, FloatArray, mean_of, wilson
from pfa_gate.model.evaluation.output_error import OutputErrors
from pfa_gate.model.evaluation.passes import require_samples
from pfa_gate.model.evaluation.recall import ClassRecall, IntArray, recalls
from pfa_gate.model.outputs import class_scores
from pfa_gate.model.torch_module import forward


@dataclass(frozen=True)
class Changes:
    """What became of the answers that changed; of a model without labels only their number is known.

    Attributes:
        changed: how many.
        lost: right before and wrong after; None without labels.
        won: wrong before and right after.
        otherwise: wrong both times.
    """

    changed: int
    lost: int | None = None
    won: int | None = None
    otherwise: int | None = None


@dataclass(frozen=True)
class Comparison:
    """Two models on the same samples, in the order of the data.

    Attributes:
        samples: N.
        data: fingerprint of the inputs and labels that were read.
        answers: int64 [N] twice, the class with the largest score in the full model and in the other; None where the
            first floating output is not [N, classes].
        divergences: f64 [N], KL(full || other) of the softmax, in nats; None as above.
        labels: int64 [N], the class of each sample; None where the data has none.
        outputs: the error of all floating outputs, with its interval; None where it was not asked for.
        no_answers: why there are none; empty where there are some.
        no_labels: why there are none.
    """

    samples: int
    data: str
    answers: tuple[IntArray, IntArray] | None = None
    divergences: FloatArray | None = None
    labels: IntArray | None = None
    outputs: Estimate | None = None
    no_answers: str = ""
    no_labels: str = ""

    @property
    def output_error(self) -> float | None:
        """||y - y'|| / ||y - mean(y)||, the largest of all floating outputs."""
        return None if self.outputs is None else self.outputs.value

    @property
    def agreement(self) -> Estimate | None:
        """The share of samples with the same answer, with Wilson's interval."""
        if self.answers is None:
            return None
        same = int((self.answers[0] == self.answers[1]).sum())
        return Estimate(same / self.samples, wilson(same, self.samples))

    @cached_property
    def divergence(self) -> Estimate | None:
        """The mean of the divergences, with its bootstrap interval."""
        return None if self.divergences is None else mean_of(self.divergences)

    @property
    def changes(self) -> Changes | None:
        """The answers that changed."""
        if self.answers is None:
            return None
        full, other = self.answers
        changed = full != other
        if self.labels is None:
            return Changes(int(changed.sum()))
        lost, won = full == self.labels, other == self.labels
        counts = (changed, changed & lost, changed & won, changed & ~lost & ~won)
        return Changes(*(int(each.sum()) for each in counts))

    @cached_property
    def recalls(self) -> tuple[ClassRecall, ...] | None:
        """Recall of each class before and after, by label; None without labels or answers."""
        if self.answers is None or self.labels is None:
            return None
        return recalls(self.labels, *self.answers)

    @property
    def class_drop(self) -> ClassRecall | None:
        """The class of at least 20 samples whose recall falls most; None where there is no such class."""
        judged = [each for each in self.recalls or () if each.p is not None]
        return max(judged, key=lambda each: (each.fall, -each.label), default=None)


def compare(full: nn.Module, other: nn.Module, batches: Batches) -> Comparison:
    """Run two models on the same data, each once, side by side.

    Args:
        full: in eval mode.
        other: in eval mode; its outputs have the shapes of the full model's.
        batches: with labels or without.

    Raises:
        DataError: reading the data raises, it is empty, or a model does not take it.
        MetricError: the models' outputs have different shapes.
        NotFiniteError: a class score is NaN or plus infinity, or an output is not finite in one model alone.

    Example:
        >>> from pfa_gate.model import Sampling, batches_of
        >>> eye = batches_of((torch.eye(3), torch.tensor([0, 1, 1])), "eye", Sampling())
        >>> found = compare(nn.Identity(), nn.Softmax(dim=1), eye)
        >>> found.agreement.value, found.changes.changed, found.labels
        (1.0, 0, array([0, 1, 1]))
    """
    seen, answering, errors = Fingerprint(labels=True), Answering(), OutputErrors()

    def read() -> Iterator[Batch]:
        for batch in batches:
            seen.update(batch)
            yield batch
        require_samples(seen.samples, batches)

    there = input_device(other)
    for batch in prefetched(read(), input_device(full)):
        try:
            one, two = forward(full, batch), forward(other, batch.to(there))
            errors.update(one, two, answering.samples)
            answering.update(batch, one, two)
        except PFAGateError as error:
            for place in batches.where:
                error.at(place)
            raise
    return answering.comparison(seen.hexdigest(), errors.largest())


@dataclass
class Answering:
    """Takes in the outputs of two models batch by batch; `compare` has the rest."""

    samples: int = 0
    _classes: int | None = None
    _no_answers: str = ""
    _no_labels: str = ""
    _found: list[tuple[IntArray, IntArray, FloatArray]] = field(default_factory=list)
    _labels: list[IntArray] = field(default_factory=list)

    def update(self, batch: Batch, full: Any, other: Any) -> None:
        """Take in what both models gave for a batch.

        Raises:
            MetricError: they give different numbers of classes.
            NotFiniteError: a class score is NaN or plus infinity.
        """
        size = batch.size
        if not self._no_answers:
            self._answer(_scores(full, size), _scores(other, size), size)
        if not self._no_labels:
            self._label(batch)
        self.samples += size

    def elsewhere(self, batch: Batch) -> None:
        """Leave room for the answers to a batch that another rank runs: class -1, and a divergence of NaN."""
        absent = np.full(batch.size, -1, dtype=np.int64)
        self._found.append((absent, absent, np.full(batch.size, np.nan)))
        if not self._no_labels:
            self._label(batch)
        self.samples += batch.size

    def comparison(self, data: str, outputs: Estimate | None = None) -> Comparison:
        """What was taken in.

        Args:
            data: fingerprint of it.
            outputs: error of all floating outputs, where it was taken.
        """
        found = Comparison(self.samples, data, outputs=outputs, no_answers=self._no_answers, no_labels=self._no_labels)
        values = vars(found)
        if not self._no_answers:
            one, two, apart = (np.concatenate(each) for each in zip(*self._found, strict=True))
            values = {**values, "answers": (one, two), "divergences": apart}
        if not self._no_labels:
            values = {**values, "labels": np.concatenate(self._labels)}
        return Comparison(**values)

    def _answer(self, full: Tensor | str, other: Tensor | str, size: int) -> None:
        if isinstance(full, str) or isinstance(other, str):
            self._no_answers = full if isinstance(full, str) else str(other)
            return
        if full.shape != other.shape or self._classes not in (None, full.shape[1]):
            raise MetricError(
                f"The full model gave the class scores {list(full.shape)}, and the other model {list(other.shape)}"
                + (f"; before, there were {self._classes} classes." if self._classes else "."),
                remedy="Compare models that score the same classes.",
            )
        self._classes = full.shape[1]
        logs = [_log_shares(scores, model, self.samples) for model, scores in (("full", full), ("smaller", other))]
        self._found.append(
            (full.argmax(dim=1).cpu().numpy(), other.argmax(dim=1).cpu().numpy(), divergences(*logs).cpu().numpy())
        )

    def _label(self, batch: Batch) -> None:
        labels = batch.labels
        if not (isinstance(labels, Tensor) and not labels.is_floating_point() and labels.shape == (batch.size,)):
            kind = f"{labels.dtype} {list(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
            fact = "The data has no labels" if labels is None else f"The labels of {batch.size} samples are {kind}"
            self._no_labels = f"{fact.replace('torch.', '')}; whole numbers [samples] are needed."
            return
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or (self._classes is not None and high >= self._classes):
            classes = f"; the model scores the classes 0 to {self._classes - 1}" if self._classes else ""
            self._no_labels = f"The labels run from {low} to {high}{classes}."
            return
        self._labels.append(labels.long().cpu().numpy())


def divergences(full: Tensor, other: Tensor) -> Tensor:
    """KL(full || other) of each row, in nats; infinite where the other model rules out what the full one does not.

    Args:
        full: f64 [N, classes], logarithms of shares that sum to 1.
        other: f64 [N, classes], alike.

    Example:
        >>> logs = torch.tensor([[0.5, 0.5], [1.0, 0.0]], dtype=torch.float64).log()
        >>> divergences(logs, logs.flip(0)).tolist()
        [inf, 0.6931471805599453]
    """
    shares = full.exp()
    terms = torch.where(shares > 0, shares * (full - other), 0.0)
    return terms.sum(dim=1).clamp(min=0.0)


def _log_shares(scores: Tensor, model: str, start: int) -> Tensor:
    logs = scores.double().log_softmax(dim=1)
    wrong = logs.isnan().any(dim=1)  # of a NaN, of plus infinity, of nothing but minus infinity
    if bool(wrong.any()):
        raise NotFiniteError(
            f"The {model} model's class scores are not finite for sample {start + int(wrong.nonzero()[0])}.",
            remedy="Check the weights and the scale of the inputs.",
        )
    return logs


def _scores(output: Any, samples: int) -> Tensor | str:
    """The class scores [samples, classes], or why there are none."""
    try:
        scores = class_scores(output)
    except MetricError as error:
        return error.fact
    if scores.ndim == 2 and len(scores) == samples and scores.shape[1] > 1:
        return scores.detach()
    return (
        f"The model gives {list(scores.shape)} for {samples} samples, and answers are the largest of class scores, "
        "[samples, classes]."
    )
