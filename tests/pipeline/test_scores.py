"""Scores in a gate: the direction and the unit of a metric, limits on scores, and a full model at chance."""

import json
import os
import re
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import pytest

from pfa_gate.record import Record, dumps, loads

PROJECT = """
import torch
from torch import nn
from torch.utils.data import TensorDataset


def samples(seed, count=400):
    '''Eight clusters in sixteen dimensions.'''
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(8, 16, generator=torch.Generator().manual_seed(7))
    labels = torch.randint(8, (count,), generator=draw)
    return centres[labels] + 0.8 * torch.randn(count, 16, generator=draw), labels


def probe():
    return samples(1)[0]


def test():
    return TensorDataset(*samples(2))


def one_class():
    inputs, labels = samples(2)
    return TensorDataset(inputs[labels == 3], labels[labels == 3])


def untrained():
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(16, 24), nn.ReLU(), nn.Linear(24, 8))


def trained():
    '''The second layer is solved for, so that nothing has to be trained.'''
    model = untrained()
    inputs, labels = samples(0, 2000)
    hidden = torch.cat([model[:2](inputs), torch.ones(len(inputs), 1)], dim=1).double()
    solved = torch.linalg.lstsq(hidden, 8 * nn.functional.one_hot(labels, 8).double()).solution.float()
    with torch.no_grad():
        model[2].weight.copy_(solved[:-1].T)
        model[2].bias.copy_(solved[-1])
    return model


def branches():
    '''A model that cannot be followed.'''
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = trained()

        def forward(self, x):
            return self.net(x) if x.sum() > -1e9 else x

    return Branches()


def loss(model, batches):
    total = count = 0
    for inputs, labels in batches:
        total += nn.functional.cross_entropy(model(inputs), labels, reduction="sum").item()
        count += len(labels)
    return total / count


def likelihood(model, batches):
    return -loss(model, batches)
"""
GATE = """
  {name}:
    model: {{factory: net.py:{factory}}}
    probe: {{data: net.py:probe}}
    artifacts: [weights]
    recipe: {{strategy: energy, energy: 0.7}}
    recovery: [{recovery}]
    evaluation: {{data: net.py:{data}, {scored}}}
    budgets: {{{budgets}}}
    selection: correlation
"""
LOSS, LIKELIHOOD = "metric: net.py:loss, direction: lower", "metric: net.py:likelihood, direction: higher"


GATES = {
    "loss": {"scored": LOSS, "recovery": "compensate"},
    "likelihood": {"scored": LIKELIHOOD, "recovery": "compensate"},
    "chance": {
        "factory": "untrained",
        "budgets": "model: {score: {min: 5%}}, compressed: {accuracy_drop: 100 pp, class_drop: 1, score: {min: 90%}}",
    },
    "meant": {
        "factory": "untrained",
        "scored": "allow_chance: true",
        "budgets": "model: {score: {min: 90%}}, "
        "compressed: {accuracy_drop: 100 pp, agreement: {min: 1%, ratchet: true}, class_drop: {ratchet: true}}",
    },
    "quiet": {"factory": "untrained", "budgets": "model: {parameters: 1 k}"},
    "one": {"data": "one_class", "budgets": "compressed: {score_drop: 100 pp}"},
    "branches": {
        "factory": "branches",
        "budgets": "model: {score: {min: 50%}}, compressed: {score: {min: 50%}, accuracy_drop: 2 pp}",
    },
}
PLAIN = {
    "factory": "trained",
    "recovery": "",
    "data": "test",
    "scored": "metric: accuracy",
    "budgets": "model: {score: {SIDE}}, compressed: {score_drop: 0.01}",
}


@dataclass(frozen=True)
class Ran:
    """One real run of all gates: where, what it printed, and its records."""

    folder: Path
    status: int
    shown: str
    records: dict[str, Record]


def verdicts(record: Record) -> dict[str, tuple[str, str]]:
    return {each.id: (each.outcome, each.sentence) for each in record.budgets}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, torch_python: str) -> Ran:
    folder = tmp_path_factory.mktemp("scores")
    (folder / "net.py").write_text(PROJECT)
    text = "".join(GATE.format(name=name, **{**PLAIN, **gate}) for name, gate in GATES.items())
    sides = iter(("{max: 9}", "{min: -9}"))
    (folder / "pfa.yaml").write_text("version: 1\ngates:" + re.sub("SIDE", lambda found: next(sides)[1:-1], text))
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [torch_python, "-m", "pytest", "--pfa", "--pfa-update-baseline", "--junitxml=junit.xml"],
        cwd=folder,
        env={**own, "COLUMNS": "120", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    records = {name: loads((folder / ".pfa" / name / "record.json").read_text("utf-8")) for name in GATES}
    return Ran(folder, done.returncode, done.stdout, records)


def test_a_loss_that_rises_breaks_the_build_and_no_report_says_points(ran: Ran) -> None:
    assert ran.status == 1
    sentence = r"The score rises by \d\.\d+ \(lower is better\), \d\.\d+ more than the limit of 0\.01\."
    outcome, said = verdicts(ran.records["loss"])["compressed.score_drop"]
    assert outcome == "broken"
    assert re.fullmatch(sentence, said)
    assert said in ran.shown
    section = ran.shown.split("\nloss  BROKEN")[1].split("\n\nFiles")[0]
    folder = ran.folder / ".pfa" / "loss"
    for text in (section, (folder / "report.md").read_text("utf-8"), (folder / "report.html").read_text("utf-8")):
        assert "lower is better" in text
        assert not re.search(r"\d pp", text)


def test_a_metric_and_its_negative_fall_alike(ran: Ran) -> None:
    loss, likelihood = (ran.records[name].scores for name in ("loss", "likelihood"))
    assert loss is not None
    assert likelihood is not None
    assert loss.full is not None
    assert likelihood.full == pytest.approx(-loss.full)
    assert (loss.direction, loss.unit, likelihood.direction, likelihood.unit) == ("lower", "plain", "higher", "plain")
    assert loss.drop is not None
    assert loss.drop > 0.05
    assert likelihood.drop == pytest.approx(loss.drop)
    assert loss.interval == pytest.approx(likelihood.interval)
    assert loss.interval is not None
    assert loss.interval[0] < loss.drop < loss.interval[1]
    outcome, sentence = verdicts(ran.records["likelihood"])["compressed.score_drop"]
    assert outcome == "broken"
    assert sentence.startswith("The score falls by")
    for name in ("loss", "likelihood"):
        assert verdicts(ran.records[name])["model.score"][0] == "kept"
        assert loads(dumps(ran.records[name])) == ran.records[name]


def test_junit_and_baseline_hold_scores_in_the_metrics_own_unit(ran: Ran) -> None:
    scores = ran.records["loss"].scores
    assert scores is not None
    cases = ET.parse(ran.folder / "junit.xml").iter("testcase")
    of_loss = {
        case.get("name"): {each.get("name"): each.get("value") for each in case.iter("property")}
        for case in cases
        if str(case.get("classname")).endswith("loss")
    }
    assert of_loss["compressed.score_drop"]["pfa_value"] == str(scores.drop)
    assert (of_loss["model.score"]["pfa_limit"], of_loss["model.score"]["pfa_value"]) == ("max 9", str(scores.full))
    kept = json.loads((ran.folder / "pfa.baseline.json").read_text("utf-8"))["gates"]
    assert kept["loss"]["budgets"]["compressed.score_drop"] == pytest.approx(scores.drop, abs=1e-6)
    assert "compressed.accuracy_drop" not in kept["loss"]["budgets"]
    assert kept["loss"]["subject"]["evaluation"] == ["net.py:test", "net.py:loss", "lower"]
    assert not [name for name in kept["quiet"]["budgets"] if "drop" in name]
    answers = ran.records["meant"].answers
    assert answers is not None
    assert answers.agreement is not None
    assert kept["meant"]["budgets"]["compressed.agreement"] == round(100 * answers.agreement.value, 6)
    assert kept["meant"]["budgets"]["compressed.class_drop"] == round(max(each.fall for each in answers.classes), 6)
    assert sorted(kept) == ["likelihood", "loss", "meant", "quiet"]


CHANCE = re.compile(
    r"The accuracy of the full model, [\d.]+%, is not above chance: the commonest class \(\d\) is [\d.]+% of the 400 "
    r"samples \(one-sided binomial test, p = [\d.]+\)\. A drop from there says nothing\. Check model\.checkpoint, "
    r"which is not set, and inputs and labels; if this is meant, write evaluation: \{allow_chance: true\}\."
)


def test_a_full_model_at_chance_keeps_no_drop(ran: Ran) -> None:
    found = verdicts(ran.records["chance"])
    assert [found[name][0] for name in ("model.score", "compressed.score")] == ["kept", "broken"]
    assert found["compressed.accuracy_drop"][0] == "not judged"
    assert found["compressed.class_drop"] == found["compressed.accuracy_drop"]
    assert CHANCE.fullmatch(found["compressed.accuracy_drop"][1])
    assert "ERROR pfa.yaml::chance::compressed.accuracy_drop" in ran.shown
    assert verdicts(ran.records["meant"])["compressed.accuracy_drop"][0] == "kept"
    assert verdicts(ran.records["meant"])["model.score"][0] == "broken"
    (told,) = [each.reason for each in ran.records["quiet"].unmeasured if each.what == "drop of the score"]
    assert CHANCE.fullmatch(told)
    outcome, sentence = verdicts(ran.records["one"])["compressed.score_drop"]
    assert outcome == "not judged"
    assert sentence.startswith("The evaluation holds only class 3, so one answer for all inputs scores 100%.")


def test_the_full_model_is_scored_where_none_can_be_cut(ran: Ran) -> None:
    record = ran.records["branches"]
    found = verdicts(record)
    assert record.compressed is None
    assert [found[name][0] for name in found] == ["not judged", "kept", "not judged", "not judged"]
    assert record.scores is not None
    assert (record.scores.compressed, record.scores.drop) == (None, None)
    (reason,) = {found[f"compressed.{key}"][1] for key in ("score", "accuracy_drop")}
    assert reason == found["exact"][1]
