"""The strategy `score`: the smallest model whose score holds, found in few trials and reported on other samples."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import pfa_gate
from pfa_gate.compress.select import registry
from pfa_gate.errors import ConfigError, DataError, MetricError, TargetError
from pfa_gate.model import Sampling, batches_of
from pfa_gate.pipeline import plan as planning
from pfa_gate.pipeline.halves import halves
from pfa_gate.pipeline.run import Run
from pfa_gate.pipeline.smallest import MOST, TriedSize, narrow_down
from pfa_gate.record import dumps, loads
from pfa_gate.record.search import SearchRecord

PROJECT = """
import torch
from torch import nn
from torch.utils.data import TensorDataset


def samples(seed, count=600):
    '''Four classes, told apart by which of four patterns is in the noise.'''
    draw = torch.Generator().manual_seed(seed)
    patterns = torch.randn(4, 2, 6, 6, generator=torch.Generator().manual_seed(7))
    labels = torch.arange(count) % 4
    return TensorDataset(patterns[labels] + 1.2 * torch.randn(count, 2, 6, 6, generator=draw), labels)


def probe():
    return samples(1)


def test():
    return samples(2)


def validation():
    return samples(3, 200)


def few():
    return samples(4, 40)


def build():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 4),
    )
    images, labels = samples(0).tensors
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    with torch.enable_grad():
        for step in range(40):
            chosen = torch.randperm(600)[:100]
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images[chosen]), labels[chosen]).backward()
            optimiser.step()
    return model.eval()


def blank():
    model = build()
    nn.init.zeros_(model[-1].weight)
    return model


def loss(model, batches):
    total = [nn.functional.cross_entropy(model(*batch.args), batch.labels, reduction="sum") for batch in batches]
    return float(sum(total)) / batches.samples
"""
GATE = """
  {name}:
    model: {{factory: net.py:{factory}}}
    probe: {{data: net.py:probe, samples: 240}}
    recipe: {{strategy: score, {recipe}}}
    evaluation: {{data: net.py:{data}{metric}}}
    artifacts: [weights]
    budgets: {{compressed: {{score_drop: 100}}}}
"""
DEFAULTS = {"factory": "build", "data": "test", "metric": ""}
LOSS = ", metric: net.py:loss, direction: lower"
GATES = {
    "plain": {"recipe": "score: 2 pp"},
    "confident": {"recipe": "score: 4 pp, confident: true, of: macs"},
    "loss": {"recipe": "score: 0.05, data: net.py:validation, statistic: reconstruction", "metric": LOSS},
    "rounds": {"recipe": "score: 4 pp, rounds: 2, of: latency"},
    "unreachable": {"recipe": "score: 0.001 pp, confident: true"},
    "blank": {"factory": "blank", "recipe": "score: 2 pp"},
    "unsure": {"data": "few", "recipe": "score: 0.1, confident: true", "metric": LOSS},
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    (folder / "net.py").write_text(PROJECT)
    gates = "".join(
        GATE.format(name=name, **(DEFAULTS | keys)).replace("100}", "100 pp}" if "metric" not in keys else "100}")
        for name, keys in GATES.items()
    )
    (folder / "pfa.yaml").write_text(f"version: 1\ngates:{gates}")
    return folder / "pfa.yaml"


@pytest.fixture(scope="module")
def runs(config: Path) -> dict[str, Run]:
    return {name: pfa_gate.run(config, name) for name in ("plain", "confident", "loss", "rounds")}


def found(run: Run) -> SearchRecord:
    assert run.record.recipe is not None
    assert run.record.recipe.search is not None
    return run.record.recipe.search


@pytest.mark.parametrize("name", ["plain", "confident", "loss", "rounds"])
def test_the_smallest_trial_that_holds_is_the_model_that_is_delivered(runs: dict[str, Run], name: str) -> None:
    search, record = found(runs[name]), runs[name].record
    assert 3 <= len(search.trials) <= MOST
    for trial in search.trials:
        bound = trial.interval[1] if search.confident and trial.interval else trial.drop
        assert trial.holds == (bound <= search.limit + 1e-9)
        fall = trial.score - search.full if name == "loss" else search.full - trial.score
        assert trial.drop == pytest.approx(fall)
    held = [trial for trial in search.trials if trial.holds]
    assert search.best.size(search.of) == min(trial.size(search.of) for trial in held)
    assert record.compressed is not None
    assert (record.compressed.parameters, record.compressed.macs) == (search.best.parameters, search.best.macs)
    assert search.best.parameters < record.model.parameters
    assert record.recipe is not None
    assert record.recipe.strategy == "score"
    assert len({(trial.parameters, trial.energy) for trial in search.trials}) == len(search.trials)


def test_what_is_reported_was_not_chosen_by(runs: dict[str, Run]) -> None:
    plain, loss = found(runs["plain"]), found(runs["loss"])
    assert (plain.data, plain.samples, plain.reported) == ("a half of the evaluation", 300, 300)
    assert (loss.data, loss.samples, loss.reported) == ("net.py:validation", 200, 600)
    scores, record = runs["plain"].record.scores, runs["plain"].record
    assert scores is not None
    assert scores.full is not None
    assert round(300 * scores.full) == pytest.approx(300 * scores.full)
    assert record.compressed is not None
    assert record.compressed.recovery[-1].accuracy == scores.compressed


def test_the_record_keeps_every_trial(runs: dict[str, Run]) -> None:
    for run in runs.values():
        assert loads(dumps(run.record)) == run.record
    assert all(trial.latency is not None for trial in found(runs["rounds"]).trials)
    assert len(runs["rounds"].record.recipe.rounds) == 2 if runs["rounds"].record.recipe else False
    old = json.loads(dumps(runs["plain"].record))
    del old["recipe"]["search"]
    assert loads(json.dumps(old)).recipe == replace(runs["plain"].record.recipe, search=None)  # type: ignore[type-var]


def test_a_limit_that_no_trial_keeps_is_an_error_with_the_best(config: Path) -> None:
    with pytest.raises(TargetError) as caught:
        pfa_gate.run(config, "unreachable")
    assert caught.match(
        r"^None of \d trials keeps the fall of the score within 0\.001 pp\. The best has [\d.]+ k parameters"
    )
    assert caught.match(r"falls by -?[\d.]+ pp on 300 samples; the upper end of its interval, [\d.]+ pp, has to keep")
    assert caught.match(r"pfa.yaml:\d+:\d+, in gate 'unreachable', while searching")
    assert caught.match("Raise recipe.score, give more samples to evaluate, or add a recovery step")


def test_a_model_at_chance_has_no_score_to_hold(config: Path) -> None:
    with pytest.raises(DataError, match="The strategy score has nothing to hold: The accuracy of the full model"):
        pfa_gate.run(config, "blank")


def test_where_there_is_no_interval_none_can_be_asked_to_hold(config: Path) -> None:
    with pytest.raises(MetricError, match="needs an interval of the fall, and there is none: the evaluation has"):
        pfa_gate.run(config, "unsure")


def test_what_only_the_full_model_decides_is_computed_once(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The order of removal, and the passes of the full model that it takes."""
    asked = []
    order = registry.SELECTIONS["reconstruction"]
    monkeypatch.setitem(registry.SELECTIONS, "reconstruction", lambda given: asked.append(1) or order(given))
    losses = planning.reader_losses
    monkeypatch.setattr(planning, "reader_losses", lambda given: asked.append(2) or losses(given))
    pfa_gate.run(config, "loss")
    assert sorted(asked) == [1, 2]


def test_halves_are_drawn_by_the_seed_alike_for_each_class_whatever_the_batch_size() -> None:
    images, labels = torch.arange(101.0)[:, None], torch.arange(101) % 3
    drawn = {}
    for size in (7, 101):
        parts = halves(batches_of((images, labels), "all", Sampling(batch_size=size)), seed=5)
        drawn[size] = [np.concatenate([batch.args[0].flatten().numpy() for batch in part]) for part in parts]
    first, second = drawn[7]
    assert all(np.array_equal(one, other) for one, other in zip(drawn[7], drawn[101], strict=True))
    assert sorted([*first, *second]) == images.flatten().tolist()
    counts = [np.bincount(labels.numpy()[part.astype(int)]) for part in (first, second)]
    assert np.abs(counts[0] - counts[1]).max() <= 1
    other = halves(batches_of((images, labels), "all", Sampling()), seed=6)[0]
    assert not np.array_equal(np.concatenate([batch.args[0].flatten().numpy() for batch in other]), first)
    with pytest.raises(DataError, match="too few for a half to search with and a half to report"):
        halves(batches_of(images[:3], "three", Sampling()), seed=0)


@pytest.mark.parametrize("border", [0.06, 0.31, 0.5, 0.613, 0.87, 0.995])
def test_a_border_is_found_to_a_sixty_fourth(border: float) -> None:
    asked = list[float]()

    def attempt(share: float) -> TriedSize:
        asked.append(share)
        return TriedSize(share, share >= border)

    narrow_down(attempt)
    assert len(asked) == len(set(asked)) <= MOST
    best = min((share for share in asked if share >= border), default=1.0)
    assert border <= best <= border + 1 / 64


def test_a_size_that_holds_below_one_that_does_not_is_found() -> None:
    asked = list[float]()

    def attempt(share: float) -> TriedSize:
        asked.append(share)
        return TriedSize(share, 0.64 < share < 0.67 or share > 0.7)

    narrow_down(attempt)
    assert min(share for share in asked if share > 0.64) < 0.67


def test_what_comes_to_the_same_counts_costs_no_trial() -> None:
    steps = list[float]()

    def attempt(share: float) -> TriedSize | None:
        if share < 0.25:
            return None
        step = share // 0.25 / 4
        steps.append(step)
        return TriedSize(step, step >= 0.5, fresh=steps.count(step) == 1)

    narrow_down(attempt)
    assert set(steps) == {0.25, 0.5}


def test_a_study_has_no_use_for_it(config: Path) -> None:
    from pfa_gate.config import load  # noqa: PLC0415
    from pfa_gate.study.options import with_strategy  # noqa: PLC0415

    with pytest.raises(ConfigError, match="A study compares recipes of known sizes, and 'score' looks for one"):
        with_strategy(load(config).gate("plain"), "score:0.01")
