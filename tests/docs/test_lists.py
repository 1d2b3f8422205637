"""Every budget, option, command, exit code, file and input is listed on the page that owns it."""

import re
from pathlib import Path

import pytest
import records
import yaml
from documents import DOCS, ROOT, first_cells, rows, section
from test_commands import options, subcommands

from pfa_gate.cli import command_parser
from pfa_gate.config.budgets import COMPRESSED_LIMITS, LAYER_LIMITS, MODEL_LIMITS, QUANTIZED_LIMITS
from pfa_gate.config.sections import SELECTIONS
from pfa_gate.report.ci import scalars
from pfa_gate.report.ownership import FILES

ACTION = yaml.safe_load((ROOT / ".github/actions/pfa-gate/action.yml").read_text("utf-8"))
PLUGIN = (ROOT / "pfa_gate/plugin/__init__.py").read_text("utf-8")
OWNERS = {
    "init": ("command-line.md", "`pfa-gate init`"),
    "check": ("command-line.md", "`pfa-gate check`"),
    "schema": ("command-line.md", "`pfa-gate schema`"),
    "report": ("command-line.md", "`pfa-gate report`"),
    "verify": ("command-line.md", "`pfa-gate verify`"),
    "comment": ("ci-github.md", "Without the action"),
    "study": ("command-line.md", "`pfa-gate study`"),
    "compare": ("command-line.md", "`pfa-gate compare`"),
    "inspect": ("command-line.md", "`pfa-gate inspect`"),
    "parity": ("command-line.md", "`pfa-gate parity`"),
    "sensitivity": ("command-line.md", "`pfa-gate sensitivity`"),
    "collect": ("command-line.md", "`pfa-gate collect`, `pfa-gate merge`"),
    "merge": ("command-line.md", "`pfa-gate collect`, `pfa-gate merge`"),
}
"""Where the options of a command are explained."""


def test_the_list_of_budgets_is_whole() -> None:
    layers = [f"layers.{limit}" for limit in LAYER_LIMITS]
    model = [f"model.{limit}" for limit in MODEL_LIMITS]
    compressed = [f"compressed.{limit}" for limit in COMPRESSED_LIMITS]
    quantized = [f"quantized.{limit}" for limit in QUANTIZED_LIMITS]
    assert first_cells("budgets.md", "Budgets") == ["exact", *layers, *model, *compressed, *quantized]


def test_the_list_of_selections_is_whole() -> None:
    assert sorted(first_cells("configuration.md", "`selection`")) == sorted(SELECTIONS)


def test_the_list_of_options_is_whole() -> None:
    told = list(rows(section("command-line.md", "`pytest --pfa`")))
    assert {re.split("[ =]", cells[0].strip("`"))[0] for cells in told} == set(re.findall(r'"(--pfa[a-z-]*)"', PLUGIN))
    assert {cells[1].strip("`") for cells in told} - {"none"} == set(re.findall(r'addini\("(\w+)"', PLUGIN))


def test_the_list_of_commands_is_whole() -> None:
    told = {re.split(r"[ `]", cell)[1] for cell in first_cells("command-line.md", "`pfa-gate`")}
    assert told == {*subcommands(), *options(command_parser())}
    assert set(OWNERS) == set(subcommands())


@pytest.mark.parametrize("name", OWNERS)
def test_every_option_of_a_command_is_explained(name: str) -> None:
    assert options(subcommands()[name]) <= set(re.findall(r"--[a-z][a-z-]*", section(*OWNERS[name])))


def test_the_list_of_exit_codes_is_whole() -> None:
    """Those of pytest that the plugin gives; 3 and 5 are pytest's own."""
    sources = [path.read_text("utf-8") for path in (ROOT / "pfa_gate/plugin").glob("*.py")]
    given = {pytest.ExitCode[name] for source in sources for name in re.findall(r"ExitCode\.([A-Z_]+)", source)}
    told = {pytest.ExitCode(int(cell)) for cell in first_cells("command-line.md", "Exit codes")}
    assert told == given - {pytest.ExitCode.INTERNAL_ERROR}


def test_the_list_of_files_is_whole() -> None:
    table = section("reports.md", "Files a gate leaves behind")
    assert {name for cells in rows(table) for name in re.findall(r"`([^`]+)`", cells[0])} == set(FILES)


def test_the_inputs_and_outputs_of_the_action_are_told() -> None:
    told = list(rows(section("ci-github.md", "The GitHub action")))
    inputs = {cells[0].strip("`"): cells[1].strip("`") for cells in told if len(cells) == 3}
    assert list(inputs) == list(ACTION["inputs"])
    words = {"": "none", "${{ github.token }}": "the job's"}
    assert inputs == {name: words.get(given["default"], given["default"]) for name, given in ACTION["inputs"].items()}
    assert [cells[0].strip("`") for cells in told if len(cells) == 2] == list(ACTION["outputs"])


def variables() -> set[str]:
    """Environment variables of our own that the package reads; a prefix where the name is put together."""
    sources = [path.read_text("utf-8") for path in (ROOT / "pfa_gate").rglob("*.py")]
    return {name for source in sources for name in re.findall(r"PFA_GATE_[A-Z_]*[A-Z]", source)}


@pytest.mark.parametrize("name", sorted(variables()))
def test_every_environment_variable_is_explained(name: str) -> None:
    assert any(name in path.read_text("utf-8") for path in Path(DOCS).glob("*.md"))


def test_the_properties_in_junit_are_listed() -> None:
    record = records.broken()
    given = {name for budget in record.budgets for name in scalars(record, budget)}
    told = set(re.findall(r"`(pfa_[a-z_]+)`", section("reports.md", "All reports")))
    of_classes = {"pfa_class", "pfa_lost", "pfa_won"}
    assert told == given | of_classes | {"pfa_baseline"}, "a baseline's value, where there is one"
