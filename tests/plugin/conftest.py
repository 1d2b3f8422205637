"""A project with configs, and pytest run on it in a process of its own."""

import os
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from projects import ONE_TEST, Pfa, config


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder with one config and one test that passes; pytest there loads the fake gate."""
    if not entry_points(group="pytest11", name="pfa_gate"):
        pytest.fail("pfa_gate is not installed, so pytest does not load it: pip install -e .", pytrace=False)
    # What is set already stays in force: .ci/matrix puts another pytest on this path, and turns xdist off.
    before = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), *before]))
    monkeypatch.setenv("PYTHONIOENCODING", "utf-8")
    # Plugins of no interest here, each slow to import in every one of these processes.
    more = os.environ.get("PYTEST_ADDOPTS", "")
    monkeypatch.setenv("PYTEST_ADDOPTS", f"-p no:hypothesispytest -p no:pytest_cov -p no:anyio {more}".strip())
    of_these_tests = "PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT"
    for name in ("NO_COLOR", "FORCE_COLOR", "PY_COLORS", "COLUMNS", *of_these_tests):
        monkeypatch.delenv(name, raising=False)
    pytester.makefile(".yaml", pfa=config())
    pytester.makepyfile(test_one=ONE_TEST)
    return pytester


@pytest.fixture
def pfa(project: pytest.Pytester, light_python: str) -> Pfa:
    """Run `pytest --pfa` with more arguments."""

    def run(*arguments: str) -> pytest.RunResult:
        return project.run(light_python, "-m", "pytest", "-p", "fakes", "--pfa", *arguments)

    return run


@pytest.fixture
def real(project: pytest.Pytester, torch_python: str) -> Pfa:
    """Run `pytest --pfa pfa.yaml` with the real gate, and with more arguments."""

    def run(*arguments: str) -> pytest.RunResult:
        return project.run(torch_python, "-m", "pytest", "--pfa", "pfa.yaml", *arguments)

    return run
