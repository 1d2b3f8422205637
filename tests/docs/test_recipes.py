"""The recipes run as they stand on their page: their files are written down, their models trained, their gates run."""

import os
import re
import runpy
import subprocess
from pathlib import Path

import pytest
import torch
from documents import DOCS, blocks, read

from pfa_gate.record import Record, loads

PAGE = DOCS / "recipes.md"
TITLES = re.findall(r"^## (.*)$", read(PAGE.name), re.MULTILINE)
FOLDERS = {title: title.lower().replace(" ", "-") for title in TITLES}


def written(folder: Path) -> list[Path]:
    """Write each block into the folder of its section, under the name in its first line."""
    text = read(PAGE.name)
    headings = [(text.count("\n", 0, found.start()) + 1, found[1]) for found in re.finditer(r"^## (.*)$", text, re.M)]
    paths = []
    for block in blocks(PAGE):
        title = [name for line, name in headings if line < block.line][-1]
        name, body = block.text.removeprefix("# ").split("\n", 1)
        path = folder / FOLDERS[title] / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(body, "utf-8")
        paths.append(path)
    return paths


Outcome = tuple[str, dict[str, list[Record]]]


@pytest.fixture(scope="module")
def recipes(tmp_path_factory: pytest.TempPathFactory, torch_python: str) -> Outcome:
    """What `pytest --pfa` prints of all recipes together, and the records of each section."""
    folder = tmp_path_factory.mktemp("recipes")
    for path in written(folder):
        if path.suffix == ".py" and "__main__" in path.read_text("utf-8"):
            trained(path)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [torch_python, "-m", "pytest", "--pfa", "-p", "no:cacheprovider", "-o", "addopts="]
    done = subprocess.run(
        command, cwd=folder, env=environment | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    found = {
        title: [loads(path.read_text("utf-8")) for path in sorted((folder / name).rglob("record.json"))]
        for title, name in FOLDERS.items()
    }
    return done.stdout + done.stderr, found


def trained(path: Path) -> None:
    """Do what `python NAME.py` does in its folder, without another process's import of torch."""
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng():
        patch.chdir(path.parent)
        runpy.run_path(path.name, run_name="__main__")


def test_every_task_has_a_config_and_its_code(tmp_path: Path) -> None:
    names = {path.relative_to(tmp_path).as_posix() for path in written(tmp_path)}
    assert len(TITLES) == 7
    assert {name.split("/")[0] for name in names if name.endswith("/pfa.yaml")} == set(FOLDERS.values())
    assert all(re.fullmatch(r"[\w./-]+\.(py|yaml|toml)", name) for name in names)


@pytest.mark.slow
@pytest.mark.parametrize("title", TITLES)
def test_its_gates_are_kept(recipes: Outcome, title: str) -> None:
    shown, records = recipes
    assert len(records[title]) == (2 if title.startswith("Two") else 1), shown
    for record in records[title]:
        assert {budget.id: budget.outcome for budget in record.budgets if budget.outcome != "kept"} == {}, shown
        assert record.compressed is not None
        assert record.compressed.parameters < record.model.parameters


FEEDS = "it feeds the model's output"
WHOLE = {
    "CNN classifier": [{"4": FEEDS}],
    "Segmentation with Dice": [{"head": FEEDS}],
    "Hugging Face text model": [{}],
    "Speech": [{"head": FEEDS}],
    "Regression": [{"4": FEEDS}],
    "Detector": [{"objectness": FEEDS, "boxes": FEEDS}],
    "Two services in one repository": [{"4": FEEDS}, {"4": FEEDS}],
}


@pytest.mark.parametrize("title", TITLES)
def test_only_what_feeds_the_output_stays_whole(recipes: Outcome, title: str) -> None:
    left_out = "it is left out by layers"
    skipped = [{layer.name: layer.skipped for layer in record.layers if layer.skipped} for record in recipes[1][title]]
    assert [{name: why for name, why in found.items() if why != left_out} for found in skipped] == WHOLE[title]


def test_text_is_cut_in_its_mlps_alone(recipes: Outcome) -> None:
    (record,) = recipes[1]["Hugging Face text model"]
    judged = [layer.name for layer in record.layers if not layer.skipped]
    assert judged == ["bert.encoder.layer.0.intermediate.dense"]


@pytest.mark.parametrize("title", ["Regression", "Detector"])
def test_reconstruction_loses_next_to_nothing_where_it_is_recommended(recipes: Outcome, title: str) -> None:
    (record,) = recipes[1][title]
    assert record.scores is not None
    assert record.compressed is not None
    assert record.compressed.parameters < 0.85 * record.model.parameters
    assert record.scores.compressed == pytest.approx(record.scores.full, rel=0.05)
