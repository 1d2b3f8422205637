"""A study of small real models: equal parameters, shared work, domains, and errors that stop nothing."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pfa_gate import trace
from pfa_gate.compress.prune import operate
from pfa_gate.config import load
from pfa_gate.errors import ConfigError, DataError, LabelsError, TooFewSamplesError
from pfa_gate.model import load as load_subject
from pfa_gate.pipeline import run as gates
from pfa_gate.record import Size
from pfa_gate.record.study import Study, Trial, dumps_study
from pfa_gate.study.options import StudyOptions
from pfa_gate.study.run import StudyObserver, run

NET = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 40, 3, padding=1)
        self.second = nn.Conv2d(40, 60, 3, padding=1)
        self.third = nn.Conv2d(60, 50, 3, padding=1)
        self.head = nn.Linear(50, 4)

    def forward(self, x):
        x = self.third(self.second(self.first(x).relu()).relu()).relu()
        return self.head(x.mean((2, 3)))


def build():
    torch.manual_seed(0)
    return Net()


def unlabelled():
    return torch.randn(200, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def probe():
    return unlabelled(), torch.arange(200) % 4


def test():
    images = torch.randn(90, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        answers = build().eval()(images).argmax(1)
    labels = torch.arange(90) % 4
    return images, torch.where(torch.arange(90) < 70, answers, labels)


def fingers(model, batches):
    return 5.0 + 0.0 * float(sum(model(*batch.args).sum() for batch in batches))
"""
CONFIG = """
version: 1
gates:
  small:
    model: {{factory: net.py:build}}
    probe: {{data: "net.py:{probe}", samples: 160, batch_size: 64, seed: 3}}
    recipe: {{strategy: kl, minimum: 2}}
    evaluation: {{data: net.py:test{metric}}}
    budgets: {{model: {{parameters: 1 M}}}}
"""


def project(folder: Path, probe: str = "probe", metric: str = "") -> Path:
    (folder / "net.py").write_text(NET)
    (folder / "pfa.yaml").write_text(CONFIG.format(probe=probe, metric=metric))
    return folder / "pfa.yaml"


ASK = StudyOptions(
    strategies=("energy:0.9", "macs:30%"),
    selections=("l1", "random"),
    recoveries=("compensate", "none"),
    random=3,
    uniform=True,
    seeds=2,
)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def study(config: Path) -> Study:
    return run(config, None, ASK)


def timeless(study: Study) -> Study:
    trials = tuple(replace(trial, seconds=0.0) for trial in study.trials)
    rows = tuple(replace(row, seconds=0.0) for row in study.rows)
    return replace(study, seconds=0.0, trials=trials, rows=rows)


def test_everything_asked_for_is_tried(study: Study) -> None:
    methods = [trial for trial in study.trials if trial.counts == "pfa"]
    assert len(methods) == 2 * (1 + 2) * 2
    assert len(study.trials) == len(methods) + 2 * (1 + 3) * 2
    assert study.failed == ()
    assert {trial.selection for trial in study.trials if trial.counts != "pfa"} == {"l1"}


def test_the_same_seed_gives_the_same_study(config: Path) -> None:
    ask = StudyOptions(
        ("kl",), selections=("random",), recoveries=("compensate", "none"), random=2, uniform=True, seeds=1
    )
    assert timeless(run(config, None, ask)) == timeless(run(config, None, ask))


def cut(config: Path, keep: Mapping[str, int]) -> int:
    """Parameters of a model cut by hand to these counts, whichever filters stay."""
    subject = load_subject(load(config), "small")
    images = subject.example.args[0]
    smaller = operate(subject.model, images, {name: np.arange(count) for name, count in keep.items()})
    return sum(parameter.numel() for parameter in smaller.parameters())


def test_parameters_are_equal_by_two_ways_of_counting(config: Path, study: Study) -> None:
    subject = load_subject(load(config), "small")
    coupling = trace(subject.model, subject.example.args[0])
    target = {plan.strategy: plan.size.parameters for plan in study.plans if plan.size}
    compared = [trial for trial in study.trials if trial.counts != "pfa" and trial.recovery == "none"]
    assert len(compared) == 8
    for trial in compared:
        assert trial.size is not None
        assert coupling.footprint(trial.keep).parameters == trial.size.parameters
        assert abs(trial.size.parameters - target[trial.strategy]) <= 0.01 * target[trial.strategy]
        assert all(count >= 2 for count in trial.keep.values())
    for trial in compared[::3]:
        assert trial.size is not None
        assert cut(config, trial.keep) == trial.size.parameters
    assert len({tuple(trial.keep.values()) for trial in compared if trial.counts == "random"}) == 6


def test_a_size_is_met(study: Study) -> None:
    size = study.plans[1].size
    assert size is not None
    assert 0.25 * study.model.macs < size.macs <= 0.3 * study.model.macs


@pytest.mark.parametrize("recovery", ["none", "compensate"])
def test_a_trial_is_what_a_gate_finds(config: Path, study: Study, recovery: str, tmp_path: Path) -> None:
    """The shared trace, spectra, orders and first steps change nothing."""
    text = config.read_text().replace("{strategy: kl, minimum: 2}", "{strategy: energy, energy: 0.9, minimum: 2}")
    text += f"    selection: l1\n    recovery: [{'' if recovery == 'none' else recovery}]\n"
    text = text.replace("budgets: {", "budgets: {compressed: {output_error: 900%}, ", 1)
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "pfa.yaml").write_text(text)
    record = gates.run(tmp_path / "pfa.yaml").record
    (trial,) = [
        each
        for each in study.trials
        if (each.strategy, each.counts, each.selection, each.recovery) == ("energy:0.9", "pfa", "l1", recovery)
    ]
    assert record.scores is not None
    assert record.compressed is not None
    assert trial.accuracy == record.scores.compressed
    part = record.compressed
    assert trial.size == Size(part.parameters, part.bytes, part.macs, part.memory, part.energy)
    assert study.model == record.model
    assert study.tasks[0].accuracy == record.scores.full
    assert trial.answers is not None
    assert record.answers is not None
    for key in ("agreement", "divergence", "output_error"):
        assert getattr(trial.answers, key) == getattr(record.answers, key).value
    worst = max((each.fall for each in record.answers.classes if each.p is not None), default=None)
    assert trial.answers.class_drop == (None if worst is None else pytest.approx(worst / 100))
    assert all(row.answers is not None for row in study.rows)


def test_the_random_baseline_is_that_of_its_trials(study: Study) -> None:
    data, keys = json.loads(dumps_study(study)), ("strategy", "selection", "recovery")
    rows = [row for row in data["rows"] if row["kind"].startswith("random")]
    assert Counter(row["kind"] for row in rows) == {"random mean": 4, "random best": 4}
    for row in rows:
        mine = [t for t in data["trials"] if t["counts"] == "random" and all(t[key] == row[key] for key in keys)]
        scores = [trial["accuracy"] for trial in mine]
        assert len(scores) == 3
        told = sum(scores) / 3 if row["kind"] == "random mean" else max(scores)
        assert row["accuracy"] == pytest.approx(told, abs=1e-12)


def test_a_selection_that_draws_runs_for_every_seed(study: Study) -> None:
    drawn = [trial for trial in study.trials if (trial.selection, trial.strategy) == ("random", "energy:0.9")]
    assert [(trial.seed, trial.recovery) for trial in drawn] == [
        (seed, recovery) for seed in range(2) for recovery in ("compensate", "none")
    ]
    (row,) = [
        row for row in study.rows if (row.selection, row.strategy, row.recovery) == ("random", "energy:0.9", "none")
    ]
    assert row.trials == 2
    assert row.spread is not None


def test_a_domain_is_its_samples(config: Path, study: Study) -> None:
    watched: list[Trial] = []
    found = run(config, None, StudyOptions(("kl",), domains=((1, 3), (0, 1, 2))), StudyObserver(trial=watched.append))
    whole, pair, most = found.tasks
    assert [task.name for task in found.tasks] == ["all", "1,3", "0,1,2"]
    assert whole == replace(study.tasks[0], studied=False)
    assert (pair.studied, most.studied) == (True, True)
    subject = load_subject(load(config), "small")
    labels = torch.cat([batch.labels for batch in subject.probe])
    assert pair.probe == int(((labels == 1) | (labels == 3)).sum())
    assert subject.evaluation is not None
    images = torch.cat([batch.args[0] for batch in subject.evaluation])
    labels = torch.cat([batch.labels for batch in subject.evaluation])
    mine = (labels == 1) | (labels == 3)
    with torch.no_grad():
        hits = (subject.model(images[mine]).argmax(1) == labels[mine]).double()
    assert pair.evaluation == len(hits)
    assert pair.accuracy == pytest.approx(float(hits.mean()))
    assert pair.stderr == pytest.approx(float(hits.std() / len(hits) ** 0.5))
    assert [(plan.task, plan.strategy) for plan in found.plans] == [("all", "kl"), ("1,3", "kl"), ("0,1,2", "kl")]
    assert [trial.task for trial in found.trials] == ["1,3", "0,1,2"]
    assert tuple(watched) == found.trials


def test_a_domain_needs_labels_and_samples(config: Path, tmp_path: Path) -> None:
    with pytest.raises(LabelsError, match="cannot be restricted to a domain"):
        run(project(tmp_path, "unlabelled"), None, StudyOptions(("kl",), domains=((1,),)))
    with pytest.raises(DataError, match=r"no sample of class 7"):
        run(config, None, StudyOptions(("kl",), domains=((1, 7),)))


def test_a_domain_too_small_to_measure_is_an_error_before_any_trial(config: Path) -> None:
    tried: list[Trial] = []
    with pytest.raises(TooFewSamplesError, match="43 samples for 60 filters"):
        run(config, None, StudyOptions(("kl",), domains=((1, 3), (0,))), StudyObserver(trial=tried.append))
    assert tried == []


def test_what_fails_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    ask = StudyOptions(("parameters:0.01%", "kl"), selections=("taylor", "l1"), random=1)
    found = run(project(tmp_path, "unlabelled"), None, ask)
    told = {(t.strategy, t.selection, t.counts): t.reason for t in found.trials}
    assert "The smallest recipe has" in told["parameters:0.01%", "l1", "pfa"]
    assert "labels" in told["kl", "taylor", "pfa"]
    assert "labels" in told["kl", "taylor", "random"]
    assert told["kl", "l1", "pfa"] is None
    assert ("parameters:0.01%", "taylor", "random") not in told
    assert len(found.failed) == 4


def test_a_recovery_that_fails_leaves_the_others(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def train(model, batches):\n    raise ValueError('no')\n")
    ask = StudyOptions(("kl",), recoveries=("none", "recalibrate+finetune:mine.py:train", "recalibrate"))
    found = run(project(tmp_path), None, ask)
    reasons = {trial.recovery: trial.reason for trial in found.trials}
    assert reasons["none"] is None
    assert reasons["recalibrate"] is None
    assert "ValueError" in str(reasons["recalibrate+finetune:mine.py:train"])


def test_a_metric_of_ones_own_has_no_error(tmp_path: Path) -> None:
    found = run(
        project(tmp_path, metric=", metric: net.py:fingers, direction: higher"), None, StudyOptions(("kl",), random=2)
    )
    assert {trial.accuracy for trial in found.trials} == {5.0}
    assert {row.stderr for row in found.rows} == {None}
    assert found.tasks[0].stderr is None


@pytest.mark.parametrize(
    "ask",
    [
        StudyOptions(("entropy",)),
        StudyOptions(("energy",)),
        StudyOptions(("energy:2",)),
        StudyOptions(("kl:2",)),
        StudyOptions(("parameters:lots",)),
        StudyOptions(("kl",), selections=("l7",)),
        StudyOptions(("kl",), recoveries=("compensate+magic",)),
    ],
)
def test_words_are_checked_before_anything_runs(config: Path, ask: StudyOptions) -> None:
    stages: list[str] = []
    with pytest.raises(ConfigError):
        run(config, None, ask, StudyObserver(lambda stage, done, total: stages.append(stage)))
    assert stages == []


def test_a_study_needs_an_evaluation(tmp_path: Path) -> None:
    path = project(tmp_path)
    path.write_text("\n".join(line for line in path.read_text().splitlines() if "evaluation" not in line))
    with pytest.raises(ConfigError, match=r"needs an evaluation"):
        run(path, None, StudyOptions(("kl",)))
