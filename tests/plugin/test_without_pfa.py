"""Who does not use the gate does not pay for it; other plugins may be gone."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from projects import Pfa, runs

HEAVY = {"torch", "numpy", "scipy", "pydantic", "yaml", "rich", "jinja2", "filelock", "safetensors"}


def heavy(modules: set[str]) -> set[str]:
    return HEAVY & {name.partition(".")[0] for name in modules}


def modules_after(project: pytest.Pytester, *arguments: str) -> set[str]:
    listing = project.path / "modules.txt"
    os.environ["MODULES_AT_END"] = str(listing)
    try:
        project.run(sys.executable, "-m", "pytest", "-p", "fakes", *arguments)
    finally:
        del os.environ["MODULES_AT_END"]
    return set(listing.read_text().split())


def test_without_pfa_nothing_is_imported_printed_or_written(project: pytest.Pytester) -> None:
    before = {path.name for path in project.path.iterdir()}
    result = project.run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    assert "pfa.yaml" not in result.stdout.str()
    assert {path.name for path in project.path.iterdir()} - before <= {"__pycache__", "stdout", "stderr"}
    modules = modules_after(project)
    assert heavy(modules) == set()
    assert {name for name in modules if name.startswith("pfa_gate")} <= {
        *("pfa_gate", "pfa_gate.plugin"),
        *("pfa_gate.pipeline.run", "pfa_gate.errors"),  # the fake gate's own
    }


@pytest.mark.parametrize("argument", ["--co", "-k=nothing"])
def test_collection_imports_no_torch(project: pytest.Pytester, argument: str) -> None:
    modules = modules_after(project, "--pfa", argument)
    assert "pfa_gate.config" in modules
    assert heavy(modules) <= {"pydantic", "yaml", "filelock"}


@pytest.mark.parametrize(
    "plugin", ["cacheprovider", "terminal", "xdist", "capture", "junitxml", "warnings", "logging", "assertion"]
)
def test_other_plugins_may_be_off(project: pytest.Pytester, pfa: Pfa, plugin: str) -> None:
    assert pfa("-p", f"no:{plugin}").ret == 0
    assert len(runs(project)) == 1


def test_the_plugin_itself_may_be_off(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess("-p", "no:pfa_gate")
    result.assert_outcomes(passed=1)
    result = project.runpytest_subprocess("-p", "no:pfa_gate", "--pfa")
    assert result.ret == pytest.ExitCode.USAGE_ERROR


def test_without_autoload(project: pytest.Pytester, pfa: Pfa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    project.runpytest_subprocess().assert_outcomes(passed=1)
    pfa("-p", "pfa_gate.plugin").assert_outcomes(passed=3)


@pytest.mark.parametrize("argument", ["--help", "--markers", "--fixtures", "--version"])
def test_asking_for_help_needs_no_config(project: pytest.Pytester, pfa: Pfa, argument: str) -> None:
    assert pfa(argument).ret == 0
    (project.path / "pfa.yaml").unlink()
    if argument != "--fixtures":  # pytest collects for it
        assert pfa(argument).ret == 0


def test_what_a_run_shares_is_removed(project: pytest.Pytester, pfa: Pfa, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project.mkdir("temporary")
    monkeypatch.setenv("TMPDIR", str(folder))
    pfa("--basetemp", "elsewhere")
    pfa("-n2", "--basetemp", "elsewhere")
    assert [path.name for path in folder.iterdir() if path.name.startswith("pfa_gate")] == []


MEASURE = """
import statistics, subprocess, sys, time

SCRIPT = '''
import sys, time, pytest, _pytest.config
before = set(sys.modules)
start = time.process_time()
import pfa_gate.plugin
print(time.process_time() - start)
print(*sorted(set(sys.modules) - before))
'''
times = []
for _ in range(9):
    shown = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout
    seconds, modules = shown.splitlines()
    times.append(float(seconds))
print(statistics.median(times))
print(modules)
"""


def test_the_import_is_light(project: pytest.Pytester, record_property: Callable[[str, object], None]) -> None:
    script = Path(project.path / "measure.py")
    script.write_text(MEASURE)
    result = project.run(sys.executable, str(script))
    seconds, modules = result.outlines
    assert modules.split() == ["pfa_gate", "pfa_gate.plugin"]
    record_property("import_seconds", seconds)
    assert float(seconds) < 0.03, "ten times what it should cost, on a busy machine too"
