"""`pfa-gate study` as people run it."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.cells import cell_len

from pfa_gate.record.study import Study, loads_study

ROOT = Path(__file__).parents[2]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("command")
    ignored = shutil.ignore_patterns(".pfa", "__pycache__")
    shutil.copytree(ROOT / "example_project", made / "example_project", ignore=ignored)
    return made


@pytest.fixture
def command(folder: Path, torch_python: str) -> Command:
    """Run `pfa-gate study` on it with more arguments."""
    start = "import sys; from pfa_gate.cli import main; sys.exit(main())"
    line = [torch_python, "-c", start, "study", "example_project/pfa.yaml"]
    environment = os.environ | {"COLUMNS": "80", "PYTHONPATH": str(folder), "PYTHONIOENCODING": "utf-8"}

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        ask = [*line, *arguments]
        return subprocess.run(ask, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False)

    return run


def held(folder: Path, name: str = "study") -> Study:
    return loads_study((folder / "example_project" / ".pfa" / "digits.study" / f"{name}.json").read_text("utf-8"))


def test_a_study_is_announced_printed_and_written(folder: Path, command: Command) -> None:
    wanted = "--strategies kl,energy:0.9 --selections correlation,l1 --recoveries none --uniform --random 2".split()
    done = command(*wanted)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "Study of digits: 10 models to cut and recover, 10 scores.\n"
    study = held(folder)
    assert len(study.trials) == 10
    assert max(map(cell_len, done.stdout.split("\nFiles: ")[0].splitlines())) <= 80
    assert "digits  10 trials, none failed" in done.stdout
    assert "best of 2" in done.stdout
    where = folder / "example_project" / ".pfa" / "digits.study"
    assert {path.name for path in where.iterdir()} == {"study.json", "study.md", "study.svg"}
    for row in study.rows:
        assert row.accuracy is not None
        assert f"{100 * row.accuracy:.2f}%" in done.stdout
        assert f"{100 * row.accuracy:.2f}%" in (where / "study.md").read_text("utf-8")


def test_a_domain_shrinks_the_recipe(folder: Path, command: Command) -> None:
    done = command("--strategies", "kl", "--domain", "0,3,5", "--output", "told")
    assert done.returncode == 0, done.stderr
    study = loads_study((folder / "told" / "study.json").read_text("utf-8"))
    filters = {plan.task: plan.filters for plan in study.plans}
    assert filters["0,3,5"] < filters["all"]
    assert f"{filters['0,3,5']}/320" in done.stdout


def test_a_failure_is_told_by_the_exit_code(folder: Path, command: Command) -> None:
    other = folder / "mine"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    done = command("--strategies", "parameters:0.01%,kl", "--output", "mine")
    assert done.returncode == 1
    assert "The smallest recipe has" in done.stdout
    assert (other / "notes.txt").read_text() == "mine"
    data = json.loads((other / "study.json").read_text("utf-8"))
    assert [trial["reason"] is None for trial in data["trials"]] == [False, True]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--strategies", "entropy"], "strategy 'entropy' does not hold"),
        (["--selections", "l7"], "There is no selection 'l7'"),
        (["--domain", "zero"], "'zero' names no classes"),
        (["--gate", "letters"], "There is no gate 'letters'"),
        (["--recoveries", "none,none"], "asks for recovery 'none' twice"),
        (["--sizes", "50%"], "--sizes is of --families"),
        (["--families", "--only", "zip"], "There is no family 'zip'"),
    ],
)
def test_what_does_not_hold_is_two(folder: Path, command: Command, arguments: list[str], said: str) -> None:
    done = command(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_one_size_is_shared_out_by_two_statistics(folder: Path, command: Command) -> None:
    done = command("--strategies", "parameters:50%,parameters:50%/reconstruction", "--output", "shared")
    assert done.returncode == 0, done.stderr
    study = loads_study((folder / "shared" / "study.json").read_text("utf-8"))
    by_energy, by_loss = study.trials
    assert by_energy.strategy != by_loss.strategy
    assert by_energy.keep != by_loss.keep
    for trial in study.trials:
        assert trial.size is not None
        assert 0.45 < trial.size.parameters / study.model.parameters <= 0.5


def test_a_statistic_goes_with_a_size(folder: Path, command: Command) -> None:
    done = command("--strategies", "kl/reconstruction")
    assert done.returncode == 2
    assert "recipe.statistic is not read by the strategy kl" in done.stderr
