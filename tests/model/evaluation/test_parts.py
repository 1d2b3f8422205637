"""The interval for metrics of the user's own: against simulation and by hand, and where there is none."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pfa_gate.errors import DataError
from pfa_gate.model import Batches, Sampling, batches_of
from pfa_gate.model.evaluation import Score, drop_interval
from pfa_gate.model.evaluation.passes import parts_of
from pfa_gate.model.evaluation.score import score

RNG = np.random.default_rng(3)


def data(samples: int, batch: int = 30) -> Batches:
    inputs = torch.arange(samples, dtype=torch.float64)[:, None]
    return batches_of((inputs, inputs[:, 0] % 2), "net:test", Sampling(batch_size=batch))


def mean_output(model: nn.Module, batches: Batches) -> float:
    total = sum(float(model(*batch.args).sum()) for batch in batches)
    return total / sum(batch.size for batch in batches)


@pytest.mark.parametrize("samples", [64, 65, 100, 159, 160, 161, 1000])
@pytest.mark.parametrize("batch", [1, 30, 10_000])
def test_parts_hold_every_sample_once_and_in_order(samples: int, batch: int) -> None:
    parts = [torch.cat([each.args[0][:, 0] for each in part]) for part in parts_of(data(samples, batch))]
    assert torch.cat(parts).tolist() == list(range(samples))
    sizes = {len(part) for part in parts}
    assert 8 <= len(parts) <= 20
    assert min(sizes) >= 8
    assert max(sizes) - min(sizes) <= 1


def test_labels_and_repeated_passes_go_with_a_part() -> None:
    for part in parts_of(data(100)):
        for _ in range(2):
            for batch in part:
                assert torch.equal(batch.labels, batch.args[0][:, 0] % 2)


def test_a_score_in_parts_is_the_metric_on_each() -> None:
    found = score(nn.Identity(), data(100), mean_output, in_parts=True)
    assert found.value == 49.5
    assert found.parts is not None
    by_hand = [np.arange(100 * part // 12, 100 * (part + 1) // 12).mean() for part in range(12)]
    assert found.parts == pytest.approx(by_hand)
    assert score(nn.Identity(), data(100), mean_output).parts is None


@pytest.mark.parametrize(("parts", "spread"), [(8, 1.0), (20, 0.1)])
def test_the_interval_covers_the_truth_as_often_as_it_says(parts: int, spread: float) -> None:
    covered = 0
    for _ in range(1500):
        full = RNG.normal(size=parts)
        compressed = full - 0.3 + spread * RNG.normal(size=parts)
        drop = float(np.mean(full) - np.mean(compressed))
        low, high = drop_interval(Score(drop, None, 100, full), Score(0.0, None, 100, compressed)) or (9.0, 9.0)
        covered += low <= 0.3 <= high
    assert 0.92 <= covered / 1500 <= 0.98


def test_it_turns_with_the_models_and_is_the_same_every_time() -> None:
    full, compressed = Score(2.0, None, 100, RNG.normal(size=20)), Score(1.5, None, 100, RNG.normal(size=20))
    low, high = drop_interval(full, compressed) or (0.0, 0.0)
    assert low < 0.5 < high
    assert drop_interval(full, compressed) == (low, high)
    assert drop_interval(compressed, full) == pytest.approx((-high, -low), abs=0.15)


def test_two_models_that_never_differ_have_a_drop_of_nothing() -> None:
    same = score(nn.Identity(), data(100), mean_output, in_parts=True)
    assert drop_interval(same, same) == (0.0, 0.0)


def both_kinds(model: nn.Module, batches: Batches) -> float:
    seen = sum(len(model(*batch.args)) for batch in batches)
    if seen < 50:
        raise ValueError("only one class")
    return 0.5


@pytest.mark.parametrize(
    ("samples", "metric", "why"),
    [
        (63, mean_output, "the evaluation has 63 samples; 64 are needed"),
        (
            100,
            both_kinds,
            "on a part of the evaluation alone it fails: The metric 'both_kinds' raised ValueError: only",
        ),
    ],
)
def test_why_there_is_no_interval_is_said(samples: int, metric: Any, why: str) -> None:
    found = score(nn.Identity(), data(samples), metric, in_parts=True)
    assert found.parts is None
    assert found.no_parts.startswith(why)
    assert drop_interval(found, found) is None


def test_scores_of_different_data_are_refused() -> None:
    with pytest.raises(DataError, match="gave 3 samples for the full model, and 2"):
        drop_interval(Score(0.9, None, 3), Score(0.8, None, 2))
