"""Every YAML in README and docs holds: configs and parts of one are read, workflows are those of the example."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from documents import ROOT, Block, every_block, pages
from test_commands import require_valid

from pfa_gate.config import load
from pfa_gate.config.budgets import LAYER_LIMITS, MODEL_LIMITS, CompressedBudgets, LayerRule, ModelBudgets
from pfa_gate.config.reader import read

BLOCKS = every_block("yaml")
WORKFLOWS = [path.read_text("utf-8") for path in (ROOT / "example_project/.github/workflows").iterdir()]
LEAST: dict[str, Any] = {
    "model": {"factory": "net:build"},
    "probe": {"data": "net:probe"},
    "budgets": {"layers": [{"match": "*", "kl": 0.7}]},
}
NEED_SCORES = {"score", "accuracy_drop", "score_drop"}


def kind(block: Block) -> str:
    """What a block is by its first key: a whole config, a part of a gate, a workflow, or a list of steps."""
    content = yaml.safe_load(block.text)
    if isinstance(content, list):
        return "steps"
    return "config" if "version" in content else "workflow" if "jobs" in content else "part"


def of(name: str) -> list[Block]:
    return [block for block in BLOCKS if kind(block) == name]


def test_every_yaml_is_of_a_kind_that_is_tested() -> None:
    assert {kind(block) for block in BLOCKS} == {"config", "part", "workflow", "steps"}


@pytest.mark.parametrize("block", of("config"), ids=str)
def test_configs_hold(block: Block, tmp_path: Path) -> None:
    named = re.match(r"# (\S+\.yaml)\n", block.text)  # in a recipe, its place in the repository
    path = tmp_path / (named[1] if named else "pfa.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text, "utf-8")
    (tmp_path / "pytest.ini").touch()
    assert load(path).gates


@pytest.mark.parametrize("block", of("part"), ids=str)
def test_parts_of_a_gate_hold(block: Block, tmp_path: Path) -> None:
    gate = LEAST | read(block.text).data  # PyYAML takes 2:4 for a number
    limits = {key for section in ("model", "compressed") for key in gate["budgets"].get(section, ())}
    scored = {"evaluation": {"data": "net:test"}} if limits & NEED_SCORES else {}
    (tmp_path / "pfa.yaml").write_text(yaml.safe_dump({"version": 1, "gates": {"digits": scored | gate}}), "utf-8")
    assert load(tmp_path / "pfa.yaml").gates


@pytest.mark.parametrize("block", of("workflow"), ids=str)
def test_workflows_are_those_of_the_example(block: Block) -> None:
    """These fit GitHub's schema and pass zizmor: `tests/github` holds them to it."""
    assert block.text in WORKFLOWS


@pytest.mark.parametrize("block", of("steps"), ids=str)
def test_steps_run_commands_that_exist(block: Block, pytestconfig: pytest.Config) -> None:
    for step in yaml.safe_load(block.text):
        assert set(step) <= {"run", "env"}
        require_valid(step["run"], pytestconfig)


LIMITS = sorted({found for page in pages() for found in re.findall(r"`(\w+: \{m[^`]*\})`", page.read_text("utf-8"))})


@pytest.mark.parametrize("limit", LIMITS)
def test_limits_in_running_text_hold(limit: str) -> None:
    ((key, value),) = yaml.safe_load(limit).items()
    if key in LAYER_LIMITS:
        assert LayerRule.model_validate({"match": "*", key: value})
    else:
        assert (ModelBudgets if key in MODEL_LIMITS else CompressedBudgets).model_validate({key: value})
