"""Budgets are tests like any other: chosen, ordered and rerun by pytest's own options, set up by its own files."""

import pytest
from projects import Pfa, config, gate, runs

THREE = "layers: [{match: '*', kl: 0.7}], model: {parameters: 9 k}"
SETTINGS = 'pfa_config = ["nets/pfa.yaml"]\npfa_output = "results"\npfa_no_cache = true\n'
LOCATIONS = """
def pytest_terminal_summary(terminalreporter):
    for report in terminalreporter.getreports("passed"):
        path, line, name = report.location
        terminalreporter.write_line(f"<{name}> {path}:{line + 1}")
"""


@pytest.mark.parametrize(
    "table",
    [
        "tool.pytest.ini_options",
        pytest.param(
            "tool.pytest",
            marks=pytest.mark.skipif(pytest.version_tuple < (9,), reason="not run: pytest 9 brought native TOML"),
        ),
    ],
)
def test_settings_stand_in_either_table_of_pyproject(project: pytest.Pytester, pfa: Pfa, table: str) -> None:
    folder = project.mkdir("nets")
    (project.path / "pfa.yaml").rename(folder / "pfa.yaml")
    (project.path / "pyproject.toml").write_text(f"[{table}]\n{SETTINGS}")
    pfa().assert_outcomes(passed=3)
    (line,) = runs(project, "nets")
    assert line.endswith(f" {project.path / 'results'}")


def test_failures_are_rerun_ordered_and_stepped_through(project: pytest.Pytester, pfa: Pfa) -> None:
    project.makefile(".yaml", pfa=config(gate(THREE, "{broken: [layers.kl, model.parameters]}")))
    first = pfa("-rf")
    first.assert_outcomes(passed=2, failed=2)
    (node,) = {line.split()[1] for line in first.outlines if line.startswith("FAILED pfa.yaml::digits::layers.kl ")}
    pfa(node).assert_outcomes(failed=1)
    pfa("--lf").assert_outcomes(failed=2)
    pfa("--sw").assert_outcomes(passed=1, failed=1)
    ordered = [line for line in pfa("--ff", "-v").outlines if line.startswith(("pfa.yaml::", "test_one.py::"))]
    assert [" FAILED" in line for line in ordered] == [True, True, False, False]


def test_a_budget_is_located_on_its_line(project: pytest.Pytester, pfa: Pfa) -> None:
    project.makefile(".yaml", pfa=config(gate(THREE)))
    project.makeconftest(LOCATIONS)
    shown = [line for line in pfa().outlines if line.startswith("<digits: ")]
    text = (project.path / "pfa.yaml").read_text().splitlines()
    at = {name: 1 + next(i for i, line in enumerate(text) if word in line) for name, word in LINES.items()}
    assert shown == [f"<digits: {name}> pfa.yaml:{line}" for name, line in at.items()]


LINES = {"exact": "digits:", "layers.kl": "kl: 0.7", "model.parameters": "parameters: 9 k"}
