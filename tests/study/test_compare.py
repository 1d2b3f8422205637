"""`pfa-gate compare A B`: two models held against each other without a config."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pfa_gate.cli import main

NET = """
import torch
from torch import nn
from torch.utils.data import TensorDataset


def samples(count=200):
    rows = torch.randn(count, 6, generator=torch.Generator().manual_seed(1))
    return rows, rows[:, :3].argmax(1)


def labelled():
    return TensorDataset(*samples())


def unlabelled():
    return samples()[0]


def one(sign=1.0):
    net = nn.Linear(6, 3)
    with torch.no_grad():
        net.weight.copy_(sign * torch.eye(3, 6))
        net.bias.zero_()
    return net


def other():
    '''Never answers 2.'''
    net = one()
    with torch.no_grad():
        net.bias[2] = -100
    return net


def error(model, batches):
    return float(sum((model(*batch.args).argmax(1) != batch.labels).sum() for batch in batches)) / batches.samples
"""


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.chdir(tmp_path)


def compare(*arguments: str) -> int:
    return main(["compare", *arguments])


def test_a_model_that_is_the_same_keeps_every_limit(capsys: pytest.CaptureFixture[str]) -> None:
    limits = ["--max-parameters", "100%", "--min-agreement", "100%", "--max-accuracy-drop", "0 pp"]
    limits += ["--max-divergence", "0", "--max-output-error", "0", "--max-class-drop", "0 pp", "--min-score", "100%"]
    assert compare("net.py:one", "net.py:one", "--data", "net.py:labelled", *limits) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("net.py:one against net.py:one  KEPT  7 budgets kept\n")
    assert "On 200 samples of the evaluation, no answer changed." in shown
    assert "line 0" not in shown


def test_a_broken_limit_gives_one_and_the_files_say_the_same(tmp_path: Path) -> None:
    ask = [
        "net.py:one",
        "net.py:other",
        "--data",
        "net.py:labelled",
        "--min-agreement",
        "97%",
        "--max-class-drop",
        "5 pp",
    ]
    assert compare(*ask, "--output", "found") == 1
    found: dict[str, Any] = json.loads((tmp_path / "found/comparison.json").read_text())
    assert found["schema"] == "pfa_gate.comparison/1"
    assert found["full"]["source"] == "net.py:one"
    outcomes = {each["id"]: each["outcome"] for each in found["record"]["budgets"]}
    assert outcomes == {"compressed.agreement": "broken", "compressed.class_drop": "broken"}
    again = "pfa-gate compare net.py:one net.py:other --data net.py:labelled --min-agreement 97%"
    for name in ("comparison.md", "comparison.html"):
        text = re.sub(r"&#39;|&#x27;", "'", (tmp_path / "found" / name).read_text())
        assert again in text
        assert "pytest --pfa" not in text
    assert compare(*ask, "--output", "found") == 1, "its own files are written over"
    (tmp_path / "found/comparison.json").write_text("{}")
    assert compare(*ask, "--output", "found") == 2


def test_data_without_labels_serves_for_the_answers_alone(capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["net.py:one", "net.py:other", "--data", "net.py:unlabelled"]
    assert compare(*ask) == 0
    assert "accuracy" not in capsys.readouterr().out
    assert compare(*ask, "--min-agreement", "50%") == 0
    assert compare(*ask, "--min-agreement", "90%") == 1
    assert compare(*ask, "--max-accuracy-drop", "1 pp") == 2
    assert "The evaluation has no labels, and accuracy needs them." in capsys.readouterr().err


def test_a_metric_of_ones_own_has_its_direction(capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["net.py:one", "net.py:other", "--data", "net.py:labelled", "--metric", "net.py:error"]
    assert compare(*ask) == 2
    assert "--metric 'net.py:error' needs a direction: which way is better.\n" in capsys.readouterr().err
    assert compare(*ask, "--direction", "lower", "--max-score-drop", "0.1") == 1
    assert "The score rises by" in capsys.readouterr().out


def test_a_limit_that_cannot_be_judged_is_not_kept(capsys: pytest.CaptureFixture[str]) -> None:
    from onnx_files import linear  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    linear(Path("net.onnx"), nn.Linear(6, 3))
    ask = ["net.onnx", "net.py:other", "--data", "net.py:unlabelled", "--max-latency", "100%"]
    assert compare(*ask) == 1
    assert "the first model is an ONNX file and the second is not" in " ".join(capsys.readouterr().out.split())


def test_answers_that_the_kernels_of_a_file_flip_are_held_to_a_limit(capsys: pytest.CaptureFixture[str]) -> None:
    from onnx_files import linear  # noqa: PLC0415
    from torch import nn  # noqa: PLC0415

    linear(Path("net.onnx"), nn.Linear(6, 3))
    ask = ["net.py:one", "net.onnx", "--data", "net.py:unlabelled", "--max-parity", "0"]
    assert compare(*ask) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "net.onnx: 0 of " in shown
    assert "answers flip against the same file with all optimisations off" in shown
    assert not Path("parity.npz").exists()
    assert compare("net.onnx", "net.py:one", "--data", "net.py:unlabelled", "--max-parity", "0") == 1
    assert "The candidate runs in torch, as the full model does" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["net.txt", "net.py:one"], "'net.txt' names no model.\n"),
        ([".", "net.py:one"], "The folder . holds neither model.pt2 nor model.onnx.\n"),
        (["net.onnx", "net.py:one"], "There is no candidate net.onnx.\n  at the step 'loading the first model'\n"),
        (["net.py:one", "net.py:one", "--min-agreement", "97 pp"], "--min-agreement has the unit 'pp'"),
        (["net.py:one", "net.py:one", "--max-latency", "3 ms"], "--max-latency has the unit 'ms'"),
        (["net.py:one", "net.py:one", "--samples", "0"], "--samples is 0.\n"),
        (["net.py:one", "net.py:one", "--max-score", "0.4"], "--max-score is held from above, and a higher score"),
    ],
)
def test_a_mistake_ends_with_two(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(*arguments, "--data", "net.py:labelled") == 2
    assert said in capsys.readouterr().err
