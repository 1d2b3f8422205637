"""The answers of two models compared: against NumPy, SciPy and torch, and the laws that hold for any outputs."""

from dataclasses import dataclass
from math import comb, inf
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from torch import Tensor, nn
from torch.nn import functional

from pfa_gate.errors import DataError, MetricError, NotFiniteError
from pfa_gate.model import Batches, Sampling, batches_of
from pfa_gate.model.evaluation import ClassRecall, Comparison, KeptOutputs, compare, watched_outcomes
from pfa_gate.model.evaluation.answers import Changes
from pfa_gate.model.evaluation.intervals import mean_of, root_ratio_interval, wilson
from pfa_gate.model.evaluation.recall import holm, recalls
from pfa_gate.model.outputs import class_scores, floating_outputs

CLASSES = 5


class Replay(nn.Module):
    """Answers with stored rows: the input is the number of the sample."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows, requires_grad=False)

    def forward(self, numbers: Tensor) -> Tensor:
        return self.rows[numbers]


def data_of(samples: int, labels: Tensor | None = None, batch_size: int = 128) -> Batches:
    """The numbers of the samples, with labels or without."""
    numbers = torch.arange(samples)
    whole = numbers if labels is None else (numbers, labels)
    return batches_of(whole, "replay", Sampling(batch_size=batch_size))


def replayed(full: Tensor, other: Tensor, labels: Tensor | None = None, batch_size: int = 128) -> Comparison:
    """The comparison of two models that give these rows."""
    return compare(Replay(full), Replay(other), data_of(len(full), labels, batch_size))


def drawn(seed: int, samples: int = 60) -> tuple[Tensor, Tensor, Tensor]:
    """Scores of two models that mostly agree, and labels."""
    generator = torch.Generator().manual_seed(seed)
    full = 3 * torch.randn(samples, CLASSES, generator=generator)
    other = full + torch.randn(samples, CLASSES, generator=generator)
    return full, other, torch.randint(CLASSES, (samples,), generator=generator)


def test_divergence_is_torch_s_kl_div_of_the_softmax_in_double() -> None:
    full, other, _ = drawn(0)
    found = replayed(full, other)
    logs = [scores.double().log_softmax(dim=1) for scores in (full, other)]
    each = functional.kl_div(logs[1], logs[0], log_target=True, reduction="none").sum(dim=1)
    assert found.divergences is not None
    np.testing.assert_allclose(found.divergences, each.numpy(), rtol=1e-12, atol=1e-15)
    assert found.divergence is not None
    assert found.divergence.value == pytest.approx(float(each.mean()))


def test_output_error_is_that_of_numpy() -> None:
    full, other, _ = drawn(1)
    y, changed = full.double().numpy(), other.double().numpy()
    expected = np.linalg.norm(y - changed) / np.linalg.norm(y - y.mean(axis=0))
    assert replayed(full, other).output_error == pytest.approx(expected, rel=1e-12)


def test_wilsons_interval_is_scipys() -> None:
    for hits, samples in ((0, 1), (1, 1), (97, 100), (717, 761), (10_000, 10_000)):
        expected = binomtest(hits, samples).proportion_ci(method="wilson")
        assert wilson(hits, samples) == pytest.approx((expected.low, expected.high), abs=1e-12)


@settings(max_examples=30)
@given(st.integers(0, 60), st.integers(0, 60))
def test_a_class_is_tested_as_scipy_tests_a_coin(lost: int, won: int) -> None:
    labels = np.zeros(130, dtype=np.int64)
    full, other = np.zeros(130, dtype=np.int64), np.zeros(130, dtype=np.int64)
    other[:lost] = 1
    full[lost : lost + won] = 1
    [found] = recalls(labels, full, other)
    expected = binomtest(lost, lost + won, alternative="greater").pvalue if lost + won else 1.0
    assert (found.lost, found.won) == (lost, won)
    assert found.p == pytest.approx(expected, abs=1e-12)


def test_an_exact_probability_is_counted_by_hand() -> None:
    labels = np.zeros(40, dtype=np.int64)
    other = labels.copy()
    other[:9] = 1
    full = labels.copy()
    full[39] = 1
    [found] = recalls(labels, full, other)
    assert (found.lost, found.won) == (9, 1)
    assert found.p == pytest.approx((comb(10, 9) + comb(10, 10)) / 2**10)
    assert found.fall == 8 / 40


@settings(max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holms_correction_never_lowers_a_probability_and_keeps_their_order(chances: list[float]) -> None:
    adjusted = holm(chances)
    assert all(one <= other <= 1 for one, other in zip(chances, adjusted, strict=True))
    assert all(
        adjusted[one] <= adjusted[two]
        for one in range(len(chances))
        for two in range(len(chances))
        if chances[one] < chances[two]
    )
    assert min(adjusted) == pytest.approx(min(1.0, len(chances) * min(chances)))


seeds = st.integers(0, 2**31 - 1)


@settings(max_examples=8)
@given(seeds, st.integers(1, 70))
def test_the_batch_size_changes_nothing(seed: int, batch_size: int) -> None:
    full, other, labels = drawn(seed)
    one, two = replayed(full, other, labels), replayed(full, other, labels, batch_size)
    assert (one.agreement, one.divergence, one.changes, one.recalls, one.data) == (
        two.agreement,
        two.divergence,
        two.changes,
        two.recalls,
        two.data,
    )
    assert two.output_error == pytest.approx(one.output_error, rel=1e-9)


@settings(max_examples=8)
@given(seeds, st.randoms(use_true_random=False))
def test_the_order_of_samples_and_the_names_of_classes_change_nothing(seed: int, random: object) -> None:
    full, other, labels = drawn(seed)
    generator = torch.Generator().manual_seed(seed)
    rows, names = torch.randperm(len(full), generator=generator), torch.randperm(CLASSES, generator=generator)
    back = torch.argsort(names)
    one = replayed(full, other, labels)
    two = replayed(full[rows][:, names], other[rows][:, names], back[labels[rows]])
    assert one.agreement == two.agreement
    assert one.changes == two.changes
    assert two.divergence.value == pytest.approx(one.divergence.value)  # type: ignore[union-attr]
    assert two.output_error == pytest.approx(one.output_error)
    falls = [
        sorted((each.samples, each.lost, each.won, each.p) for each in found.recalls or ()) for found in (one, two)
    ]
    assert falls[0] == falls[1]


@settings(max_examples=8)
@given(seeds)
def test_a_model_agrees_with_itself_and_no_shift_of_its_scores_is_a_divergence(seed: int) -> None:
    full, _, labels = drawn(seed)
    same = replayed(full, full.clone(), labels)
    assert (same.agreement.value, same.divergence.value, same.output_error) == (1.0, 0.0, 0.0)  # type: ignore[union-attr]
    assert same.changes == Changes(0, 0, 0, 0)
    assert all(each.fall == 0 and each.p == 1.0 for each in same.recalls or () if each.p is not None)
    shifted = replayed(full.double(), full.double() + 7.0, labels)
    assert shifted.agreement.value == 1.0  # type: ignore[union-attr]
    assert shifted.divergence.value == pytest.approx(0.0, abs=1e-12)  # type: ignore[union-attr]


@settings(max_examples=8)
@given(seeds)
def test_what_changed_adds_up_and_turns_round_with_the_models(seed: int) -> None:
    full, other, labels = drawn(seed)
    there, back = replayed(full, other, labels), replayed(other, full, labels)
    found, turned = there.changes, back.changes
    assert found is not None
    assert turned is not None
    assert found.changed == found.lost + found.won + found.otherwise  # type: ignore[operator]
    assert (found.lost, found.won, found.otherwise) == (turned.won, turned.lost, turned.otherwise)
    assert there.agreement is not None
    assert found.changed == round((1 - there.agreement.value) * there.samples)
    assert sum(each.lost for each in there.recalls or ()) == found.lost
    assert sum(each.samples for each in there.recalls or ()) == there.samples


@settings(max_examples=8)
@given(seeds, st.floats(0.5, 100), st.floats(-100, 100))
def test_output_error_has_no_unit(seed: int, scale: float, shift: float) -> None:
    full, other, _ = (each.double() for each in drawn(seed))
    one, two = replayed(full, other), replayed(scale * full + shift, scale * other + shift)
    assert two.output_error == pytest.approx(one.output_error, rel=1e-6)


@settings(max_examples=8)
@given(seeds)
def test_every_interval_holds_its_value(seed: int) -> None:
    full, other, labels = drawn(seed)
    found = replayed(full, other, labels)
    for estimate in (found.agreement, found.divergence, found.outputs):
        assert estimate is not None
        assert estimate.interval is not None
        assert estimate.interval[0] <= estimate.value <= estimate.interval[1]


def test_the_bootstrap_is_as_wide_as_the_standard_error_says() -> None:
    values = np.random.default_rng(3).exponential(size=2000)
    low, high = mean_of(values).interval or (0, 0)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / np.sqrt(2000), rel=0.1)
    # The spread of the whole counts as well: for e and s independent, var(r)/r^2 = (var(e)/e^2 + var(s)/s^2)/4.
    spreads = np.random.default_rng(4).exponential(size=2000)
    low, high = root_ratio_interval(values, spreads) or (0, 0)
    ratio = np.sqrt(values.sum() / spreads.sum())
    assert (high - low) / 2 == pytest.approx(1.96 * ratio * np.sqrt(2 / 4 / 2000), rel=0.1)


def test_a_rare_class_has_its_counts_and_no_verdict() -> None:
    labels = torch.tensor([0] * 20 + [1] * 19 + [2])
    full = functional.one_hot(labels, 3).float()
    other = functional.one_hot(torch.tensor([0] * 12 + [1] * 8 + [0] * 20), 3).float()
    found = replayed(full, other, labels)
    assert [(each.label, each.samples, each.lost, each.p is None) for each in found.recalls or ()] == [
        (0, 20, 8, False),
        (1, 19, 19, True),
        (2, 1, 1, True),
    ]
    assert found.class_drop is not None
    assert (found.class_drop.label, found.class_drop.falls) == (0, True)


def test_no_class_of_20_samples_is_no_class_drop() -> None:
    full, other, labels = drawn(0, samples=19)
    assert replayed(full, other, labels).class_drop is None


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (None, "The data has no labels; whole numbers [samples] are needed."),
        (torch.rand(60), "The labels of 60 samples are float32 [60]; whole numbers [samples] are needed."),
        (torch.zeros(60, 3).long(), "The labels of 60 samples are int64 [60, 3]; whole numbers [samples] are needed."),
        (torch.arange(60) - 100, "The labels run from -100 to -41; the model scores the classes 0 to 4."),
        (torch.arange(60), "The labels run from 0 to 59; the model scores the classes 0 to 4."),
    ],
)
def test_without_labels_the_answers_are_there_and_the_classes_are_not(labels: Tensor | None, reason: str) -> None:
    full, other, _ = drawn(0)
    found = replayed(full, other, labels)
    assert (found.labels, found.recalls, found.class_drop, found.no_labels) == (None, None, None, reason)
    assert found.changes is not None
    assert found.changes.lost is None
    assert found.changes.changed > 0


def test_segmentation_and_regression_have_an_error_and_no_answers() -> None:
    maps = torch.randn(8, 3, 4, 5)
    segmented = replayed(maps, maps + 0.1)
    assert (segmented.answers, segmented.agreement, segmented.divergence, segmented.changes) == (None,) * 4
    assert segmented.no_answers == (
        "The model gives [8, 3, 4, 5] for 8 samples, and answers are the largest of class scores, [samples, classes]."
    )
    y, wrong = maps.double(), (maps + 0.1).double()
    assert segmented.output_error == pytest.approx(float((y - wrong).norm() / (y - y.mean(dim=0)).norm()), rel=1e-9)
    numbers = torch.randn(64, 1)
    regressed = replayed(numbers, numbers * 0.9)
    assert regressed.no_answers
    y, wrong = numbers.double(), (numbers * 0.9).double()
    assert regressed.output_error == pytest.approx(float((y - wrong).norm() / (y - y.mean()).norm()), rel=1e-9)


class Several(Replay):
    """Large class scores, small boxes, and numbers that count nothing."""

    def __init__(self, rows: Tensor, boxes: float, kind: type) -> None:
        super().__init__(rows)
        self.boxes, self.kind = boxes, kind

    def forward(self, numbers: Tensor) -> object:
        scores = self.rows[numbers]
        parts = {"ids": numbers, "logits": 1e4 * scores, "boxes": scores[:, :4] * self.boxes}
        return parts if self.kind is dict else tuple(parts.values())


@pytest.mark.parametrize("kind", [dict, tuple])
def test_every_floating_output_counts_however_small_its_numbers_are(kind: type) -> None:
    full, *_ = drawn(0)
    found = compare(Several(full, 1e-3, kind), Several(full, 5e-4, kind), data_of(60))
    boxes = 1e-3 * full[:, :4].double()
    expected = float((boxes / 2).norm() / (boxes - boxes.mean(dim=0)).norm())
    assert found.output_error == pytest.approx(expected, rel=1e-5)
    assert found.agreement is not None
    assert found.agreement.value == 1.0


def test_outputs_whose_length_changes_from_batch_to_batch_are_compared() -> None:
    class Padded(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = nn.Parameter(torch.tensor(factor))

        def forward(self, tokens: Tensor) -> Tensor:
            return tokens * self.factor

    batches = [torch.randn(4, length, 3) for length in (5, 2, 7)]
    found = compare(Padded(1.0), Padded(1.1), batches_of(batches, "texts", Sampling()))
    together = torch.cat([each.flatten() for each in batches]).double()
    expected = 0.1 * float(together.norm() / (together - together.mean()).norm())
    assert found.output_error == pytest.approx(expected, rel=1e-5)


def test_a_mask_of_minus_infinity_is_no_error() -> None:
    full, other, _ = drawn(0)
    full[:, 2] = other[:, 2] = -inf
    found = replayed(full, other)
    rest = [0, 1, 3, 4]
    alone = replayed(full[:, rest], other[:, rest])
    assert found.divergence.value == pytest.approx(alone.divergence.value)  # type: ignore[union-attr]
    assert found.output_error == pytest.approx(alone.output_error)


@pytest.mark.parametrize(
    ("value", "which", "fact"),
    [
        (float("nan"), "full", "Floating output 1 of the full model is not finite for sample 7."),
        (float("nan"), "other", "Floating output 1 of the smaller model is not finite for sample 7."),
        (inf, "other", "Floating output 1 of the smaller model is not finite for sample 7."),
        (-inf, "other", "Floating output 1 of the smaller model is not finite for sample 7."),
    ],
)
def test_what_is_not_finite_is_named(value: float, which: str, fact: str) -> None:
    full, other, _ = drawn(0)
    (full if which == "full" else other)[7, 1] = value
    with pytest.raises(NotFiniteError) as caught:
        replayed(full, other)
    assert caught.value.fact == fact


def test_a_sample_that_is_not_finite_in_both_models_is_no_agreement() -> None:
    full, other, _ = drawn(0)
    full[7] = other[7] = inf
    with pytest.raises(NotFiniteError) as caught:
        replayed(full, other)
    assert caught.value.fact == "The full model's class scores are not finite for sample 7."


def test_models_with_other_outputs_are_not_compared() -> None:
    full, other, _ = drawn(0)
    with pytest.raises(MetricError) as caught:
        replayed(full, other[:, :4])
    assert caught.value.fact == ("The full model gave outputs of the shapes [[60, 5]], and the other model [[60, 4]].")


def test_an_output_without_spread_has_no_scale() -> None:
    with pytest.raises(MetricError) as caught:
        replayed(torch.ones(4, 3), torch.zeros(4, 3))
    assert caught.value.fact == (
        "Floating output 1 of the full model is the same for all samples, and differs in the other model: "
        "its error has no scale."
    )


def test_no_data_is_no_agreement() -> None:
    empty = Batches("nothing", lambda: iter(()))
    with pytest.raises(DataError) as caught:
        compare(nn.Identity(), nn.Identity(), empty)
    assert caught.value.fact == "'nothing' gave no samples."


class Held(NamedTuple):
    """An output with fields."""

    ids: Tensor
    logits: Tensor


@dataclass
class Loose:
    """An output of a class of its own."""

    ids: Tensor
    logits: Tensor


@pytest.mark.parametrize("kind", [Held, Loose])
def test_the_tensors_of_any_output_are_found(kind: type) -> None:
    scores = torch.rand(2, 3)
    output = kind(torch.tensor([1, 2]), scores)
    assert floating_outputs(output) == [scores]
    assert class_scores(output) is scores


def scored(model: nn.Module, kept: KeptOutputs, full: bool, batches: Batches) -> Comparison | None:
    return watched_outcomes(model, (batches, "accuracy"), kept, full=full).comparison


@pytest.mark.parametrize("memory", [2**28, 600, 0])
@pytest.mark.parametrize("everything", [True, False])
def test_what_was_kept_of_a_pass_serves_as_one_beside(
    memory: int, everything: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In memory, in a file, or first in the one and then in the other."""
    monkeypatch.setattr("pfa_gate.model.evaluation.kept_outputs._IN_MEMORY", memory)
    full, other, labels = drawn(0)
    kept, batches = KeptOutputs(everything), data_of(60, labels, batch_size=16)
    assert scored(Replay(full), kept, True, batches) is None
    for rows in (other, full, other):
        found, wanted = scored(Replay(rows), kept, False, batches), replayed(full, rows, labels)
        assert found is not None
        assert (found.agreement, found.divergence, found.changes, found.recalls, found.data) == (
            wanted.agreement,
            wanted.divergence,
            wanted.changes,
            wanted.recalls,
            wanted.data,
        )
        assert found.output_error == (pytest.approx(wanted.output_error) if everything else None)


def test_what_was_kept_of_other_data_serves_nobody() -> None:
    full, other, labels = drawn(0)
    kept = KeptOutputs()
    scored(Replay(full), kept, True, data_of(60, labels, batch_size=16))
    assert scored(Replay(other), kept, False, data_of(60, 4 - labels, batch_size=16)) is None
    assert scored(Replay(other), kept, False, data_of(60, labels, batch_size=20)) is None
    assert scored(Replay(other), kept, False, data_of(40, labels[:40], batch_size=16)) is None
    assert scored(Replay(other), KeptOutputs(), False, data_of(60, labels)) is None


def test_a_class_is_named_once() -> None:
    assert ClassRecall(3, 40, 36, 32, 5, 1).fall == 0.1
