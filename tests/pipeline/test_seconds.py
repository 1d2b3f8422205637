"""The seconds of a record add up to what its reader has waited for the gate: imports, writing, and all between."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pfa_gate.config import Document, load
from pfa_gate.errors import DataError
from pfa_gate.pipeline.job import Stages

NET = """
import torch
from torch import nn


def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def probe():
    return torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
"""
CONFIG = """version: 1
gates:
  digits:
    model: {factory: net.py:build}
    probe: {data: "net.py:probe"}
    recipe: {strategy: energy, energy: 0.9}
    budgets: {layers: [{match: "*", kl: 1}]}
    selection: correlation
    recovery: []
"""
# From the set-up of the first budget to its outcome, by a clock that knows nothing of stages.
CLOCK = """
import time


def pytest_runtest_logstart():
    global began
    began = globals().get("began") or time.perf_counter()


def pytest_runtest_logreport(report):
    global waited
    waited = globals().get("waited") or time.perf_counter() - began


def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line(f"waited {waited}")
"""
STAGES = [
    "importing",
    "loading",
    "tracing",
    "choosing layers",
    "probing",
    "taking spectra",
    "deciding",
    "selecting",
    "cutting and proving",
    "counting",
    "exporting",
    "judging",
    "writing",
]


def test_a_real_gate_tells_all_that_was_waited_for(pytester: pytest.Pytester) -> None:
    (pytester.path / "net.py").write_text(NET)
    (pytester.path / "pfa.yaml").write_text(CONFIG)
    pytester.makeconftest(CLOCK)
    result = pytester.run(sys.executable, "-m", "pytest", "--pfa", "-v")
    result.assert_outcomes(passed=2)
    (waited,) = [float(line.split()[1]) for line in result.outlines if line.startswith("waited ")]
    seconds = json.loads((pytester.path / ".pfa" / "digits" / "record.json").read_text("utf-8"))["seconds"]
    assert list(seconds) == STAGES
    # What is left is the swap of two folders and the verdict's way to the other tests.
    assert 0.8 * waited < sum(seconds.values()) <= waited + 0.01
    result.stdout.fnmatch_lines([f"*pfa.yaml*64 probe samples*{sum(seconds.values()):.1f} s"])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A clock that stands still until it is told."""
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def passes(seconds: float) -> None:
        now[0] += seconds

    return passes


@pytest.fixture
def document(tmp_path: Path) -> Document:
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "pfa.yaml").write_text(CONFIG)
    return load(tmp_path / "pfa.yaml")


def _fail(stages: Stages, clock: Callable[[float], None]) -> None:
    with stages.stage("tracing"):
        clock(4)
        raise DataError("It cannot be traced.")


def test_stages_that_fail_that_repeat_and_what_lies_between_add_up(
    clock: Callable[[float], None], document: Document
) -> None:
    stages = Stages(document, "digits", since=88.0)
    clock(1)
    with stages.stage("loading"):
        clock(2)
    with pytest.raises(DataError):
        _fail(stages, clock)
    clock(8)
    with stages.stage("loading"):
        clock(16)
    with stages.stage("writing"):
        clock(32)
        assert stages.seconds("writing") == {"importing": 12, "loading": 27, "tracing": 4, "writing": 32}
        clock(64)
    assert sum(stages.seconds().values()) == 12 + 127
