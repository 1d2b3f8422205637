"""A full model at chance: by an exact binomial sum computed apart, at the borders, and where chance is everything."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pfa_gate.model import Sampling, batches_of
from pfa_gate.model.evaluation import Score, at_chance
from pfa_gate.model.evaluation.score import score


def scored(counts: list[int], hits: int) -> Score:
    """A score of so many samples of each class."""
    labels = np.repeat(np.arange(len(counts)), counts)
    outcomes = (np.arange(len(labels)) < hits).astype(float)
    return Score(hits / len(labels), outcomes, len(labels), labels=labels)


def tail(hits: int, samples: int, common: int) -> Fraction:
    """The probability of at least so many hits, exactly."""
    share = Fraction(common, samples)
    chances = (comb(samples, k) * share**k * (1 - share) ** (samples - k) for k in range(hits, samples + 1))
    return sum(chances, Fraction(0))


@given(st.lists(st.integers(1, 30), min_size=2, max_size=9), st.data())
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize(("metric", "most"), [("accuracy", 1), ("top5", 5)])
def test_above_chance_is_what_chance_reaches_once_in_a_hundred(
    metric: str, most: int, counts: list[int], data: st.DataObject
) -> None:
    samples, common = sum(counts), sum(sorted(counts)[-most:])
    hits = data.draw(st.integers(0, samples))
    probability = tail(hits, samples, common)
    assert bool(at_chance(scored(counts, hits), metric)) == (probability > Fraction(1, 100) or common == samples)


def test_one_hit_more_is_above() -> None:
    above = next(hits for hits in range(401) if tail(hits, 400, 40) <= Fraction(1, 100))
    assert above == 56
    assert at_chance(scored([40] * 10, above), "accuracy") == ""
    assert at_chance(scored([40] * 10, above - 1), "accuracy") != ""
    assert at_chance(scored([40] * 10, 50), "accuracy") == (
        "The accuracy of the full model, 12.5%, is not above chance: the commonest class (0) is 10% of the 400 "
        "samples (one-sided binomial test, p = 0.0601)."
    )
    assert at_chance(scored([40] * 10, 205), "top5") == (
        "The top5 of the full model, 51.25%, is not above chance: the 5 commonest classes are 50% of the 400 samples "
        "(one-sided binomial test, p = 0.326)."
    )


class Constant(nn.Module):
    """Gives the same class scores for any input."""

    def __init__(self, best: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("scores", torch.eye(classes)[best])

    def forward(self, inputs: Tensor) -> Tensor:
        assert isinstance(self.scores, Tensor)
        return self.scores.expand(len(inputs), -1)


@pytest.mark.parametrize("best", [0, 1, 2])
def test_a_model_that_always_gives_one_answer_is_at_chance(best: int) -> None:
    labels = torch.tensor([0] * 900 + [1] * 60 + [2] * 40)
    found = score(Constant(best, 3), batches_of((torch.zeros(1000, 2), labels), "c", Sampling()), "accuracy")
    assert found.value == [0.9, 0.06, 0.04][best]
    assert "the commonest class (0) is 90% of the 1,000 samples" in at_chance(found, "accuracy")


def test_labels_of_one_class_show_nothing() -> None:
    assert at_chance(scored([0, 0, 50], 50), "accuracy") == (
        "The evaluation holds only class 2, so one answer for all inputs scores 100%."
    )
    assert at_chance(scored([10] * 5, 50), "top5") == (
        "The evaluation holds 5 classes, so one answer for all inputs scores 100%."
    )
    assert at_chance(scored([10] * 5, 50), "accuracy") == ""


def test_of_a_metric_of_ones_own_chance_is_not_known() -> None:
    assert at_chance(Score(0.0, None, 50), "net:loss") == ""
    assert at_chance(scored([25, 25], 25), "net:f1") == ""
