"""Answers and outputs of a file against its reference: laws, and what is not finite."""

import numpy as np
import pytest

from pfa_gate.budget import Flip
from pfa_gate.errors import ArtifactError
from pfa_gate.runtime.parity import TOLERANCE, Comparing, OutputGap, largest, thinned

RANDOM = np.random.default_rng(0)


def compared(reference: np.ndarray, here: np.ndarray, batch: int = 1000, tolerance: float = TOLERANCE) -> OutputGap:
    comparing = Comparing("model.onnx", tolerance)
    for start in range(0, len(reference), batch):
        part = slice(start, start + batch)
        comparing.update([reference[part]], [here[part]], len(reference[part]))
    return comparing.difference()


def test_a_file_that_gives_the_same_flips_nothing_and_has_no_gap() -> None:
    scores = RANDOM.normal(size=(50, 4)).astype(np.float32)
    found = compared(scores, scores.copy())
    assert (found.samples, found.flipped.tolist(), largest(found.gaps), largest(found.relative)) == (50, [], 0.0, 0.0)


@pytest.mark.parametrize("batch", [1, 7, 50])
def test_the_size_of_batches_changes_nothing(batch: int) -> None:
    scores = RANDOM.normal(3, 2, size=(50, 4))
    here = scores + RANDOM.normal(0, 0.5, size=scores.shape)
    found, whole = compared(scores, here, batch), compared(scores, here)
    assert (
        found.flipped.tolist() == whole.flipped.tolist() == np.flatnonzero(scores.argmax(1) != here.argmax(1)).tolist()
    )
    np.testing.assert_allclose(found.spreads, [scores.std()], rtol=1e-12)
    np.testing.assert_array_equal(found.gaps, np.abs(scores - here).max(1))
    np.testing.assert_allclose(found.relative, found.gaps / scores.std(), rtol=1e-12)


def test_what_flips_is_named_with_both_answers_and_the_lead_that_was_lost() -> None:
    scores, here = np.array([[0.0, 1.0, 3.0], [5.0, 0.0, 0.0]]), np.array([[0.0, 4.0, 3.0], [5.0, 0.0, 0.0]])
    found = compared(scores, here)
    assert found.named() == (Flip(0, 2, 1, 3.0, 2.0),)
    assert found.named([17, 18]) == (Flip(17, 2, 1, 3.0, 2.0),)


def test_what_is_no_class_score_flips_where_its_gap_exceeds_the_tolerance() -> None:
    maps = RANDOM.normal(size=(20, 3, 5, 5))
    here = maps.copy()
    here[4, 1, 2, 3] += 0.5 * TOLERANCE * maps.std()
    here[9, 0, 0, 0] += 2 * TOLERANCE * maps.std()
    found = compared(maps, here)
    assert found.answers is None
    assert found.named() == (Flip(9, None, None, pytest.approx(2 * TOLERANCE * maps.std())),)
    assert compared(maps[:, :1, 0, 0], here[:, :1, 0, 0]).answers is None, "one column is no choice of classes"


def test_a_number_that_is_not_finite_in_one_of_them_alone_is_a_flip() -> None:
    scores = np.array([[1.0, -np.inf], [np.nan, 2.0], [3.0, 1.0], [3.0, 1.0]])
    same = compared(scores, scores.copy())
    assert (same.flipped.tolist(), largest(same.gaps)) == ([], 0.0)
    here = scores.copy()
    here[2, 1] = -np.inf  # the answer is the same, and the output is not
    here[3, 0] = np.nan
    found = compared(scores, here)
    assert found.flipped.tolist() == [2, 3]
    assert largest(found.gaps) is None
    assert found.named()[0].gap is None


def test_an_output_that_never_changes_is_measured_by_its_size() -> None:
    same = np.full((5, 2, 2), 4.0)
    assert compared(same, same + 0.001).flipped.tolist() == []
    assert compared(same, same + 0.1).flipped.tolist() == [0, 1, 2, 3, 4]
    assert compared(same * 0, same * 0).flipped.tolist() == []


def test_an_output_without_an_axis_of_samples_counts_for_all() -> None:
    comparing = Comparing("model.onnx", TOLERANCE)
    comparing.update([np.zeros((3, 2, 1)), np.array(1.0)], [np.zeros((3, 2, 1)), np.array(2.0)], 3)
    assert comparing.difference().flipped.tolist() == [0, 1, 2]


def test_other_shapes_are_refused() -> None:
    comparing = Comparing("model.onnx", TOLERANCE)
    with pytest.raises(ArtifactError) as error:
        comparing.update([np.zeros((3, 2))], [np.zeros((3, 3))], 3)
    assert error.value.fact == "model.onnx gives outputs of the shapes [[3, 3]], and its reference [[3, 2]]."


def test_values_are_chosen_evenly_and_the_same_in_every_row() -> None:
    values = np.arange(2 * 1000).reshape(2, 10, 100)
    kept = thinned(values, 2, 7)
    np.testing.assert_array_equal(kept[1] - kept[0], np.full(7, 1000))
    assert np.diff(kept[0]).min() >= 142
