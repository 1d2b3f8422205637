"""A gate that judges a model made elsewhere: sizes, scores, latency and every report, and what it refuses."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from pfa_gate.cache.fingerprint import fingerprint
from pfa_gate.config import load
from pfa_gate.pipeline.run import run
from pfa_gate.record import Record, dumps, loads
from pfa_gate.report.files import report_text
from pfa_gate.report.terminal import render

PROJECT = """
import torch
from torch import nn
from torch.utils.data import TensorDataset


def samples(seed, count):
    inputs = torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
    return inputs, inputs[:, :3].argmax(1)


def probe():
    return samples(1, 100)[0]


def test():
    return TensorDataset(*samples(2, 200))


def build(width=12):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3))
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].weight[:3, :3], model[0].weight[3:6, :3] = torch.eye(3), -torch.eye(3)
        model[0].bias.zero_()
        model[2].weight.zero_()
        model[2].bias.zero_()
        model[2].weight[:, :3], model[2].weight[:, 3:6] = torch.eye(3), -torch.eye(3)
    return model
"""
CONFIG = """\
version: 1
gates:
  small:
    model: {factory: net.py:build}
    probe: {data: net.py:probe}
    layers: {include: ["2"]}
    candidate: CANDIDATE
    evaluation: {data: net.py:test}
    budgets:
      model: {parameters: 1 k}
      compressed: {parameters: 60%, macs: 60%, accuracy_drop: 0.5 pp, latency: 10000%}
"""


def project(folder: Path, candidate: str) -> Path:
    from onnx_files import linear  # noqa: PLC0415

    layer = torch.nn.Linear(6, 3)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(3, 6))
        layer.bias.zero_()
    (folder / "net.py").write_text(PROJECT)
    linear(folder / "net.onnx", layer)
    (folder / "pfa.yaml").write_text(CONFIG.replace("CANDIDATE", candidate))
    return folder / "pfa.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return project(tmp_path_factory.mktemp("candidate"), "{onnx: net.onnx}").parent


@pytest.fixture(scope="module")
def judged(folder: Path) -> Record:
    return run(folder / "pfa.yaml").record


def test_sizes_scores_and_latency_are_judged_and_no_proof_is_asked_for(judged: Record) -> None:
    outcomes = {budget.id: (budget.outcome, budget.sentence) for budget in judged.budgets}
    assert outcomes["compressed.parameters"] == (
        "kept",
        "The candidate keeps 17.1% of the parameters (21 of 123), within the limit of 60%.",
    )
    assert outcomes["compressed.macs"] == (
        "kept",
        "The candidate keeps 16.7% of the MACs (18 of 108), within the limit of 60%.",
    )
    assert outcomes["compressed.accuracy_drop"] == ("kept", "The score does not change, within the limit of 0.5 pp.")
    assert outcomes["compressed.latency"][0] == "kept"
    assert list(outcomes) == [
        "model.parameters",
        "compressed.parameters",
        "compressed.macs",
        "compressed.accuracy_drop",
        "compressed.latency",
    ]
    assert (judged.recipe, judged.compressed and judged.compressed.exact) == (None, None)
    assert set(judged.files) == {"record", "html", "markdown", "badge"}


def test_the_record_is_read_again_as_it_was_written(judged: Record) -> None:
    assert loads(dumps(judged)) == judged
    assert judged.candidate is not None
    assert judged.candidate.timed.startswith("both in ONNX Runtime ")


def test_every_report_says_what_was_judged_and_speaks_of_no_recipe(judged: Record) -> None:
    assert judged.candidate is not None
    named = (
        f"The candidate is net.onnx ({judged.candidate.file_bytes} B, sha256 {judged.candidate.sha256[:12]}), run in"
    )
    reports = {name: report_text(judged, name) for name in ("report.html", "report.md")}
    reports["terminal"] = render(judged, width=200, colour=False, unicode=True, verbosity=2)
    for text in reports.values():
        plain = re.sub(r"\s+", " ", re.sub(r"<[^>]+>|\\", "", text))
        assert named in plain
        assert "nothing was cut here, and nothing is proved of it." in plain
        for word in ("recipe", "compressed model", "all 3", "key go"):
            assert word not in plain


def test_the_file_is_an_input_of_the_verdict(folder: Path) -> None:
    document = load(folder / "pfa.yaml")
    before = fingerprint(document, "small", {}).digest
    content = (folder / "net.onnx").read_bytes()
    (folder / "net.onnx").write_bytes(content + b"\x7a\x00")
    assert fingerprint(document, "small", {}).digest != before
    (folder / "net.onnx").write_bytes(content)
    assert fingerprint(document, "small", {}).digest == before


def test_a_real_run_tells_a_candidate_that_keeps_its_limits_from_one_that_does_not(
    tmp_path: Path, torch_python: str
) -> None:
    config = project(tmp_path, "{factory: net.py:build, arguments: {width: 24}}")
    more = CONFIG.partition("gates:\n")[2].replace("small:", "gone:").replace("CANDIDATE", "{onnx: gone.onnx}")
    config.write_text(config.read_text().replace(", latency: 10000%", "") + more)
    command = [torch_python, "-m", "pytest", "--pfa", "-p", "no:cacheprovider", "--color=no", "-rA"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    said = re.findall(r"^(PASSED|FAILED|ERROR) pfa\.yaml::(\S+?)(?= |$)", done.stdout, re.M)
    assert ("PASSED", "small::compressed.accuracy_drop") in said
    assert ("FAILED", "small::compressed.parameters") in said
    assert ("ERROR", "gone::compressed.parameters") in said
    assert not [name for _, name in said if name.endswith("exact")]
    assert "The candidate keeps 197.6% of the parameters (243 of 123)" in done.stdout
    at = "pfa.yaml:16:23"
    assert f"There is no candidate gone.onnx.\n  at {at}, in gate 'gone', while loading\n" in done.stdout
    record: dict[str, Any] = json.loads((tmp_path / ".pfa" / "small" / "record.json").read_text())
    assert record["candidate"]["source"] == "net.py:build"
    assert record["candidate"]["sha256"] == ""
