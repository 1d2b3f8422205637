"""The README is true: its commands, examples, tables and pasted output are those of this version."""

import doctest
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from torch import Tensor, nn

import pfa_gate
from pfa_gate.config import BudgetsConfig, EvaluationConfig, load
from pfa_gate.config import sections as types
from pfa_gate.config.budgets import COMPRESSED_LIMITS, LAYER_LIMITS, MODEL_LIMITS
from pfa_gate.evaluation import score
from pfa_gate.loading import Batches, Sampling, batches_of

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
TABLES = {
    "The file": types.Root,
    "A gate": types.GateSections,
    "`model`": types.ModelConfig,
    "`probe`": types.ProbeConfig,
    "`layers`": types.LayersConfig,
    "`recipe`": types.RecipeConfig,
    "`evaluation`": EvaluationConfig,
    "`budgets`": BudgetsConfig,
}
# Differs from run to run: seconds, and the size of rounding errors.
FLEETING = re.compile(r"[\d.]+ s\b|\b\d(?:\.\d)?e-\d\d")


def section(title: str) -> str:
    """Text below a heading, up to the next one of any level."""
    return re.split(r"^#{2,3} ", README.split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def blocks(kind: str, text: str = README) -> list[str]:
    """Fenced blocks of a kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def rows(text: str) -> Iterator[list[str]]:
    """Cells of every row below the head of a table."""
    lines = re.findall(r"^\| (.*) \|$", text, re.MULTILINE)
    return (re.split(r" \| ", line) for line in lines[1:] if not line.startswith("---"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with nothing but the example project."""
    shutil.copytree(
        ROOT / "example_project", tmp_path / "example_project", ignore=shutil.ignore_patterns(".pfa", "__*__")
    )
    (tmp_path / "example_project" / "__init__.py").touch()
    return tmp_path


def run(folder: Path, *arguments: str) -> str:
    """Standard output of Python in a folder, as a log would have it."""
    plain = {"COLUMNS": "80", "PYTHONIOENCODING": "utf-8", "PYTHONPATH": str(folder)}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | plain
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_quick_start_is_two_lines() -> None:
    (block,) = re.findall(r"^```.*?\n(.*?)^```$", section("Quick start"), re.MULTILINE | re.DOTALL)
    example, tests = block.splitlines()
    install = "python -m pip install -c constraints.txt -e "
    assert example == f'{install}".[example]" && python -m pytest --pfa example_project'
    assert tests == f'{install}".[dev]" && python -m pytest -n auto --maxprocesses 4 --dist loadfile'


def test_the_report_is_what_the_example_prints(copy: Path) -> None:
    printed = run(copy, "-m", "pytest", "-p", "no:cacheprovider", "--pfa", "example_project")
    report = re.search(r"^=+ pfa_gate =+\n(.*?)^=+ \d+ passed", printed, re.MULTILINE | re.DOTALL)
    assert report is not None, printed
    shown = blocks("text")[0]
    if os.environ.get("PFA_GATE_UPDATE_GOLDEN") == "1":
        fresh = README.replace(f"```text\n{shown}", f"```text\n{report[1]}", 1)
        (ROOT / "README.md").write_text(fresh, encoding="utf-8", newline="\n")
        shown = report[1]
    assert FLEETING.sub("#", report[1]) == FLEETING.sub("#", shown)


def test_the_first_gate_runs_as_it_is_told(copy: Path) -> None:
    told = section("Your first gate in five minutes")
    (copy / "example_project" / "pfa.yaml").write_text(blocks("yaml", told)[0], "utf-8")
    shown = run(copy / "example_project", "-m", "pytest", "--pfa", "-v", "pfa.yaml")
    ids = blocks("text", told)[0].splitlines()
    assert re.findall(r"^(pfa\.yaml::\S+) PASSED", shown, re.MULTILINE) == ids


SESSION = """
import doctest, sys
from pathlib import Path
test = doctest.DocTestParser().get_doctest(Path("session.txt").read_text("utf-8"), {}, "README.md", "README.md", 0)
sys.exit(doctest.DocTestRunner().run(test).failed)
"""


def test_python_examples_are_true(copy: Path) -> None:
    session = "\n".join(blocks("python"))
    assert len(doctest.DocTestParser().get_examples(session)) > 20
    (copy / "session.txt").write_text(session, "utf-8")
    run(copy, "-c", SESSION)


def metric(name: str) -> Callable[[nn.Module, Batches], float]:
    """A metric of the README's."""
    (block,) = [block for block in blocks("python") if f"def {name}(" in block]
    space: dict[str, Any] = {"torch": torch, "math": math}
    exec(block, space)
    found: Callable[[nn.Module, Batches], float] = space[name]
    return found


class Words(nn.Module):
    """A language model of keyword arguments: logits [N, tokens, 7] of each token by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(7, 7)

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        return Answer(logits=self.table(input_ids))


class Answer(dict[str, Tensor]):
    """What models of Hugging Face give: a mapping with attributes."""

    def __getattr__(self, name: str) -> Tensor:
        return self[name]


def test_dice_of_the_readme_is_dice() -> None:
    torch.manual_seed(0)
    images, masks = torch.randn(50, 1, 6, 5), torch.randint(2, (50, 1, 6, 5))
    found, wanted = (images > 0).numpy(), masks.bool().numpy()
    dice = 2 * (found & wanted).sum() / (found.sum() + wanted.sum())
    scored = score(nn.Identity(), batches_of((images, masks), "masks", Sampling(batch_size=16)), metric("dice"))
    assert scored.value == pytest.approx(dice)


def test_rmse_of_the_readme_is_the_root_of_the_mean_square() -> None:
    torch.manual_seed(0)
    inputs, targets = torch.randn(50, 3), torch.randn(50, 3)
    error = np.sqrt(np.mean((inputs.double().numpy() - targets.double().numpy()) ** 2))
    scored = score(nn.Identity(), batches_of((inputs, targets), "rows", Sampling(batch_size=16)), metric("rmse"))
    assert scored.value == pytest.approx(error)


def test_perplexity_of_the_readme_is_the_exponential_of_the_mean_surprise() -> None:
    torch.manual_seed(0)
    model, words = Words().eval(), torch.randint(7, (40, 9))
    data = [{"input_ids": part[:, :-1], "labels": part[:, 1:]} for part in words.split(16)]
    chances = model.table.weight.detach().double().softmax(dim=1).numpy()
    surprise = -np.log(chances[words[:, :-1].numpy(), words[:, 1:].numpy()]).mean()
    scored = score(model, batches_of(data, "words", Sampling()), metric("perplexity"))
    assert scored.value == pytest.approx(np.exp(surprise), rel=1e-6)


@pytest.mark.parametrize("block", [block for block in blocks("yaml") if block.startswith("version:")])
def test_configs_hold(block: str, tmp_path: Path) -> None:
    (tmp_path / "pfa.yaml").write_text(block, "utf-8")
    assert load(tmp_path / "pfa.yaml").gates


@pytest.mark.parametrize("title", TABLES)
def test_the_reference_has_every_key(title: str) -> None:
    fields = TABLES[title].model_fields
    table = {key.strip("`"): default for key, default, _ in rows(section(title))}
    assert list(table) == list(fields)
    for key, field in fields.items():
        assert default_fits(table[key], field.get_default(call_default_factory=True)), key


def default_fits(told: str, default: object) -> bool:
    """Whether a default is told: as YAML, or in words where it is a whole section or nothing at all."""
    if default is PydanticUndefined:
        return told == "required"
    if default is None or isinstance(default, BaseModel):
        return told != "required" and not told.startswith("`")
    plain = list(default) if isinstance(default, tuple) else default
    return bool(yaml.safe_load(told.strip("`")) == plain) and told.startswith("`")


def test_the_list_of_budgets_is_whole() -> None:
    named = [name for name, *_ in rows(section("Budgets, and what breaks them"))]
    layers = [f"`layers.{limit}`" for limit in LAYER_LIMITS]
    model = [f"`model.{limit}`" for limit in MODEL_LIMITS]
    assert named == ["`exact`", *layers, *model, *(f"`compressed.{limit}`" for limit in COMPRESSED_LIMITS)]


def test_the_list_of_options_is_whole() -> None:
    source = (ROOT / "pfa_gate" / "plugin" / "__init__.py").read_text("utf-8")
    assert set(re.findall(r"--pfa[a-z-]*", README)) == set(re.findall(r'"(--pfa[a-z-]*)"', source))
    told = {cells[1].strip("`") for cells in rows(section("Command line")) if cells[0].startswith("`--")}
    assert told - {"none"} == set(re.findall(r'addini\("(\w+)"', source))


def test_the_list_of_commands_is_whole() -> None:
    source = (ROOT / "pfa_gate" / "cli.py").read_text("utf-8")
    assert set(re.findall(r"`pfa-gate (\w+)", README)) == set(re.findall(r'add_parser\("(\w+)"', source))


@pytest.mark.parametrize("name", pfa_gate.__all__)
def test_every_public_name_is_explained(name: str) -> None:
    assert re.search(rf"`{name}[`(]", section("Python"))


def test_links_lead_somewhere() -> None:
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    anchors = {
        re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.*)$", README, re.M)
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        assert (target[1:] in anchors) if target.startswith("#") else (ROOT / target).exists(), target
