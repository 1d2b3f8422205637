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

from pfa_gate.github.comment_text import sections_of
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
    selection: correlation
    recovery: []
"""
# Says what it was asked; answers as the test wants.
GH = """#!/bin/bash
echo "$*" >> "$GH_LOG"
[ -n "$GH_FAILS" ] && [[ "$*" == *"$GH_FAILS"* ]] && exit 1
case "$*" in
  "api repos/acme/nets/compare"*) echo 1234567890abcdef1234567890abcdef12345678 ;;
  "api repos/acme/nets/commits"*) printf '%s\n' 1234567890abcdef1234567890abcdef12345678 abcdef1234 ;;
  "run list"*"--commit $GH_COMMIT"*) echo "$GH_RUN" ;;
  "api -X GET"*) echo "$GH_STATE" ;;
  "run download"*) mkdir -p "${@: -1}"; echo '{}' > "${@: -1}/pfa.baseline.json" ;;
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
        return self.context[expression]


@pytest.fixture
def runner(hub: Hub, torch_python: str, tmp_path: Path) -> Callable[..., Runner]:
    """A runner with a small project."""

    def made(limit: str = "1 k", **inputs: str) -> Runner:
        for name in ("project/.github/actions/pfa-gate", "temp", "bin"):
            (tmp_path / name).mkdir(parents=True)
        (tmp_path / "project" / "net.py").write_text(NET)
        (tmp_path / "project" / "pfa.yaml").write_text(CONFIG % limit)
        for name, script in (("gh", GH), ("python", PYTHON % torch_python)):
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
            "GH_COMMIT": "none",
            "GH_RUN": "",
            "GH_STATE": "",
            "GH_FAILS": "",
            "GITHUB_JOB": "gate",
            "PIP_LOG": str(tmp_path / "pip.log"),
        }
        copied = {"github.action_path": str(tmp_path / "project" / ".github" / "actions" / "pfa-gate")}
        context = defaults | shas | copied | {"inputs.token": "ghs_token", "strategy.job-index": "0"} | given
        one = Runner(tmp_path, context, environment)
        assert one.step("Tell this use from others").returncode == 0
        return one

    return made


def test_install_takes_words_and_no_patterns(runner: Callable[..., Runner]) -> None:
    one = runner(install="-r requirements.txt pfa-gate[github] * $(touch evil)")
    assert one.step("Install").returncode == 0
    words = (one.folder / "pip.log").read_text().splitlines()
    assert words == ["-m", "pip", "install", "-r", "requirements.txt", "pfa-gate[github]", "*", "$(touch", "evil)"]
    assert not (one.folder / "project" / "evil").exists()


@pytest.mark.parametrize("lines", ["-r a.txt\n-r b.txt", "\n-r a.txt\n\n  -r\tb.txt\n", "-r a.txt\r\n-r b.txt\r\n"])
def test_install_takes_every_line(runner: Callable[..., Runner], lines: str) -> None:
    one = runner(install=lines)
    assert one.step("Install").returncode == 0
    words = (one.folder / "pip.log").read_text().splitlines()
    assert words == ["-m", "pip", "install", "-r", "a.txt", "-r", "b.txt"]


def test_nothing_to_install_is_no_error(runner: Callable[..., Runner]) -> None:
    one = runner(install=" \n")
    assert one.step("Install").returncode == 0
    assert not (one.folder / "pip.log").exists()


@pytest.mark.parametrize(
    ("word", "extra"), [("pfa-gate", ""), ("pfa-gate[github]", "[github]"), ("pfa-gate[github,onnx]", "[github,onnx]")]
)
def test_the_action_of_a_tag_installs_the_gate_of_that_tag(
    runner: Callable[..., Runner], word: str, extra: str
) -> None:
    """As OWNER/REPO/.github/actions/pfa-gate@TAG the action lies in a checkout, and not in the project it judges."""
    one = runner(install=f"-r requirements.txt {word} torch")
    one.context["github.action_path"] = str(ROOT / ".github" / "actions" / "pfa-gate")
    assert one.step("Install").returncode == 0
    words = (one.folder / "pip.log").read_text().splitlines()
    assert words == ["-m", "pip", "install", "-r", "requirements.txt", f"{ROOT}{extra}", "torch"]


@pytest.mark.parametrize("word", ["pfa-gate==0.1.0", "pfa-gate[github]>=0.1", "my-pfa-gate", "./pfa-gate"])
def test_a_version_that_is_asked_for_is_installed(runner: Callable[..., Runner], word: str) -> None:
    one = runner(install=word)
    one.context["github.action_path"] = str(ROOT / ".github" / "actions" / "pfa-gate")
    assert one.step("Install").returncode == 0
    assert (one.folder / "pip.log").read_text().splitlines() == ["-m", "pip", "install", word]


def test_a_copied_action_installs_the_gate_from_the_index(runner: Callable[..., Runner]) -> None:
    one = runner()
    (one.folder / "project" / "pyproject.toml").write_text('[project]\nname = "nets"\n')
    assert one.step("Install").returncode == 0
    assert (one.folder / "pip.log").read_text().splitlines() == ["-m", "pip", "install", "pfa-gate[github]"]


def test_no_step_reads_a_file_beside_the_job_or_the_action() -> None:
    """The action works from any place: it names no path of its own but by `github.action_path`."""
    whole = (ROOT / ".github/actions/pfa-gate/action.yml").read_text("utf-8")
    assert re.findall(r"uses: (?!actions/)\S+", whole) == []
    assert re.findall(r"\S*\.github/\S*|\S+\.(?:sh|py)\b", whole) == ["OWNER/REPO/.github/actions/pfa-gate@TAG."]


def test_two_uses_share_neither_folder_nor_artifact(runner: Callable[..., Runner]) -> None:
    """In one job, in two jobs of the same kind, in two legs of a matrix without a name, in two folders."""
    one = runner()
    seen = [one.outputs["use"]]
    first = dict(one.outputs["use"])

    def again() -> dict[str, str]:
        assert one.step("Tell this use from others").returncode == 0
        seen.append(one.outputs["use"])
        return one.outputs["use"]

    again()
    for name, value in [
        ("strategy.job-index", "1"), ("inputs.working-directory", "b"), ("inputs.arguments", "b/pfa.yaml")
    ]:  # fmt: skip
        (one.folder / "temp" / "pfa_gate.uses").unlink()
        one.context[name] = value
        again()
    (one.folder / "temp" / "pfa_gate.uses").unlink()
    one.environment["GITHUB_JOB"] = "other"
    again()
    assert len({use["artifact"] for use in seen}) == len(seen)
    assert seen[0]["folder"] != seen[1]["folder"]
    (one.folder / "temp" / "pfa_gate.uses").unlink()
    one.environment["GITHUB_JOB"] = "gate"
    one.context |= {"strategy.job-index": "0", "inputs.working-directory": ".", "inputs.arguments": "."}
    assert again() == first


def test_a_baseline_keeps_its_name_where_a_matrix_grows(runner: Callable[..., Runner]) -> None:
    one = runner(leg="py3.11")
    before = one.outputs["use"]["baseline"]
    (one.folder / "temp" / "pfa_gate.uses").unlink()
    one.context["strategy.job-index"] = "3"
    assert one.step("Tell this use from others").returncode == 0
    assert one.outputs["use"]["baseline"] == before


PYTEST = """#!/bin/bash
printf '%s\\n' "$@" > "$PIP_LOG"
exit 3
"""


@pytest.mark.parametrize(
    "lines", ["a.yaml\nb.yaml", "\n  a.yaml\n\n  b.yaml\n", "a.yaml\r\nb.yaml\r\n", "a.yaml\tb.yaml"]
)
def test_every_line_of_arguments_reaches_pytest(runner: Callable[..., Runner], lines: str) -> None:
    one = runner(arguments=lines)
    one.outputs["baseline"] = {"argument": "--pfa-baseline=none"}
    (one.folder / "bin" / "python").write_text(PYTEST)
    assert one.step("Run the gate").returncode == 0
    folder = one.outputs["use"]["folder"]
    assert one.outputs["gate"] == {"status": "3", "reports": f"{folder}/reports"}
    assert (one.folder / "pip.log").read_text().splitlines() == [
        "-m", "pytest", "--pfa", f"--override-ini=cache_dir={folder}/cache",
        f"--pfa-output={folder}/reports", f"--junitxml={folder}/junit.xml",
        "--pfa-baseline=none", "a.yaml", "b.yaml",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "argument"),
    [
        ("", ""),
        ("git:origin/main", "--pfa-baseline=git:origin/main"),
        ("\n  git:origin/main\n", "--pfa-baseline=git:origin/main"),
    ],
)
def test_a_baseline_that_is_no_artifact(runner: Callable[..., Runner], asked: str, argument: str) -> None:
    one = runner(baseline=asked)
    assert one.step("Find the baseline").returncode == 0
    assert one.outputs["baseline"] == {"argument": argument}


def test_a_baseline_of_two_lines_is_refused(runner: Callable[..., Runner]) -> None:
    done = runner(baseline="a.json\nb.json").step("Find the baseline")
    assert (done.returncode, done.stderr) == (1, "The input baseline has several lines; it takes one.\n")


NEWEST, OLDER = "1234567890", "abcdef1234"


@pytest.mark.parametrize(
    ("commit", "state", "argument", "told"),
    [
        (NEWEST, "there", "", "Compared with the run 42 at 1234567890; the merge base is 1234567890."),
        (OLDER, "there", "", "Compared with the run 42 at abcdef1234; the merge base is 1234567890."),
        (NEWEST, "expired", None, "The baseline of the run 42 at 1234567890 has expired, and no ratchet is lifted"),
        (NEWEST, "", "--pfa-baseline=none", "No run at the merge base 1234567890, nor at the nine commits before it"),
        ("none", "", "--pfa-baseline=none", "No run at the merge base 1234567890, nor at the nine commits before it"),
    ],
)
def test_a_baseline_from_an_artifact(
    runner: Callable[..., Runner], commit: str, state: str, argument: str | None, told: str
) -> None:
    one = runner(baseline="artifact\n", leg="py3.11")
    one.environment |= {"GH_COMMIT": commit, "GH_RUN": "42", "GH_STATE": state}
    done = one.step("Find the baseline")
    assert told in done.stderr
    assert one.outputs["baseline"] == ({} if argument is None else {"argument": argument})
    assert (done.returncode != 0) == (argument is None)
    assert (one.folder / "project" / "pfa.baseline.json").exists() == (state == "there")
    log = (one.folder / "gh.log").read_text().splitlines()
    assert log[0] == f"api repos/acme/nets/compare/{'b' * 40}...{'a' * 40} --jq .merge_base_commit.sha"
    name = f"pfa-gate-baseline{one.outputs['use']['baseline']}"
    assert name.startswith("pfa-gate-baseline-py3.11.use-")
    folder = f"{one.outputs['use']['folder']}/baseline"
    downloads = [line for line in log if line.startswith("run download")]
    assert downloads == [f"run download 42 --repo acme/nets --name {name} --dir {folder}"] * (state == "there")


@pytest.mark.parametrize("fails", ["compare", "commits?", "run list", "artifacts", "run download"])
def test_where_github_cannot_be_asked_there_is_no_verdict(runner: Callable[..., Runner], fails: str) -> None:
    one = runner(baseline="artifact")
    one.environment |= {"GH_COMMIT": NEWEST, "GH_RUN": "42", "GH_STATE": "there", "GH_FAILS": fails}
    assert one.step("Find the baseline").returncode != 0
    assert one.outputs["baseline"] == {}


def test_a_baseline_that_is_committed_is_not_said_to_be_none(runner: Callable[..., Runner]) -> None:
    one = runner(baseline="artifact")
    (one.folder / "project" / "pfa.baseline.json").write_text("{}")
    assert one.step("Find the baseline").returncode == 0
    assert one.outputs["baseline"] == {"argument": ""}


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
    assert one.outputs["gate"] == {"status": "1", "reports": str(one.folder / "temp" / "pfa_gate" / "1" / "reports")}
    reports = Path(one.outputs["gate"]["reports"])
    assert {"record.json", "report.md", "report.html"} <= {path.name for path in (reports / "digits").iterdir()}
    assert (one.folder / "temp" / "pfa_gate" / "1" / "junit.xml").is_file()
    assert "`digits`" in (one.folder / "summary.md").read_text()
    (body,) = hub.bodies()
    assert [(each.gate, each.leg, each.outcome) for each in sections_of(body)] == [("digits", "py3.11", "broken")]


def of_another_machine(one: Runner) -> None:
    """A fresh checkout, and of the last run's files those that the action's cache holds."""
    (step,) = [each for each in ACTION["runs"]["steps"] if each["name"].startswith("Cache")]
    patterns = one.value(step["with"]["path"]).replace(f"{one.folder}/", "").split()
    held = {path for pattern in patterns if pattern.startswith("temp") for path in one.folder.glob(pattern)}
    assert {path.name for path in held} >= {"pfa_gate", "recipe.yaml", "weights.safetensors", "model.pt2"}
    for path in sorted((one.folder / "temp").rglob("*"), reverse=True):
        if path.is_file() and held.isdisjoint((path, *path.parents)):
            path.unlink()
    for path in (one.folder / "project").glob("*.*"):
        if path.is_file():
            path.write_bytes(path.read_bytes())


@pytest.mark.slow
def test_a_verdict_is_served_on_the_next_machine(runner: Callable[..., Runner], hub: Hub) -> None:
    one = runner(arguments="pfa.yaml")
    with (one.folder / "project" / "pfa.yaml").open("a") as file:
        file.write("    watch: [net.py]\n")
    one.outputs["baseline"] = {"argument": ""}
    first = one.step("Run the gate")
    reports = Path(one.outputs["gate"]["reports"])
    written = {path.name: path.read_bytes() for path in (reports / "digits").iterdir()}
    of_another_machine(one)
    (reports / "gone").mkdir()
    (reports / "gone" / "weights.safetensors").write_text("of a gate that is no more")
    second = one.step("Run the gate")
    assert one.outputs["gate"]["status"] == "0"
    served = "nothing that it depends on has changed since. --pfa-no-cache measures again."
    assert (served in first.stdout, served in second.stdout) == (False, True)
    again = {path.name: path.read_bytes() for path in (reports / "digits").iterdir()}
    records = [json.loads(each.pop("record.json")) for each in (written, again)]
    assert records[0].pop("run") != records[1].pop("run"), "each run judges by itself"
    assert records[0] == records[1]
    assert again == written
    assert list((reports / "gone").iterdir()) == []


FORCED = """
import ctypes


def build():
    ctypes.CDLL(None)._exit(0)
"""


def test_a_forced_status_fails_by_what_was_not_written(runner: Callable[..., Runner], hub: Hub) -> None:
    one = runner()
    (one.folder / "project" / "net.py").write_text(FORCED + NET.partition("def build")[2].partition("\n\n\n")[2])
    assert gate(one) == [0, 0, 1]
    assert one.outputs["gate"]["status"] == "1"
    reports = one.outputs["gate"]["reports"]
    done = one.step("Give the verdict")
    assert (done.returncode, done.stdout) == (1, "")
    one.outputs["gate"]["status"] = "0"  # as though another step had been told so
    done = one.step("Give the verdict")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[0] == "ERROR: The run did not finish, whatever exit status its process had."
    assert f"{reports}/digits/record.json cannot be read: No such file or directory." in done.stderr


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
        "Tell this use from others", "Install", "Find the baseline", "Run the gate", "Comment on the pull request",
        "Give the verdict",
    }  # fmt: skip
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step.get("run", "")
        assert ("run" in step) == (step.get("shell") == "bash")


def test_a_comment_that_fails_does_not_decide() -> None:
    step: dict[str, Any] = next(each for each in ACTION["runs"]["steps"] if each["name"].startswith("Comment"))
    assert step["continue-on-error"] is True
    last = ACTION["runs"]["steps"][-1]
    assert (last["name"], last["if"]) == ("Give the verdict", "always()")
