"""Under --pfa threads wait passively and are no more than there are cores, unless the user says otherwise."""

import os
from pathlib import Path

import pytest
from projects import Pfa

from pfa_gate.plugin.session import cores_for, quota

NAMES = ("OMP_WAIT_POLICY", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
SHOWS = """
import os
{before}

def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line("policy " + os.environ.get("OMP_WAIT_POLICY", "none"))
"""
LOADED = "import sys, types; sys.modules['torch'] = types.ModuleType('torch')"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("given", "before", "policy"), [("", "", "PASSIVE"), ("ACTIVE", "", "ACTIVE"), ("", LOADED, "none")]
)
def test_threads_wait_passively(
    project: pytest.Pytester, pfa: Pfa, monkeypatch: pytest.MonkeyPatch, given: str, before: str, policy: str
) -> None:
    if given:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    project.makeconftest(SHOWS.format(before=before))
    pfa().stdout.fnmatch_lines([f"policy {policy}"])


def test_nothing_is_set_without_the_gate(project: pytest.Pytester) -> None:
    project.makeconftest(SHOWS.format(before=""))
    project.runpytest_subprocess().stdout.fnmatch_lines(["policy none"])


@pytest.mark.parametrize("given", ["", "3"])
def test_workers_share_the_cores(
    project: pytest.Pytester, pfa: Pfa, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    pytest.importorskip("xdist", reason="not run: pytest-xdist is not installed")
    cores = len(os.sched_getaffinity(0))
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    share = cores_for(cores, 2, quota())
    expected = given or (str(share) if share < cores else "none")
    project.makepyfile(f"""
        import os

        def test_threads():
            assert os.environ.get("OMP_NUM_THREADS", "none") == "{expected}"
            assert os.environ.get("OMP_WAIT_POLICY") == "PASSIVE"
    """)
    pfa("-n2", ".", "-k", "test_threads").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("own", "limits", "expected"),
    [
        ("0::/\n", {"": "250000 100000"}, 2.5),
        ("0::/\n", {"": "max 100000"}, None),
        ("0::/\n", {}, None),
        ("0::/a/b\n", {"a": "400000 100000", "a/b": "max 100000"}, 4.0),
        ("0::/a/b\n", {"a": "100000 100000", "a/b": "400000 100000", "c": "1 100000"}, 1.0),
        ("12:cpu:/old\n", {"": "nonsense"}, None),
    ],
)
def test_the_least_limit_of_the_group_and_those_above_it_counts(
    tmp_path: Path, own: str, limits: dict[str, str], expected: float | None
) -> None:
    for name, text in limits.items():
        (tmp_path / "groups" / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name / "cpu.max").write_text(text + "\n")
    (tmp_path / "own").write_text(own)
    assert quota(tmp_path / "groups", tmp_path / "own") == expected
