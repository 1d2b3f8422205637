"""The examples of README and docs are true: they are followed in one process, in a folder with the example alone."""

import inspect
import math
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pluggy
import pytest
import torch
from documents import DOCS, ROOT, UPDATE, Block, every_block, read, section, write
from torch import Tensor, nn

import pfa_gate
from pfa_gate.hooks import GROUP, Hooks
from pfa_gate.model import Batches, Sampling, batches_of
from pfa_gate.model.evaluation.score import score
from pfa_gate.plugin import GateHooks
from pfa_gate.record import loads

sys.path.insert(0, str(DOCS / "images"))
import draw

RECIPES = "recipes.md"  # whole projects, which test_recipes.py runs
PYTHON = [block for block in every_block("python") if block.page.name != RECIPES]
TOML = [block for block in every_block("toml") if block.page.name != RECIPES]
SESSIONS = [block for block in PYTHON if block.text.startswith(">>>")]
TESTS = [block for block in PYTHON if block.text.startswith("def test_")]
CODE = [block for block in PYTHON if block not in (*SESSIONS, *TESTS)]
REPORT = "reports.md"
FIRST = "Your first gate in five minutes"
# Differs from run to run: seconds, and the size of rounding errors.
FLEETING = re.compile(r"[\d.]+ s\b|\b\d(?:\.\d)?e-\d\d")
# One process, so that torch and its exporter are imported once.
FOLLOW = """
import doctest, os, shutil
from contextlib import redirect_stdout
from pathlib import Path
import pytest

def printed(name, *arguments):
    with open(name, "w", encoding="utf-8") as file, redirect_stdout(file):
        return pytest.main(["-p", "no:cacheprovider", *arguments])

assert printed("report.txt", "--pfa", "example_project") == 0
shutil.copy("example_project/.pfa/digits/record.json", "record.json")
for page in sorted(Path("sessions").iterdir()):
    test = doctest.DocTestParser().get_doctest(page.read_text("utf-8"), {}, page.name, page.name, 0)
    assert doctest.DocTestRunner().run(test).failed == 0
assert printed("tests.txt", "tests_of_pages.py") == 0
shutil.copy("first.yaml", "example_project/pfa.yaml")
os.chdir("example_project")
assert printed("../first.txt", "--pfa", "-v", "pfa.yaml") == 0
"""


def text_block(page: str, title: str) -> str:
    """The one block of plain output in a section."""
    (found,) = re.findall(r"^```text\n(.*?)^```$", section(page, title), re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture(scope="session")
def followed(tmp_path_factory: pytest.TempPathFactory, torch_python: str) -> Path:
    """A folder in which all examples have been followed, with what they printed."""
    folder = tmp_path_factory.mktemp("followed")
    ignored = shutil.ignore_patterns(".pfa", "__*__")
    shutil.copytree(ROOT / "example_project", folder / "example_project", ignore=ignored)
    (folder / "example_project" / "__init__.py").touch()
    (folder / "sessions").mkdir()
    for page in {block.page for block in SESSIONS}:
        session = "\n".join(block.text for block in SESSIONS if block.page == page)
        (folder / "sessions" / page.name).write_text(session, "utf-8")
    (folder / "tests_of_pages.py").write_text("\n\n".join(block.text for block in TESTS), "utf-8")
    (config,) = re.findall(r"^```yaml\n(.*?)^```$", section("README.md", FIRST), re.MULTILINE | re.DOTALL)
    (folder / "first.yaml").write_text(config, "utf-8")
    plain = {"COLUMNS": "80", "PYTHONIOENCODING": "utf-8", "PYTHONPATH": str(folder)}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")} | plain
    command = [torch_python, "-c", FOLLOW]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False)
    outputs = "".join(each.read_text("utf-8") for each in folder.glob("*.txt"))
    assert done.returncode == 0, done.stdout + done.stderr + outputs
    return folder


def test_quick_start_is_two_lines() -> None:
    (block,) = re.findall(r"^```.*?\n(.*?)^```$", section("README.md", "Quick start"), re.MULTILINE | re.DOTALL)
    example, tests = block.splitlines()
    install = "python -m pip install -c constraints.txt -e "
    assert example == f'{install}".[example]" && python -m pytest --pfa example_project'
    assert tests == f'{install}".[dev]" && python -m pytest -n auto --maxprocesses 4 --dist loadfile'


def test_the_report_is_what_the_example_prints(followed: Path) -> None:
    printed = (followed / "report.txt").read_text("utf-8")
    report = re.search(r"^=+ pfa_gate =+\n(.*?)^=+ \d+ passed", printed, re.MULTILINE | re.DOTALL)
    assert report is not None, printed
    shown = text_block(REPORT, "The terminal report")
    if UPDATE:
        write(REPORT, read(REPORT).replace(f"```text\n{shown}", f"```text\n{report[1]}", 1))
        shown = report[1]
    assert FLEETING.sub("#", report[1]) == FLEETING.sub("#", shown)


def test_the_pictures_are_those_of_todays_reports(followed: Path) -> None:
    """`python docs/images/draw.py` draws them anew."""
    record = loads((followed / "record.json").read_text("utf-8"))
    today, shown = draw.terminal(record), (draw.HERE / "terminal.svg").read_text("utf-8")
    assert draw.steady(draw.words_of(shown)) == draw.steady(draw.words_of(today))
    assert draw.words_beside((draw.HERE / "report.png").read_bytes()) == draw.digest(draw.page(record))


def test_the_first_gate_runs_as_it_is_told(followed: Path) -> None:
    printed = (followed / "first.txt").read_text("utf-8")
    ids = text_block("README.md", FIRST).splitlines()
    assert re.findall(r"^(pfa\.yaml::\S+) PASSED", printed, re.MULTILINE) == ids


def test_every_block_of_output_is_compared() -> None:
    assert [block.page.name for block in every_block("text")] == ["README.md", REPORT]


def test_sessions_and_tests_of_the_pages_are_true(followed: Path) -> None:
    assert sum(block.text.count(">>> ") for block in SESSIONS) > 20
    assert f"{len(TESTS)} passed" in (followed / "tests.txt").read_text("utf-8")


@pytest.mark.parametrize("name", pfa_gate.__all__)
def test_every_public_name_is_explained(name: str) -> None:
    assert re.search(rf"`{name}[`(]", read("python-api.md"))


@pytest.mark.parametrize("name", ["run", "load", "analyse", "keep_kl", "keep_energy", "choose", "trace", "operate"])
def test_the_arguments_of_a_public_function_are_told(name: str) -> None:
    told = re.search(rf"`{name}`\]\([^)]*\)`\((.*)\)`", read("python-api.md"))
    parameters = inspect.signature(getattr(pfa_gate, name)).parameters.values()
    plain = [each.replace(annotation=each.empty) for each in parameters]
    assert told
    assert f"({told[1]})" == str(inspect.Signature(plain))


def executed(block: Block) -> dict[str, Any]:
    """The names that a block defines, with a package `acme` that stands for another's."""
    acme = SimpleNamespace(resnet=nn.Linear, margin=lambda model, batches: 1.0)
    space: dict[str, Any] = {"torch": torch, "math": math, "np": np, "acme": acme}
    exec(block.text, space)
    return space


@pytest.mark.parametrize("block", CODE, ids=str)
def test_code_runs(block: Block) -> None:
    assert executed(block)


def hooks() -> dict[str, Any]:
    """The hooks of the page, by name."""
    (block,) = [block for block in CODE if "hookimpl" in block.text]
    return executed(block)


def test_hooks_of_the_page_are_those_that_exist() -> None:
    named = {name: found for name, found in hooks().items() if name.startswith("pfa_gate_")}
    assert set(named) == {name for name in vars(Hooks) if name.startswith("pfa_gate_")}
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    manager.register(SimpleNamespace(**named))
    manager.check_pending()
    assert manager.hook.pfa_gate_model_loader(factory="acme:resnet") is nn.Linear
    assert manager.hook.pfa_gate_metric(name="acme:margin")(None, None) == 1.0
    assert manager.hook.pfa_gate_metric(name="other:margin") is None
    groups = [SimpleNamespace(name="stem", width=3)]
    assert manager.hook.pfa_gate_selection(name="last")(SimpleNamespace(groups=groups))["stem"].tolist() == [2, 1, 0]


def test_the_section_of_a_report_is_a_hook_that_exists() -> None:
    (block,) = [block for block in CODE if "pytest_pfa_report_section" in block.text]
    manager = pytest.PytestPluginManager()
    manager.add_hookspecs(GateHooks)
    manager.register(SimpleNamespace(pytest_pfa_report_section=executed(block)["pytest_pfa_report_section"]))
    manager.check_pending()
    record = SimpleNamespace(gate="digits", model=SimpleNamespace(macs=1e6))
    assert manager.hook.pytest_pfa_report_section(record=record) == ["digits: 4.6e-06 J a sample"]


@pytest.mark.parametrize("block", TOML, ids=str)
def test_entry_points_are_of_our_group(block: Block) -> None:
    ((group, points),) = tomllib.loads(block.text)["project"]["entry-points"].items()
    assert group == GROUP
    assert all(isinstance(point, str) for point in points.values())


def metric(name: str) -> Callable[[nn.Module, Batches], float]:
    """A metric of the page."""
    (block,) = [block for block in CODE if f"def {name}(" in block.text]
    found: Callable[[nn.Module, Batches], float] = executed(block)[name]
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


def test_dice_of_the_page_is_dice() -> None:
    torch.manual_seed(0)
    images, masks = torch.randn(50, 1, 6, 5), torch.randint(2, (50, 1, 6, 5))
    found, wanted = (images > 0).numpy(), masks.bool().numpy()
    dice = 2 * (found & wanted).sum() / (found.sum() + wanted.sum())
    scored = score(nn.Identity(), batches_of((images, masks), "masks", Sampling(batch_size=16)), metric("dice"))
    assert scored.value == pytest.approx(dice)


def test_rmse_of_the_page_is_the_root_of_the_mean_square() -> None:
    torch.manual_seed(0)
    inputs, targets = torch.randn(50, 3), torch.randn(50, 3)
    error = np.sqrt(np.mean((inputs.double().numpy() - targets.double().numpy()) ** 2))
    scored = score(nn.Identity(), batches_of((inputs, targets), "rows", Sampling(batch_size=16)), metric("rmse"))
    assert scored.value == pytest.approx(error)


def test_perplexity_of_the_page_is_the_exponential_of_the_mean_surprise() -> None:
    torch.manual_seed(0)
    model, words = Words().eval(), torch.randint(7, (40, 9))
    data = [{"input_ids": part[:, :-1], "labels": part[:, 1:]} for part in words.split(16)]
    chances = model.table.weight.detach().double().softmax(dim=1).numpy()
    surprise = -np.log(chances[words[:, :-1].numpy(), words[:, 1:].numpy()]).mean()
    scored = score(model, batches_of(data, "words", Sampling()), metric("perplexity"))
    assert scored.value == pytest.approx(np.exp(surprise), rel=1e-6)
