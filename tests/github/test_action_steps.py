"""The composite action's own steps, run by bash as the runner would, with its files."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_server import REFUSED, Fault, Hub
from records import broken

from pfa_gate.github.section import sections_of
from pfa_gate.record import dumps

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / ".github/actions/pfa-gate/action.yml").read_text("utf-8"))
NET = """
import torch
from torch import nn


def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def probe():
    return torch.randn(256, 8, generator=torch.Generator().manual_seed(0))
"""
CONFIG = """
version: 1
gates:
  digits:
    model: {factory: net.py:build}
    probe: {data: net.py:probe}
    budgets: {model: {parameters: %s}}
"""
# Says what it was asked; answers as the test wants.
GH = """#!/bin/bash
echo "$*" >> "$GH_LOG"
case "$1 $2" in
  "api "*) echo 1234567890abcdef1234567890abcdef12345678 ;;
  "run list") echo "$GH_RUN" ;;
  "run download") [ -n "$GH_FAILS" ] && exit 1; echo '{}' > pfa.baseline.json ;;
esac
"""
PYTHON = """#!/bin/bash
if [ "$1 $2" = "-m pip" ]; then printf '%%s\\n' "$@" > "$PIP_LOG"; exit 0; fi
exec %s "$@"
"""
EXPRESSION = re.compile(r"\$\{\{ (.*?) \}\}")


@dataclass
class Runner:
    """What a runner knows between steps."""

    folder: Path
    context: dict[str, str]
    environment: dict[str, str]
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)

    def step(self, name: str) -> "subprocess.CompletedProcess[str]":
        """Run one step's script under bash, as `shell: bash` does."""
        (step,) = [each for each in ACTION["runs"]["steps"] if each["name"] == name]
        output = self.folder / "output"
        output.write_text("")
        files = {"GITHUB_OUTPUT": str(output), "GITHUB_STEP_SUMMARY": str(self.folder / "summary.md")}
        environment = {key: self.value(str(value)) for key, value in step.get("env", {}).items()}
        script = self.folder / "step.sh"
        script.write_text(step["run"])
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=self.folder / "project",
            env=self.environment | files | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if "id" in step:
            pairs = (line.split("=", 1) for line in output.read_text().splitlines())
            self.outputs[step["id"]] = dict(pairs)
        return done

    def value(self, text: str) -> str:
        """A text with its expressions replaced; only forms that the action uses are known."""
        return EXPRESSION.sub(lambda found: self._of(found[1]), text)

    def _of(self, expression: str) -> str:
        if found := re.fullmatch(r"steps\.(\w+)\.outputs\.(\w+)", expression):
            return self.outputs.get(found[1], {}).get(found[2], "")
        if expression.startswith("inputs.leg &&"):
            return f"-{self.context['inputs.leg']}" if self.context["inputs.leg"] else ""
        return self.context[expression]


@pytest.fixture
def runner(hub: Hub, tmp_path: Path) -> Callable[..., Runner]:
    """A runner with a small project."""

    def made(limit: str = "1 k", **inputs: str) -> Runner:
        for name in ("project", "temp", "bin"):
            (tmp_path / name).mkdir()
        (tmp_path / "project" / "net.py").write_text(NET)
        (tmp_path / "project" / "pfa.yaml").write_text(CONFIG % limit)
        for name, script in (("gh", GH), ("python", PYTHON % sys.executable)):
            (tmp_path / "bin" / name).write_text(script)
            (tmp_path / "bin" / name).chmod(0o755)
        event = {"pull_request": {"number": 7, "base": {"sha": "b" * 40}, "head": {"sha": "a" * 40}}}
        (tmp_path / "event.json").write_text(json.dumps(event))
        defaults = {f"inputs.{name}": str(each["default"]) for name, each in ACTION["inputs"].items()}
        given = {f"inputs.{name.replace('_', '-')}": value for name, value in inputs.items()}
        shas = {"github.event.pull_request.base.sha": "b" * 40, "github.event.pull_request.head.sha": "a" * 40}
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "GITHUB_", "CI"))}
        environment = clean | {
            "PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RUNNER_TEMP": str(tmp_path / "temp"),
            "GITHUB_ACTIONS": "true",
            "GITHUB_API_URL": hub.root,
            "GITHUB_ENV": str(tmp_path / "env"),
            "GITHUB_EVENT_NAME": "pull_request",
            "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
            "GITHUB_REPOSITORY": "acme/nets",
            "GITHUB_RUN_ID": "5",
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_WORKFLOW_REF": "acme/nets/.github/workflows/pfa.yml@refs/pull/7/merge",
            "GITHUB_WORKSPACE": str(tmp_path / "project"),
            "GH_LOG": str(tmp_path / "gh.log"),
            "GH_RUN": "",
            "GH_FAILS": "",
            "PIP_LOG": str(tmp_path / "pip.log"),
        }
        return Runner(tmp_path, defaults | shas | {"inputs.token": "ghs_token"} | given, environment)

    return made


def test_install_takes_words_and_no_patterns(runner: Callable[..., Runner]) -> None:
    one = runner(install="-r requirements.txt pfa-gate[github] * $(touch evil)")
    assert one.step("Install").returncode == 0
    words = (one.folder / "pip.log").read_text().splitlines()
    assert words == ["-m", "pip", "install", "-r", "requirements.txt", "pfa-gate[github]", "*", "$(touch", "evil)"]
    assert not (one.folder / "project" / "evil").exists()


@pytest.mark.parametrize(
    ("asked", "run", "fails", "argument", "told"),
    [
        ("", "", "", "", ""),
        ("git:origin/main", "", "", "--pfa-baseline=git:origin/main", ""),
        ("artifact", "42", "", "", "Compared with the run 42 at the merge base 1234567890."),
        ("artifact", "42", "1", "", "No run at the merge base 1234567890 has left a baseline"),
        ("artifact", "", "", "", "No run at the merge base 1234567890 has left a baseline"),
    ],
)
def test_the_baseline(
    runner: Callable[..., Runner], asked: str, run: str, fails: str, argument: str, told: str
) -> None:
    one = runner(baseline=asked, leg="py3.11")
    one.environment |= {"GH_RUN": run, "GH_FAILS": fails}
    done = one.step("Find the baseline")
    assert done.returncode == 0, done.stderr
    assert one.outputs["baseline"] == {"argument": argument}
    assert told in done.stderr
    assert (one.folder / "project" / "pfa.baseline.json").exists() == (run != "" and not fails)
    if asked == "artifact":
        log = (one.folder / "gh.log").read_text().splitlines()
        assert log[0] == f"api repos/acme/nets/compare/{'b' * 40}...{'a' * 40} --jq .merge_base_commit.sha"
        assert "--workflow pfa.yml --commit 1234567890abcdef" in log[1]
        assert log[2:] == (["run download 42 --repo acme/nets --name pfa-gate-baseline-py3.11 --dir ."] if run else [])


def test_a_branch_writes_the_baseline_of_pull_requests_to_come(runner: Callable[..., Runner]) -> None:
    one = runner(baseline="artifact")
    one.context["github.event.pull_request.base.sha"] = ""
    assert one.step("Find the baseline").returncode == 0
    assert one.outputs["baseline"] == {"argument": "--pfa-update-baseline"}


def gate(one: Runner) -> list[int]:
    """Run the steps from the gate on; their exit statuses."""
    one.outputs["baseline"] = {"argument": ""}
    return [one.step(name).returncode for name in ("Run the gate", "Comment on the pull request", "Give the verdict")]


@pytest.mark.slow
def test_a_broken_gate_is_uploaded_told_and_fails(runner: Callable[..., Runner], hub: Hub) -> None:
    one = runner(limit="100", leg="py3.11")
    assert gate(one) == [0, 0, 1]
    assert one.outputs["gate"] == {"status": "1", "reports": str(one.folder / "temp" / "pfa_gate" / "reports")}
    reports = Path(one.outputs["gate"]["reports"])
    assert {"record.json", "report.md", "report.html"} <= {path.name for path in (reports / "digits").iterdir()}
    assert (one.folder / "temp" / "pfa_gate" / "junit.xml").is_file()
    assert "`digits`" in (one.folder / "summary.md").read_text()
    (body,) = hub.bodies()
    assert [(each.gate, each.leg, each.outcome) for each in sections_of(body)] == [("digits", "py3.11", "broken")]


@pytest.mark.slow
def test_a_kept_gate_passes_without_a_word(runner: Callable[..., Runner], hub: Hub) -> None:
    assert gate(runner()) == [0, 0, 0]
    assert hub.comments == []


@pytest.mark.slow
def test_a_gate_that_cannot_be_measured_fails_and_is_told(runner: Callable[..., Runner], hub: Hub) -> None:
    one = runner()
    (one.folder / "project" / "net.py").write_text(
        NET.replace("return nn", "raise RuntimeError('gone')\n    return nn")
    )
    assert gate(one) == [0, 0, 1]
    (body,) = hub.bodies()
    assert "❔ The run failed, and no record says why; its log does." in body


def test_a_fork_fails_by_its_gate_and_not_by_its_token(runner: Callable[..., Runner], hub: Hub) -> None:
    hub.faults.append(Fault("POST", status=403, message=REFUSED))
    one = runner()
    (one.folder / "reports" / "digits").mkdir(parents=True)
    (one.folder / "reports" / "digits" / "record.json").write_text(dumps(broken()), encoding="utf-8")
    one.outputs["gate"] = {"status": "1", "reports": str(one.folder / "reports")}
    done = one.step("Comment on the pull request")
    assert done.returncode == 0, done.stderr
    assert "pull-requests: write" in done.stdout
    assert hub.comments == []
    assert one.step("Give the verdict").returncode == 1


def test_no_status_is_no_verdict(runner: Callable[..., Runner]) -> None:
    assert runner().step("Give the verdict").returncode == 2


def test_every_step_with_a_script_is_run_here() -> None:
    assert shutil.which("bash")
    names = {step["name"] for step in ACTION["runs"]["steps"] if "run" in step}
    assert names == {
        "Install", "Find the baseline", "Run the gate", "Comment on the pull request", "Give the verdict",
    }  # fmt: skip
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step.get("run", "")
        assert ("run" in step) == (step.get("shell") == "bash")


def test_a_comment_that_fails_does_not_decide() -> None:
    step: dict[str, Any] = next(each for each in ACTION["runs"]["steps"] if each["name"].startswith("Comment"))
    assert step["continue-on-error"] is True
    last = ACTION["runs"]["steps"][-1]
    assert (last["name"], last["if"]) == ("Give the verdict", "always()")
