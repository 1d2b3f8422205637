"""A class of torchmetrics as the metric of a gate: made once, and given each batch in the shape that it wants."""

import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pfa_gate.config.field_types import Direction
from pfa_gate.errors import LabelsError, MetricError, NotFiniteError
from pfa_gate.model.batch import Batch
from pfa_gate.model.batches import Batches
from pfa_gate.model.import_callable import UserCallable
from pfa_gate.model.metric_inputs import LogitsError, MetricInputs, arg_max_of, form_of, metric_inputs
from pfa_gate.model.outputs import class_scores
from pfa_gate.model.torch_module import forward
from pfa_gate.model.user_frames import raised

_SHARE_ROOMS = ("torchmetrics.classification.", "torchmetrics.segmentation.", "torchmetrics.retrieval.")
# Their bounds are said to be 0 and 1, for plots; they reach below 0, or above 1.
_NO_SHARES = ("MatthewsCorrCoef", "CohenKappa", "HingeLoss", "CoverageError")


@dataclass(frozen=True)
class TorchMetric:
    """A metric of torchmetrics.

    Attributes:
        name: as pfa.yaml has it.
        made: with its arguments; it computes in float64 and is never updated: `fresh` gives copies.
        higher_is_better: what the class says; None where it says nothing.
        direction: the same, or else what pfa.yaml says.
        share: whether it gives shares from 0 to 1.
    """

    name: str
    made: Any
    higher_is_better: bool | None
    direction: Direction
    share: bool

    def fresh(self) -> Any:
        """A metric that has seen nothing yet."""
        copied = deepcopy(self.made)
        copied.compute_with_cache = False
        return copied

    def __call__(self, model: nn.Module, batches: Batches) -> float:
        """What the metric gives for all batches."""
        try:
            return self._value(model, batches, squash=False)
        except LogitsError:
            return self._value(model, batches, squash=True)

    def _value(self, model: nn.Module, batches: Batches, *, squash: bool) -> float:
        metric = self.fresh()
        for given in self.inputs(model, batches, squash=squash):
            update(metric, given)
        return self.number(metric)

    def inputs(self, model: nn.Module, batches: Batches, *, squash: bool) -> Iterator[MetricInputs]:
        """Run the model, and give what the metric is updated with, batch by batch, on the CPU in float64.

        Args:
            model: in eval mode.
            batches: with labels.
            squash: whether the model gives logits, so that a classification metric gets their softmax or sigmoid.

        Raises:
            LogitsError: `squash` is False, and a score lies outside of 0 and 1.
            LabelsError: a batch has no labels.
            NotFiniteError: a score is NaN or plus infinity.
        """
        form, start, choose = form_of(self.made), 0, None
        for batch in batches:
            scores = self._scores(forward(model, batch), start)
            given = metric_inputs(form, scores, _labels(batch, self.name), squash=squash)
            choose = choose or self._accepted(given)
            yield choose(given)
            start += batch.size

    def _scores(self, output: Any, start: int) -> Tensor:
        scores = class_scores(output).detach().cpu().double()
        wrong = (scores.isnan() | scores.isposinf()).reshape(len(scores), -1).any(dim=1)
        if bool(wrong.any()):
            raise NotFiniteError(
                f"The model's output is not finite for sample {start + int(wrong.nonzero()[0])} of the evaluation.",
                remedy="Check the weights and the scale of the inputs.",
            )
        return scores

    def _accepted(self, given: MetricInputs) -> Any:
        """Whether the metric takes scores; some take nothing but the class of the highest."""
        classes = arg_max_of(given)
        only_classes = classes is not None and not self._takes(given) and self._takes(classes)
        return arg_max_of if only_classes else lambda each: each

    def _takes(self, given: MetricInputs) -> bool:
        metric = self.fresh()
        try:
            update(metric, given)
            with _quiet():
                metric.compute()
        except Exception:  # whatever a class raises in its own checks; where nothing is taken, it raises it again
            return False
        return True

    def number(self, metric: Any) -> float:
        """The one number that an updated metric gives.

        Raises:
            MetricError: it gives several, or none.
        """
        with _quiet():
            value = metric.compute()
        if isinstance(value, Tensor) and value.numel() == 1:
            return float(value)
        if isinstance(value, int | float):
            return float(value)
        what = f"{value.numel()} numbers" if isinstance(value, Tensor) else f"an object of type {type(value).__name__}"
        raise MetricError(
            f"The metric '{self.name}' gives {what}, not one number.",
            remedy="Choose evaluation.arguments with which it gives one, such as average: macro.",
        )


def torch_metric(found: UserCallable, arguments: Mapping[str, Any], written: Direction | None) -> TorchMetric:
    """Make a metric of torchmetrics.

    Args:
        found: the class.
        arguments: keyword arguments of it.
        written: the direction that pfa.yaml gives.

    Raises:
        FactoryError: it has no such argument.
        MetricError: it raises.
    """
    with _quiet():
        found.check_arguments((), arguments)
        try:
            made = found.function(**arguments)
            made.set_dtype(torch.float64)
        except Exception as error:
            raise MetricError(f"'{found.name}' cannot be made: {raised(error)}.") from error
    own = getattr(made, "higher_is_better", None)
    direction: Direction = (written or "higher") if own is None else "higher" if own else "lower"
    return TorchMetric(found.name, made, own, direction, _gives_shares(made))


def is_class_of_torchmetrics(found: object) -> bool:
    """Whether an object is a metric class of torchmetrics, or one below such; torchmetrics is not imported for it.

    Example:
        >>> is_class_of_torchmetrics(dict)
        False
    """
    package = sys.modules.get("torchmetrics")
    return package is not None and isinstance(found, type) and issubclass(found, package.Metric)


def _gives_shares(made: Any) -> bool:
    classes = type(made).__mro__
    bounded = (made.plot_lower_bound, made.plot_upper_bound) == (0.0, 1.0)
    known = any(each.__module__.startswith(_SHARE_ROOMS) for each in classes)
    return bounded and known and not any(each.__name__.endswith(_NO_SHARES) for each in classes)


def update(metric: Any, given: MetricInputs) -> None:
    """Update a metric of torchmetrics; its warnings, of memory and of rare classes, are not the tests' own."""
    with _quiet():
        metric.update(*given.args, **given.kwargs)


def _quiet() -> AbstractContextManager[object]:
    return warnings.catch_warnings(action="ignore")


def _labels(batch: Batch, name: str) -> Any:
    if batch.labels is None:
        raise LabelsError(
            f"The evaluation has no labels, and {name} needs them.",
            remedy="Give batches (inputs, labels), or arrays named images and labels.",
        )
    return batch.labels
