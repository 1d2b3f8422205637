"""A baseline from its first writing to the commit that is compared with it, by the real gate."""

import json
import shlex
import subprocess
from pathlib import Path

import pytest
from projects import Pfa

NET = """
import torch
from torch import nn


def build(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def probe():
    return torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
"""
CONFIG = """\
version: 1
gates:
  digits:
    model: {{factory: net.py:{factory}, arguments: {{seed: {seed}}}}}
    probe: {{data: "net.py:probe"}}
    artifacts: [weights]
    budgets: {{layers: [{{match: "*", kl: {limit}}}]}}
    selection: correlation
    recovery: []
"""
CREATE = "There is no baseline yet. Run pytest --pfa --pfa-update-baseline once, and commit pfa.baseline.json."


def write(project: pytest.Pytester, limit: str, seed: int = 0, factory: str = "build") -> None:
    (project.path / "net.py").write_text(f"{NET}\n\nother = build\n")
    (project.path / "pfa.yaml").write_text(CONFIG.format(limit=limit, seed=seed, factory=factory))


def said(result: pytest.RunResult) -> str:
    """What was printed, with lines that were broken between words put together."""
    return " ".join(f"{result.stdout.str()} {result.stderr.str()}".split())


def baseline(project: pytest.Pytester) -> Path:
    return project.path / "pfa.baseline.json"


def test_from_the_first_run_to_an_increase(project: pytest.Pytester, real: Pfa, torch_python: str) -> None:
    write(project, "{max: 1, max_increase: 0.01}")
    first = real()
    assert first.ret == 0
    assert CREATE in said(first)
    assert not baseline(project).exists()
    written = real("--pfa-update-baseline")
    assert written.ret == 0
    assert "pfa.baseline.json: written with 1 gate; commit it." in said(written)
    again = real()
    assert again.ret == 0
    assert "pfa.baseline.json, written 20" in said(again)
    lower = json.loads(baseline(project).read_text())
    lower["gates"]["digits"]["layers"]["0"]["kl"] = 0.0
    (project.path / "a lower one.json").write_text(json.dumps(lower))
    worse = real("--pfa-baseline", "a lower one.json")
    assert worse.ret == 1
    assert "the baseline's 0 + 0.01" in said(worse)
    assert f"it was 0.000 in the baseline of {lower['gates']['digits']['written']}" in said(worse)
    (command,) = {line for line in worse.outlines if line.startswith("  Again: ")}
    assert command == "  Again: pytest --pfa --pfa-baseline 'a lower one.json' pfa.yaml::digits::layers.kl"
    pasted = project.run(torch_python, "-m", *shlex.split(command.partition(": ")[2]))
    pasted.assert_outcomes(failed=1)
    assert "the baseline's 0 + 0.01" in said(pasted)


def test_a_limit_that_needs_a_baseline_is_an_error_without_one(project: pytest.Pytester, real: Pfa) -> None:
    write(project, "{ratchet: true}")
    first = real()
    assert first.ret == 1
    first.assert_outcomes(passed=1, errors=1)
    assert CREATE in said(first)
    assert real("--pfa-update-baseline", "-n2").ret == 0
    assert real("-n2").ret == 0
    whole = baseline(project).read_text()
    torn = f"<<<<<<< ours\n{whole}=======\n{whole}>>>>>>> theirs\n"
    baseline(project).write_text(torn)
    refused = real("--pfa-update-baseline")
    assert refused.ret != 0
    assert "it holds the marks of a merge conflict; and git has no other state of it." in said(refused)
    assert baseline(project).read_text() == torn


def test_another_factory_is_not_compared(project: pytest.Pytester, real: Pfa) -> None:
    write(project, "{max: 1, ratchet: true}")
    real("--pfa-update-baseline")
    write(project, "{max: 1, ratchet: true}", factory="other")
    result = real()
    result.assert_outcomes(passed=1, errors=1)
    assert 'model.factory was "net.py:build" then and is "net.py:other" now' in said(result)


@pytest.mark.parametrize("way", [[], ["-n2"], ["-p", "no:cacheprovider"]])
def test_a_corrupt_baseline_is_an_error_of_every_budget(project: pytest.Pytester, real: Pfa, way: list[str]) -> None:
    write(project, "1")
    baseline(project).write_text('{"gates": {')
    result = real(*way)
    assert result.ret == 1
    result.assert_outcomes(errors=2)
    assert "The baseline pfa.baseline.json cannot be read: it is not JSON." in said(result)


@pytest.mark.parametrize(
    ("asked", "fact"),
    [
        ("no.json", "There is no baseline no.json."),
        ("git:no-such-branch", "git gives no baseline at "),
        ("git:", "'git:' names no revision."),
    ],
)
def test_a_baseline_that_was_asked_for_must_be_there(
    project: pytest.Pytester, real: Pfa, asked: str, fact: str
) -> None:
    write(project, "1")
    result = real(f"--pfa-baseline={asked}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"--pfa-baseline: {fact}" in said(result)


def test_against_the_merge_base(project: pytest.Pytester, real: Pfa) -> None:
    write(project, "{max: 1, max_increase: 0}")
    real("--pfa-update-baseline")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-b", "main"], ["add", "."], [*identity, "commit", "-m", "one"]):
        subprocess.run(["git", *arguments], cwd=project.path, check=True, capture_output=True)
    baseline(project).write_text("torn")
    result = real("--pfa-baseline=git:main", "-n2")
    assert result.ret == 0
    assert "the merge base with main" in said(result)
    unknown = real("--pfa-baseline=git:origin/main")
    assert unknown.ret == pytest.ExitCode.USAGE_ERROR
    assert "git finds no common ancestor of HEAD and origin/main: git says: fatal: " in said(unknown)
    assert "Fetch it first, with its history: git fetch origin main." in said(unknown)


def test_what_could_not_be_judged_is_not_written(project: pytest.Pytester, real: Pfa) -> None:
    write(project, "1")
    (project.path / "net.py").write_text("def build(seed):\n    raise ValueError\n")
    result = real("--pfa-update-baseline")
    assert result.ret == 1
    assert "gate 'digits' is left as it was: it could not be measured." in said(result)
    assert not baseline(project).exists()


def test_options_of_the_baseline_need_the_gate(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess("--pfa-update-baseline")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --pfa-update-baseline has no effect without --pfa."])
