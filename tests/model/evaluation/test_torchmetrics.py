"""Classes of torchmetrics: their value, whatever the batch size; what they are given; the interval of a drop."""

import importlib
import warnings
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pfa_gate.errors import LabelsError, MetricError, NotFiniteError
from pfa_gate.model import Batches, Sampling, batches_of
from pfa_gate.model.evaluation import Score, drop_interval, interval_basis
from pfa_gate.model.evaluation.score import score
from pfa_gate.model.import_callable import resolve
from pfa_gate.model.torchmetric import TorchMetric, torch_metric

SAMPLES, CLASSES = 90, 4
DRAW = torch.Generator().manual_seed(0)


def noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=DRAW)


LABELS = torch.randint(0, CLASSES, (SAMPLES,), generator=DRAW)
TAGS = LABELS[:, None].eq(torch.arange(CLASSES)).long()
LOGITS = noise(SAMPLES, CLASSES) + 2 * TAGS
ONE = noise(SAMPLES) + (LABELS > 1)
MAPS, MASKS = noise(SAMPLES, 3, 6, 6), torch.randint(0, 3, (SAMPLES, 6, 6), generator=DRAW)
VALUES = noise(SAMPLES).abs() + 0.1

CLASS, TAG = {"num_classes": CLASSES}, {"num_labels": CLASSES}
# The class, its arguments, what the model gives, the labels, and both as torchmetrics takes them.
KINDS: dict[str, tuple[Any, Any, Any, Any]] = {
    "Multiclass": (LOGITS, LABELS, LOGITS.softmax(1), LABELS),
    "Multilabel": (LOGITS, TAGS.float(), LOGITS.sigmoid(), TAGS),
    "Binary": (ONE[:, None], (LABELS > 1).float(), ONE.sigmoid(), (LABELS > 1).long()),
    "segmentation": (MAPS, MASKS, MAPS.argmax(1), MASKS),
    "regression": (VALUES[:, None], VALUES + 0.1 * ONE, VALUES, VALUES + 0.1 * ONE),
    "clustering": (LOGITS, LABELS, LOGITS.argmax(1), LABELS),
}
CASES: list[tuple[str, dict[str, Any], str]] = [
    *((f"classification:Multiclass{each}", CLASS, "Multiclass") for each in "F1Score AUROC CalibrationError".split()),
    *((f"classification:Multiclass{each}", CLASS, "Multiclass") for each in "JaccardIndex CohenKappa".split()),
    *((f"classification:Multilabel{each}", TAG, "Multilabel") for each in "F1Score RankingLoss ExactMatch".split()),
    *((f"classification:Binary{each}", {}, "Binary") for each in "F1Score AveragePrecision MatthewsCorrCoef".split()),
    ("segmentation:GeneralizedDiceScore", {"num_classes": 3, "input_format": "index"}, "segmentation"),
    ("segmentation:MeanIoU", {"num_classes": 3, "input_format": "index"}, "segmentation"),
    *((f"regression:{each}", {}, "regression") for each in "R2Score PearsonCorrCoef SpearmanCorrCoef".split()),
    *((f"regression:{each}", {}, "regression") for each in "MeanSquaredLogError ExplainedVariance".split()),
    ("clustering:VMeasureScore", {}, "clustering"),
]
BELOW_0 = {"classification:MulticlassCohenKappa", "classification:BinaryMatthewsCorrCoef"}
WITHOUT_DIRECTION = {"regression:PearsonCorrCoef"}


def metric(name: str, arguments: dict[str, Any] | None = None) -> TorchMetric:
    direction = "higher" if name in WITHOUT_DIRECTION else None
    return torch_metric(resolve(f"torchmetrics.{name}", Path()), arguments or {}, direction)  # type: ignore[arg-type]


def data(inputs: Tensor, labels: Any, size: int = 7) -> Batches:
    return batches_of((inputs, labels), "net:test", Sampling(batch_size=size))


def scored(name: str, arguments: dict[str, Any], inputs: Tensor, labels: Any, size: int = 7) -> Score:
    return score(nn.Identity(), data(inputs, labels, size), metric(name, arguments), in_parts=True)


@pytest.mark.parametrize(("name", "arguments", "kind"), CASES, ids=[name for name, *_ in CASES])
def test_the_value_is_what_the_class_gives_of_all_samples_at_once(
    name: str, arguments: dict[str, Any], kind: str
) -> None:
    outputs, labels, given, target = KINDS[kind]
    room, _, called = name.partition(":")
    with warnings.catch_warnings(action="ignore"):
        by_hand = getattr(importlib.import_module(f"torchmetrics.{room}"), called)(**arguments)
        by_hand.update(given, target)
        wanted = float(by_hand.compute())
    found, whole = (scored(name, arguments, outputs, labels, size) for size in (7, SAMPLES))
    assert found.value == pytest.approx(wanted, rel=1e-4)
    assert found.value == pytest.approx(whole.value, rel=1e-9)
    assert found.share == (kind not in {"regression", "clustering"} and name not in BELOW_0)
    assert found.direction == ("lower" if "Error" in called or "Loss" in called else "higher")


def test_scores_are_logits_if_one_of_them_lies_outside_of_0_and_1() -> None:
    """By itself torchmetrics takes the first batch for probabilities, of which 0.3 is below its threshold."""
    scores, labels = torch.full((SAMPLES,), 0.3), torch.ones(SAMPLES, dtype=torch.int64)
    scores[-1] = 4.0
    assert scored("classification:BinaryAccuracy", {}, scores, labels, 10).value == 1
    assert scored("classification:BinaryAccuracy", {}, scores.clamp(max=1.0), labels, 10).value == pytest.approx(1 / 90)


def test_a_score_below_0_hides_no_document() -> None:
    """torchmetrics takes no document for relevant whose score is not above 0."""
    labels = {"target": (LABELS > 1).long(), "indexes": torch.arange(SAMPLES) % 30}
    high = scored("retrieval:RetrievalMAP", {}, ONE + 10, labels)
    assert high.value == pytest.approx(scored("retrieval:RetrievalMAP", {}, ONE - 3, labels).value)
    assert high.states is not None
    assert (high.states.count, high.states.unit) == (30, "queries")
    one, other = (high.states.value(np.array([query])) for query in (3, 8))
    assert high.states.value(np.array([3, 3, 8])) == pytest.approx((2 * one + other) / 3)


def test_classes_may_be_on_the_last_axis_and_two_scores_are_a_binary_answer() -> None:
    tokens, labels = noise(SAMPLES, 5, CLASSES), torch.randint(0, CLASSES, (SAMPLES, 5), generator=DRAW)
    last = scored("classification:MulticlassF1Score", CLASS, tokens, labels)
    second = scored("classification:MulticlassF1Score", CLASS, tokens.movedim(-1, 1), labels)
    assert last.value == second.value
    two = torch.stack([torch.zeros(SAMPLES), ONE], dim=1)
    labels = (LABELS > 1).long()
    for name in ("BinaryAUROC", "BinaryF1Score"):
        assert scored(f"classification:{name}", {}, two, labels).value == pytest.approx(
            scored(f"classification:{name}", {}, ONE, labels).value
        )


def test_masks_of_one_channel_and_labels_in_one_hot_are_segmentations() -> None:
    masks = (MASKS > 1).long()
    one = scored("segmentation:DiceScore", {"num_classes": 2}, MAPS[:, :1], masks)
    two = torch.cat([torch.zeros_like(MAPS[:, :1]), MAPS[:, :1]], dim=1)
    assert one.value == scored("segmentation:DiceScore", {"num_classes": 2}, two, masks).value
    hot = nn.functional.one_hot(masks, 2).movedim(-1, 1)
    for shape in ("one-hot", "index", "mixed"):
        arguments = {"num_classes": 2, "input_format": shape}
        assert scored("segmentation:DiceScore", arguments, two, hot).value == pytest.approx(one.value)


def answers(hits: float, changed: float, samples: int = 400) -> tuple[Tensor, Tensor, Tensor]:
    """Scores of two models for classes of which `hits` are right, and of which `changed` differ."""
    draw = torch.Generator().manual_seed(4)
    labels = torch.randint(0, CLASSES, (samples,), generator=draw)
    right = torch.rand(samples, generator=draw) < hits
    full = torch.where(right, labels, (labels + 1) % CLASSES)
    differs = torch.rand(samples, generator=draw) < changed
    other = torch.where(differs, (full + 1) % CLASSES, full)
    return *(9.0 * nn.functional.one_hot(each, CLASSES) for each in (full, other)), labels  # type: ignore[return-value]


def test_the_interval_of_a_mean_over_samples_is_that_of_its_paired_difference() -> None:
    full, other, labels = answers(0.8, 0.2)
    name, micro = "classification:MulticlassAccuracy", {**CLASS, "average": "micro"}
    one, two = scored(name, micro, full, labels), scored(name, micro, other, labels)
    two = Score(**{**vars(two), "data": one.data})
    interval = drop_interval(one, two)
    difference = (full.argmax(1) == labels).double() - (other.argmax(1) == labels).double()
    half = 1.96 * float(difference.std()) / sqrt(len(labels))
    assert interval == pytest.approx((one.value - two.value - half, one.value - two.value + half), abs=0.15 * half)
    assert interval_basis(one, two) == "bootstrap over 400 samples"
    assert drop_interval(one, two) == interval


def test_many_states_are_added_up_to_groups_of_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scored("classification:MulticlassJaccardIndex", CLASS, LOGITS, LABELS)
    monkeypatch.setattr("pfa_gate.model.evaluation.sample_states._MOST_BYTES", 30 * 8 * CLASSES**2)
    found = scored("classification:MulticlassJaccardIndex", CLASS, LOGITS, LABELS)
    assert found.states is not None
    assert (found.states.count, found.states.unit) == (23, "groups of 4 samples")
    assert found.value == whole.value
    assert interval_basis(found, found) == "bootstrap over 23 groups of 4 samples"


def test_few_samples_and_few_queries_have_no_interval() -> None:
    few = scored("regression:MeanAbsoluteError", {}, VALUES[:63, None], VALUES[:63])
    assert few.no_parts == "the evaluation has 63 samples; 64 are needed"
    labels = {"target": (LABELS > 1).long(), "indexes": torch.arange(SAMPLES) % 19}
    queries = scored("retrieval:RetrievalMAP", {}, ONE, labels)
    assert queries.no_parts == "the evaluation has 19 queries; 20 are needed"
    assert [drop_interval(each, each) for each in (few, queries)] == [None, None]
    assert [interval_basis(each, each) for each in (few, queries)] == ["", ""]


def test_long_lists_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pfa_gate.model.evaluation.significance._MOST_IN_LISTS", 100)
    found = scored("classification:MulticlassAUROC", CLASS, LOGITS, LABELS)
    assert interval_basis(found, found) == "bootstrap over 20 parts of 90 samples"
    assert drop_interval(found, found) is None  # no draw tells the same model apart
    other = scored("classification:MulticlassAUROC", CLASS, LOGITS.flip(1), LABELS)
    low, high = drop_interval(found, Score(**{**vars(other), "data": found.data})) or (0, 0)
    assert low < found.value - other.value < high


def test_what_is_not_finite_or_not_labelled_is_said() -> None:
    wrong = LOGITS.clone()
    wrong[37, 2] = torch.nan
    with pytest.raises(NotFiniteError, match="not finite for sample 37 of the evaluation"):
        scored("classification:MulticlassF1Score", CLASS, wrong, LABELS)
    labels = {"groups": LABELS}
    with pytest.raises(LabelsError, match="The labels are a mapping of groups, without target"):
        scored("classification:BinaryF1Score", {}, ONE, labels)
    with pytest.raises(LabelsError, match="The labels run from -1 to 2; the model scores the classes 0 to 3"):
        scored("classification:MulticlassAUROC", CLASS, LOGITS, LABELS - 1, SAMPLES)
    with pytest.raises(MetricError, match=r"BinaryF1Score' raised RuntimeError: Detected the following values in `tar"):
        scored("classification:BinaryF1Score", {}, ONE, LABELS)
    with pytest.raises(LabelsError, match="The labels run from 0 to 9; the model scores the classes 0 to 2"):
        scored("segmentation:DiceScore", {"num_classes": 3}, MAPS, torch.where(MASKS == 2, 9, MASKS))
