"""Under --pfa torch's threads wait passively, unless the user says otherwise or torch is there already."""

import pytest
from projects import Pfa

SHOWS = """
import os
{before}

def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line("policy " + os.environ.get("OMP_WAIT_POLICY", "none"))
"""
LOADED = "import sys, types; sys.modules['torch'] = types.ModuleType('torch')"


@pytest.mark.parametrize(
    ("given", "before", "policy"), [("", "", "PASSIVE"), ("ACTIVE", "", "ACTIVE"), ("", LOADED, "none")]
)
def test_threads_wait_passively(
    project: pytest.Pytester, pfa: Pfa, monkeypatch: pytest.MonkeyPatch, given: str, before: str, policy: str
) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", given)
    if not given:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    project.makeconftest(SHOWS.format(before=before))
    pfa().stdout.fnmatch_lines([f"policy {policy}"])


def test_nothing_is_set_without_the_gate(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    project.makeconftest(SHOWS.format(before=""))
    project.runpytest_subprocess().stdout.fnmatch_lines(["policy none"])
