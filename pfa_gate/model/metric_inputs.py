"""What a metric of torchmetrics is updated with: the scores of a batch and its labels, in the shapes that it wants."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from pfa_gate.errors import LabelsError

Kind = Literal["binary", "multilabel", "multiclass", "segmentation", "retrieval", "plain"]


class LogitsError(Exception):
    """A score lies outside of 0 and 1: the model gives logits, and all of its scores are to be read so."""


@dataclass(frozen=True)
class MetricForm:
    """What a metric wants.

    Attributes:
        kind: what its predictions are.
        classes: how many classes it is made for; None where it does not say.
        format: of a segmentation metric: `index`, `one-hot` or `mixed`.
        ignored: the label that does not count; None where all do.
    """

    kind: Kind = "plain"
    classes: int | None = None
    format: str = ""
    ignored: int | None = None


@dataclass(frozen=True)
class MetricInputs:
    """The arguments of one update; tensors have the samples on axis 0.

    Attributes:
        args: predictions, then the target, then what else the labels hold.
        kwargs: what else the labels hold by name, such as the `indexes` of a retrieval metric.
        samples: how many samples there are.
    """

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    samples: int

    def sample(self, row: int) -> "MetricInputs":
        """One of the samples, as a batch of its own."""

        def taken(leaf: Any) -> Any:
            per_sample = isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == self.samples
            return leaf[row : row + 1] if per_sample else leaf

        return MetricInputs(tree_map(taken, self.args), tree_map(taken, dict(self.kwargs)), 1)


def form_of(metric: Any) -> MetricForm:
    """Read off a metric what it wants.

    Args:
        metric: an instance of a class of torchmetrics.
    """
    if hasattr(metric, "input_format"):
        return MetricForm("segmentation", getattr(metric, "num_classes", None), str(metric.input_format))
    known: tuple[Kind, ...] = ("binary", "multilabel", "multiclass")
    for base in type(metric).__mro__:
        if base.__module__.startswith("torchmetrics.retrieval"):
            return MetricForm("retrieval")
        for kind in known:
            if base.__module__.startswith("torchmetrics.classification") and base.__name__.lower().startswith(kind):
                return MetricForm(kind, getattr(metric, "num_classes", None), "", getattr(metric, "ignore_index", None))
    return MetricForm()


def metric_inputs(form: MetricForm, scores: Tensor, labels: Any, *, squash: bool) -> MetricInputs:
    """Give the arguments of an update.

    Args:
        form: what the metric wants.
        scores: f64 [N, ...], what the model gave.
        labels: the target [N, ...]; a mapping with `target` and what else the metric takes by name; or a tuple.
        squash: whether scores are logits.

    Raises:
        LogitsError: `squash` is False, and a score of a classification or a retrieval lies outside of 0 and 1.
        LabelsError: the labels hold no target.

    Example:
        >>> scores, labels = torch.tensor([[0.0], [0.0]]), torch.tensor([1.0, 0.0])
        >>> given = metric_inputs(MetricForm("binary"), scores, labels, squash=True)
        >>> given.args
        (tensor([0.5000, 0.5000]), tensor([1, 0]))
    """
    target, args, kwargs = _target(labels)
    target, (args, kwargs) = _on_cpu(target), (_on_cpu(args), _on_cpu(kwargs))
    shaped = _SHAPED[form.kind](form, scores, target, squash)
    return MetricInputs((*shaped, *args), kwargs, len(scores))


def arg_max_of(given: MetricInputs) -> MetricInputs | None:
    """The same with the class of the highest score in place of scores; None where the scores are of no classes."""
    scores, target = given.args[:2]
    if not isinstance(target, Tensor) or scores.ndim != target.ndim + 1:
        return None
    return replace(given, args=(scores.argmax(dim=1), *given.args[1:]))


def _target(labels: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    if isinstance(labels, Mapping):
        if "target" not in labels:
            fact = f"The labels are a mapping of {', '.join(map(str, labels)) or 'nothing'}, without target."
            raise LabelsError(fact, remedy="Name the labels target; the metric takes the others by name.")
        return labels["target"], (), {key: value for key, value in labels.items() if key != "target"}
    if isinstance(labels, tuple | list) and labels and isinstance(labels[0], Tensor):
        return labels[0], tuple(labels[1:]), {}
    return labels, (), {}


def _on_cpu(value: Any) -> Any:
    return tree_map(lambda leaf: leaf.cpu() if isinstance(leaf, Tensor) else leaf, value)


def _binary(form: MetricForm, scores: Tensor, target: Any, squash: bool) -> tuple[Any, ...]:
    target = _whole_numbers(target)
    _require_probabilities(scores, squash)
    if isinstance(target, Tensor) and scores.ndim == target.ndim + 1 and scores.shape[1] == 2:
        return (scores.softmax(dim=1) if squash else scores)[:, 1], target
    return _alike(scores.sigmoid() if squash else scores, target)


def _multilabel(form: MetricForm, scores: Tensor, target: Any, squash: bool) -> tuple[Any, ...]:
    _require_probabilities(scores, squash)
    return scores.sigmoid() if squash else scores, _whole_numbers(target)


def _retrieval(form: MetricForm, scores: Tensor, target: Any, squash: bool) -> tuple[Any, ...]:
    """Probabilities keep the order of logits; of a score below 0 torchmetrics takes no document for relevant."""
    _require_probabilities(scores, squash)
    return _alike(scores.sigmoid() if squash else scores, _whole_numbers(target))


def _multiclass(form: MetricForm, scores: Tensor, target: Any, squash: bool) -> tuple[Any, ...]:
    _require_probabilities(scores, squash)
    scores = _classes_second(form, scores, target)
    target = _whole_numbers(target)
    if isinstance(target, Tensor) and scores.ndim == target.ndim + 1:
        # torchmetrics counts the different labels of an update, which are few in one sample.
        _require_classes(target if form.ignored is None else target[target != form.ignored], scores.shape[1])
    return scores.softmax(dim=1) if squash and scores.ndim > 1 else scores, target


def _classes_second(form: MetricForm, scores: Tensor, target: Any) -> Tensor:
    """Token classifiers have their classes on the last axis; torchmetrics wants them on the second."""
    if not isinstance(target, Tensor) or scores.ndim != target.ndim + 1 or scores.ndim < 3:
        return scores
    second = scores.shape[2:] == target.shape[1:] and form.classes in {None, scores.shape[1]}
    return scores if second or scores.shape[:-1] != target.shape else scores.movedim(-1, 1)


def _segmentation(form: MetricForm, scores: Tensor, target: Any, squash: bool) -> tuple[Any, ...]:
    """The class of each place, or the same with an axis for the classes; one channel is a mask of its own."""
    classes = max(scores.shape[1], 2)
    if scores.shape[1] == 1:
        _require_probabilities(scores, squash)
        predicted = (scores[:, 0] > (0.0 if squash else 0.5)).long()
    else:
        predicted = scores.argmax(dim=1)
    if isinstance(target, Tensor):
        target = _whole_numbers(target)
        if target.ndim == scores.ndim:
            target = target[:, 0] if target.shape[1] == 1 else target.argmax(dim=1)
    if form.format == "index" or not isinstance(target, Tensor):
        return predicted, target
    if form.format == "mixed":
        return _one_hot(predicted, classes), target
    return _one_hot(predicted, classes), _one_hot(target, classes)


def _one_hot(index: Tensor, classes: int) -> Tensor:
    _require_classes(index, classes)
    return torch.nn.functional.one_hot(index, classes).movedim(-1, 1)


def _require_classes(labels: Tensor, classes: int) -> None:
    low, high = (int(labels.min()), int(labels.max())) if labels.numel() else (0, 0)
    if low < 0 or high >= classes:
        raise LabelsError(
            f"The labels run from {low} to {high}; the model scores the classes 0 to {classes - 1}.",
            remedy="Number the classes from 0, as in training.",
        )


def _plain(form: MetricForm, scores: Tensor, target: Any, squash: bool) -> tuple[Any, ...]:
    if isinstance(target, Tensor) and target.is_floating_point():
        target = target.double()
    return _alike(scores, target)


def _alike(scores: Tensor, target: Any) -> tuple[Any, ...]:
    """Drop an axis of one entry at the end, if then both have the same shape."""
    if isinstance(target, Tensor):
        if scores.shape == (*target.shape, 1):
            return scores.squeeze(-1), target
        if target.shape == (*scores.shape, 1):
            return scores, target.squeeze(-1)
    return scores, target


def _whole_numbers(target: Any) -> Any:
    """Labels of 0.0 and 1.0, as a loss takes them, are the numbers of classes."""
    if isinstance(target, Tensor) and target.is_floating_point() and bool((target == target.round()).all()):
        return target.long()
    return target


def _require_probabilities(scores: Tensor, squash: bool) -> None:
    if not squash and bool(((scores < 0) | (scores > 1)).any()):
        raise LogitsError


_SHAPED: dict[Kind, Callable[[MetricForm, Tensor, Any, bool], tuple[Any, ...]]] = {
    "binary": _binary,
    "multilabel": _multilabel,
    "multiclass": _multiclass,
    "segmentation": _segmentation,
    "retrieval": _retrieval,
    "plain": _plain,
}
