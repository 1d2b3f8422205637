"""A gate for each kind of task with a class of torchmetrics: the scores are those of NumPy, drops have an interval."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torchmetrics.segmentation
from sklearn.metrics import average_precision_score

from pfa_gate.errors import ConfigError, FactoryError, LabelsError, MetricError, PFAGateError, TargetError
from pfa_gate.pipeline.run import Run, run
from pfa_gate.record import Scores, loads

PROJECT = """
import torch
from torch import nn


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def dense(outputs):
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, outputs))


def pixels():
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 3, 1))


def text():
    torch.manual_seed(3)
    return nn.Sequential(nn.Embedding(11, 8), nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 11))


def probe():
    return noise(64, 6)


def images():
    return noise(64, 3, 5, 5)


def tokens():
    return torch.randint(0, 11, (64, 7), generator=torch.Generator().manual_seed(1))


def answers(model, inputs, spread):
    with torch.no_grad():
        outputs = model(inputs)
    return outputs + spread * noise(*outputs.shape, seed=9)


def classes():
    inputs = noise(150, 6, seed=5)
    return inputs, answers(dense(4), inputs, 0.2).argmax(1)


def tags():
    inputs = noise(150, 6, seed=5)
    return inputs, (answers(dense(2), inputs, 0.2) > 0.1).float()  # as BCEWithLogitsLoss takes them


def values():
    inputs = noise(150, 6, seed=5)
    return inputs, answers(dense(1), inputs, 0.1)[:, 0]


def queries():
    inputs = noise(150, 6, seed=5)
    relevant = (answers(dense(1), inputs, 0.2)[:, 0] > 0.1).long()
    return inputs, {"target": relevant, "indexes": torch.arange(150) % 30}


def masks():
    inputs = noise(80, 3, 5, 5, seed=5)
    return inputs, answers(pixels(), inputs, 0.2).argmax(1)


def next_tokens():
    inputs = torch.randint(0, 11, (80, 7), generator=torch.Generator().manual_seed(5))
    following = answers(text(), inputs, 0.5).argmax(-1)
    following[:, -1] = -100
    return inputs, following


def within(model, batches, tolerance, relative=False):
    hits = [((model(inputs)[:, 0] - target).abs() <= tolerance).double() for inputs, target in batches]
    return torch.cat(hits).mean().item()
"""
Array = npt.NDArray[Any]


def softmax(scores: Array) -> Array:
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    shares: Array = powers / powers.sum(-1, keepdims=True)
    return shares


def f1(scores: Array, labels: Array) -> float:
    chosen = scores.argmax(1)
    both = [2 * np.sum((chosen == c) & (labels == c)) / (np.sum(chosen == c) + np.sum(labels == c)) for c in range(4)]
    return float(np.mean(both))


def of_tags(scores: Array, labels: Array) -> float:
    return float(average_precision_score(labels, scores))


def of_queries(scores: Array, labels: dict[str, Array]) -> float:
    of = [labels["indexes"] == query for query in range(30)]
    pairs = [(labels["target"][rows], scores[rows, 0]) for rows in of]
    # A query without a relevant document counts as 0.
    return float(sum(average_precision_score(*pair) for pair in pairs if pair[0].any()) / 30)


def overlap(share: Callable[[float, float, float], float]) -> Callable[[Array, Array], float]:
    def over_images(scores: Array, labels: Array) -> float:
        chosen = scores.argmax(1)
        return float(np.mean([_image(one, other, share) for one, other in zip(chosen, labels, strict=True)]))

    return over_images


def _image(one: Array, other: Array, share: Callable[[float, float, float], float]) -> float:
    pairs = [(one == c, other == c) for c in range(3)]
    there = [(a, b) for a, b in pairs if (a | b).any()]
    return float(np.mean([share((a & b).sum(), a.sum(), b.sum()) for a, b in there]))


def r2(scores: Array, labels: Array) -> float:
    return float(1 - np.sum((scores[:, 0] - labels) ** 2) / np.sum((labels - labels.mean()) ** 2))


def perplexity(scores: Array, labels: Array) -> float:
    counted = labels != -100
    shares = np.take_along_axis(softmax(scores)[counted], labels[counted][:, None], 1)
    return float(np.exp(-np.log(shares).mean()))


DENSE, PIXELS, TEXT = (
    "factory: net.py:dense, arguments: {outputs: %s}",
    "factory: net.py:pixels",
    "factory: net.py:text",
)
IGNORED = "ignore_index: -100"
GATES: dict[str, tuple[str, str, str, str, str, Callable[..., float]]] = {
    # the model, its probe, its evaluation, metric, arguments, by hand
    "f1": (DENSE % 4, "probe", "classes", "torchmetrics.classification:MulticlassF1Score", "num_classes: 4", f1),
    "legacy": (
        DENSE % 4,
        "probe",
        "classes",
        "torchmetrics:F1Score",
        "task: multiclass, num_classes: 4, average: macro",
        f1,
    ),
    "tags": (
        DENSE % 2,
        "probe",
        "tags",
        "torchmetrics.classification:MultilabelAveragePrecision",
        "num_labels: 2",
        of_tags,
    ),
    "queries": (DENSE % 1, "probe", "queries", "torchmetrics.retrieval:RetrievalMAP", "", of_queries),
    "dice": (
        PIXELS,
        "images",
        "masks",
        "torchmetrics.segmentation:DiceScore",
        "num_classes: 3",
        overlap(lambda both, one, other: 2 * both / (one + other)),
    ),
    "r2": (DENSE % 1, "probe", "values", "torchmetrics.regression:R2Score", "", r2),
    "mae": (
        DENSE % 1,
        "probe",
        "values",
        "torchmetrics.regression:MeanAbsoluteError",
        "",
        lambda scores, labels: float(np.abs(scores[:, 0] - labels).mean()),
    ),
    "perplexity": (TEXT, "tokens", "next_tokens", "torchmetrics.text:Perplexity", IGNORED, perplexity),
    "own": (
        DENSE % 1,
        "probe",
        "values",
        "net.py:within",
        "tolerance: 0.05",
        lambda scores, labels: float((np.abs(scores[:, 0] - labels) <= 0.05).mean()),
    ),
}
LOWER, SHARES = {"mae", "perplexity"}, {"f1", "legacy", "tags", "queries", "dice"}
BASIS = {
    **dict.fromkeys(("f1", "legacy", "tags", "r2", "mae"), "bootstrap over 150 samples"),
    **dict.fromkeys(("dice", "perplexity"), "bootstrap over 80 samples"),
    "queries": "bootstrap over 30 queries",
    "own": "bootstrap over 18 parts of 150 samples",
}


def gate(name: str, *, more: str = "", budgets: str = "compressed: {score_drop: 0.9}") -> str:
    model, probe, data, metric, arguments, _ = GATES[name]
    return f"""
version: 1
gates:
  {name}:
    model: {{{model}}}
    probe: {{data: net.py:{probe}}}
    recipe: {{strategy: energy, energy: 0.8}}
    recovery: []
    evaluation: {{data: net.py:{data}, metric: "{metric}", arguments: {{{arguments}}}{more}}}
    artifacts: [weights]
    budgets: {{{budgets}}}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("metrics")
    (folder / "net.py").write_text(PROJECT)
    return folder


def run_gate(project: Path, text: str) -> Run:
    (project / "pfa.yaml").write_text(text)
    return run(project / "pfa.yaml")


def scores_of(found: Run) -> Scores:
    assert found.record.scores is not None
    return found.record.scores


def outputs_and_labels(project: Path, model: torch.nn.Module, data: str) -> tuple[Array, Any]:
    names: dict[str, Any] = {}
    exec((project / "net.py").read_text(), names)
    inputs, labels = names[data]()
    with torch.no_grad():
        outputs = model(inputs).double().numpy()
    return outputs, {key: each.numpy() for key, each in labels.items()} if isinstance(labels, dict) else labels.numpy()


@pytest.mark.parametrize("name", GATES)
def test_both_scores_are_those_of_numpy_and_the_drop_has_an_interval(project: Path, name: str) -> None:
    found = run_gate(project, gate(name, more=", direction: higher" if name == "own" else ""))
    scores = scores_of(found)
    assert found.model is not None
    by_hand = GATES[name][5](*outputs_and_labels(project, found.model, GATES[name][2]))
    assert scores.compressed == pytest.approx(by_hand, rel=1e-6)
    assert scores.metric == GATES[name][3]
    assert scores.direction == ("lower" if name in LOWER else "higher")
    assert scores.unit == ("share" if name in SHARES else "plain")
    assert scores.full is not None
    assert scores.drop == pytest.approx((scores.compressed - scores.full) * (1 if name in LOWER else -1), abs=1e-9)
    assert scores.drop is not None
    assert scores.drop > 0
    assert scores.interval is not None
    assert scores.interval[0] < scores.drop < scores.interval[1]
    assert scores.basis == BASIS[name]
    assert [each.reason for each in found.record.unmeasured if each.what == "interval of the score"] == []


def test_a_mean_over_batches_is_one_over_samples_whatever_their_size(project: Path) -> None:
    """torchmetrics' MeanIoU weighs all batches alike: of 80 images in batches of 60, the last 20 would count thrice."""
    text = (
        gate("dice")
        .replace("DiceScore", "MeanIoU")
        .replace("data: net.py:images", "data: net.py:images, batch_size: 60")
    )
    scores = scores_of(run_gate(project, text))
    names: dict[str, Any] = {}
    exec(PROJECT, names)
    outputs, labels = outputs_and_labels(project, names["pixels"](), "masks")
    one_by_one = torchmetrics.segmentation.MeanIoU(num_classes=3, input_format="index")
    for chosen, label in zip(outputs.argmax(1), labels, strict=True):
        one_by_one.update(torch.from_numpy(chosen)[None], torch.from_numpy(label)[None])
    assert scores.full == pytest.approx(float(one_by_one.compute()), rel=1e-6)
    assert scores.unit == "share"


def test_a_metric_without_states_by_sample_has_an_interval_over_parts(project: Path) -> None:
    text = gate("r2", more=", direction: higher").replace("R2Score", "PearsonCorrCoef")
    scores = scores_of(run_gate(project, text))
    outputs, labels = outputs_and_labels(project, _dense(project), "values")
    assert scores.full == pytest.approx(np.corrcoef(outputs[:, 0], labels)[0, 1], rel=1e-6)
    assert scores.basis == "bootstrap over 18 parts of 150 samples"


def _dense(project: Path) -> torch.nn.Module:
    names: dict[str, Any] = {}
    exec((project / "net.py").read_text(), names)
    model: torch.nn.Module = names["dense"](1)
    return model


MISFITS = {
    "a direction that the class contradicts": (
        gate("mae", more=", direction: higher"),
        ConfigError,
        "evaluation.direction is higher, and of 'torchmetrics.regression:MeanAbsoluteError' lower is better.",
        "Remove the direction; the class says it itself.",
    ),
    "a class that says no direction": (
        gate("r2").replace("R2Score", "PearsonCorrCoef"),
        ConfigError,
        "evaluation.metric 'torchmetrics.regression:PearsonCorrCoef' does not say which way is better.",
        "Add direction: higher, or direction: lower if a lower value is better.",
    ),
    "points of a metric that gives none": (
        gate("r2", budgets="compressed: {score_drop: 2 pp}"),
        ConfigError,
        "budgets.compressed.score_drop is in percentage points, and 'torchmetrics.regression:R2Score' gives plain "
        "numbers.",
        "Write a number in the metric's own unit, say 0.01.",
    ),
    "a limit from the wrong side": (
        gate("perplexity", budgets="model: {score: {min: 3}}"),
        ConfigError,
        "budgets.model.score is held from below, and a lower score is better.",
        "Write {max: 3}.",
    ),
    "a share above one": (
        gate("f1", budgets="model: {score: {min: 90}}"),
        ConfigError,
        "budgets.model.score must be at most 1, not 90",
        "A plain number is a share from 0 to 1; for percent write for example 99%.",
    ),
    "an argument that the class refuses": (
        gate("f1").replace("num_classes: 4", "num_clases: 4"),
        FactoryError,
        "'torchmetrics.classification:MulticlassF1Score' cannot be called so: missing a required argument: "
        "'num_classes'.",
        "",
    ),
    "a value that the class refuses": (
        gate("f1").replace("num_classes: 4", "num_classes: 4, average: best"),
        MetricError,
        "'torchmetrics.classification:MulticlassF1Score' cannot be made: ValueError: ",
        "",
    ),
    "a number for each class": (
        gate("f1").replace("num_classes: 4", "num_classes: 4, average: none"),
        MetricError,
        "The metric 'torchmetrics.classification:MulticlassF1Score' gives 4 numbers, not one number.",
        "Choose evaluation.arguments with which it gives one, such as average: macro.",
    ),
    "an argument that the callable has not": (
        gate("own", more=", direction: higher").replace("tolerance: 0.05", "tolerence: 0.05"),
        FactoryError,
        "'net.py:within' has no argument 'tolerence'.",
        "Did you mean 'tolerance'? Its signature is within(model, batches, tolerance, relative=False).",
    ),
    "no labels": (
        gate("f1").replace("data: net.py:classes", "data: net.py:probe"),
        LabelsError,
        "The evaluation has no labels, and torchmetrics.classification:MulticlassF1Score needs them.",
        "Give batches (inputs, labels), or arrays named images and labels.",
    ),
}


@pytest.mark.parametrize(("text", "kind", "fact", "remedy"), MISFITS.values(), ids=MISFITS)
def test_what_does_not_fit_the_metric_is_said_with_its_place(
    project: Path, text: str, kind: type[PFAGateError], fact: str, remedy: str
) -> None:
    with pytest.raises(kind) as found:
        run_gate(project, text)
    assert type(found.value) is kind
    assert found.value.fact.startswith(fact)
    assert found.value.remedy == remedy if remedy else True
    assert any("pfa.yaml:" in place for place in found.value.where)


def test_a_real_run_with_warnings_as_errors_judges_the_drop_in_points(project: Path, torch_python: str) -> None:
    text = gate("f1", budgets="model: {score: {min: 1%}}, compressed: {score_drop: {max: 0.1 pp}}")
    (project / "pfa.yaml").write_text(text)
    (project / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [torch_python, "-m", "pytest", "--pfa", "--junitxml=junit.xml", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command,
        cwd=project,
        env={**own, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    record = loads((project / ".pfa" / "f1" / "record.json").read_text("utf-8"))
    (broken,) = [each for each in record.budgets if each.outcome == "broken"]
    assert broken.id == "compressed.score_drop"
    assert re.fullmatch(r"The score falls by [\d.]+ pp, [\d.]+ pp more than the limit of 0\.1 pp\.", broken.sentence)
    assert broken.sentence[:20] in done.stdout
    assert re.search(r"Multi\S*…\S*Score +[\d.]+% +[\d.]+% ", done.stdout)
    comment = (project / ".pfa" / "f1" / "report.md").read_text("utf-8")
    assert re.search(r"MulticlassF1Score .*\(bootstrap over 150 samples\)", comment)
    cases = ElementTree.parse(project / "junit.xml").iter("testcase")
    (judged,) = [each for each in cases if each.get("name") == "compressed.score_drop"]
    values = {each.get("name"): each.get("value") for each in judged.iter("property")}
    assert record.scores is not None
    assert record.scores.drop is not None
    assert float(values["pfa_value"] or "nan") == pytest.approx(record.scores.drop)


def test_without_torchmetrics_the_extra_is_named_and_nothing_is_measured(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pfa_gate.model.metric.find_spec", lambda name: None)
    with pytest.raises(MetricError) as found:
        run_gate(project, gate("f1"))
    assert found.value.fact == (
        "The metric 'torchmetrics.classification:MulticlassF1Score' needs torchmetrics, which is not installed."
    )
    assert found.value.remedy == "Run pip install 'pfa-gate[metrics]'."
    assert found.value.where[0].endswith("pfa.yaml:9:48")


def test_a_gate_of_another_metric_does_not_import_torchmetrics(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchmetrics"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchmetrics", None)  # an import of it raises
    assert scores_of(run_gate(project, gate("own", more=", direction: higher"))).full is not None


def test_where_nothing_is_cut_no_interval_is_told(project: Path) -> None:
    found = run_gate(project, gate("f1").replace("energy: 0.8", "energy: 1, minimum: 24"))
    assert scores_of(found).drop == 0
    assert (scores_of(found).interval, scores_of(found).basis) == (None, "")
    reasons = [each.reason for each in found.record.unmeasured if each.what == "interval of the score"]
    assert reasons == ["no draw of samples tells the two models apart"]


def test_a_search_can_ask_for_the_whole_interval_of_such_a_metric(project: Path) -> None:
    text = gate("f1").replace("strategy: energy, energy: 0.8", "strategy: score, score: 1 pp, confident: true")
    with pytest.raises(TargetError) as found:
        run_gate(project, text)
    assert "the upper end of its interval" in found.value.fact
