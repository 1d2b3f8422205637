"""Workers find the configs of the controller, and analyse each gate once between them."""

import re

import pytest
from projects import Pfa, config, gate, runs

pytest.importorskip("xdist", reason="not run: pytest-xdist is not installed")

MANY = (
    "layers: [{match: '*', kl: 0.7, peak_correlation: 0.9, mean_correlation: 0.5, inactive: 0}],"
    " model: {parameters: 9 k, bytes: 9 kB, macs: 9 k}"
)


def several(project: pytest.Pytester, arguments: str) -> None:
    project.makefile(".yaml", pfa=config(gate(MANY, arguments)))


@pytest.mark.parametrize("dist", ["load", "worksteal", "loadgroup"])
def test_one_analysis_whatever_the_workers(project: pytest.Pytester, pfa: Pfa, dist: str) -> None:
    several(project, "{seconds: 0.5}")
    result = pfa("-n3", "--dist", dist)
    result.assert_outcomes(passed=9)
    assert len(runs(project)) == 1
    assert result.stdout.str().count("KEPT") == 1


def test_each_worker_shares_the_analysis_too(project: pytest.Pytester, pfa: Pfa) -> None:
    several(project, "{seconds: 0.5}")
    pfa("-n2", "--dist", "each").assert_outcomes(passed=18)
    assert len(runs(project)) == 1


def test_broken_and_unknown_budgets_cross_processes(project: pytest.Pytester, pfa: Pfa) -> None:
    several(project, "{broken: [layers.kl], unknown: [model.macs]}")
    result = pfa("-n2")
    result.assert_outcomes(passed=7, failed=1, errors=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines_random(["The sentence of layers.kl.", "The sentence of model.macs.", "digits*BROKEN*"])


def test_errors_are_shared(project: pytest.Pytester, pfa: Pfa) -> None:
    several(project, "{raises: mistake, seconds: 0.5}")
    result = pfa("-n3")
    result.assert_outcomes(passed=1, errors=8)
    assert len(runs(project)) == 1
    shown = result.stdout.str()
    assert shown.count("\nThe module net does not import.") == 1
    assert len(re.findall(r"\nNot measured: pfa\.yaml::digits::\S+ says why\.", shown)) == 7


def test_crashes_are_shared(project: pytest.Pytester, pfa: Pfa) -> None:
    several(project, "{raises: bug, seconds: 0.5}")
    result = pfa("-n3")
    result.assert_outcomes(passed=1, errors=8)
    assert len(runs(project)) == 1
    assert result.stdout.str().count('raise RuntimeError("boom")') == 1


def test_a_bad_config_fails(project: pytest.Pytester, pfa: Pfa) -> None:
    project.makefile(".yaml", pfa="version: 3\n")
    result = pfa("-n2")
    assert result.ret not in (0, 5)
    result.stdout.fnmatch_lines_random(["pfa.yaml:1:10: version must be 1, not 3"])


@pytest.mark.parametrize("arguments", [[], ["tests"], ["tests/test_a.py"], ["--pfa-config", "pfa.yaml"], ["pfa.yaml"]])
def test_workers_find_the_configs_of_the_controller(project: pytest.Pytester, pfa: Pfa, arguments: list[str]) -> None:
    tests = project.mkdir("tests")
    (tests / "test_a.py").write_text("def test_a():\n    pass\n")
    project.makeini("[pytest]\ntestpaths = tests\n")
    result = pfa("-n2", *arguments)
    assert result.ret == 0
    assert len(runs(project)) == 1
    result.stdout.fnmatch_lines(["pfa_gate: pfa.yaml"])


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_a_config_outside_the_root(project: pytest.Pytester, pfa: Pfa, workers: str) -> None:
    outside, root = project.mkdir("outside"), project.mkdir("root")
    (outside / "pfa.yaml").write_text(config())
    result = pfa(workers, f"--rootdir={root}", "root", "--pfa-config", "outside/pfa.yaml")
    result.assert_outcomes(passed=2)
    assert len(runs(project, "outside")) == 1


def test_no_config(project: pytest.Pytester, pfa: Pfa) -> None:
    (project.path / "pfa.yaml").unlink()
    result = pfa("-n2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --pfa: found no pfa.yaml*"])


DIES_ONCE = """
import os, signal

def {hook}(session):
    if os.environ.get("PYTEST_XDIST_WORKER"):
        try:
            os.open("died", os.O_CREAT | os.O_EXCL)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    ("hook", "arguments"),
    [
        ("pytest_sessionstart", ()),
        ("pytest_collection_finish", ()),
        ("pytest_sessionfinish", ("-k", "passes or kl")),
        ("pytest_sessionfinish", ("-p", "no:terminal")),
    ],
)
def test_a_worker_that_dies_without_a_test_in_its_hands(
    project: pytest.Pytester, pfa: Pfa, hook: str, arguments: tuple[str, ...]
) -> None:
    """Xdist starts another, or needs none, and every test passes; unless it had sent the worker a test by then."""
    project.makeconftest(DIES_ONCE.format(hook=hook))
    result = pfa("-n2", *arguments)
    output = result.stdout.str() + result.stderr.str()
    if "-p" not in arguments:
        assert result.parseoutcomes().get("passed", 0) >= 2
    sent = "crashed while running" in output
    assert result.ret == (pytest.ExitCode.TESTS_FAILED if sent else pytest.ExitCode.USAGE_ERROR)
    assert sent or "ERROR: --pfa: no test failed, but a worker died, so the run does not pass.\n  gw" in output


STRUCK_AT_THE_END = """
import os, pathlib, signal
import pytest

def pytest_configure(config):
    if os.environ.get("PYTEST_XDIST_WORKER") == "gw0":
        pathlib.Path("gw0.pid").write_text(str(os.getpid()))

@pytest.hookimpl(wrapper=True)
def pytest_runtestloop():
    result = yield
    if "PYTEST_XDIST_WORKER" not in os.environ:
        os.kill(int(pathlib.Path("gw0.pid").read_text()), signal.SIGKILL)
    return result
"""


def test_a_worker_that_dies_with_nothing_left_to_do(project: pytest.Pytester, pfa: Pfa) -> None:
    """It is asked for a sign of life: that its connection is closed would be noticed too late."""
    project.makeconftest(STRUCK_AT_THE_END)
    result = pfa("-n2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines(["ERROR: --pfa: no test failed, but a worker died*", "  gw0: it no longer answers"])


def test_a_run_id_that_is_fixed_does_not_bring_back_an_old_verdict(project: pytest.Pytester, pfa: Pfa) -> None:
    pfa("-n2", "--testrunuid=same").assert_outcomes(passed=3)
    several(project, "{broken: [layers.kl]}")
    assert pfa("-n2", "--testrunuid=same").ret == 1


def test_configs_with_strict_marks(project: pytest.Pytester, pfa: Pfa) -> None:
    project.makeini("[pytest]\nxfail_strict = true\naddopts = --strict-markers --strict-config\n")
    assert pfa("-n2").ret == 0
    assert pfa("-p", "no:xdist").ret == 0


@pytest.mark.skipif(pytest.version_tuple < (9,), reason="not run: pytest 9 brought strict mode")
def test_strict_mode(project: pytest.Pytester, pfa: Pfa) -> None:
    project.makeini("[pytest]\nstrict = true\n")
    assert pfa("-n2").ret == 0
    assert pfa("-p", "no:xdist").ret == 0
