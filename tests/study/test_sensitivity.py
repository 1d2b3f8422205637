"""`pfa-gate sensitivity` on a network that has filters to spare in one group and none in the other."""

import json
import re
from itertools import combinations
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pfa_gate.cli import main
from pfa_gate.config import load
from pfa_gate.errors import ArtifactError, DataError
from pfa_gate.model import Batches, Sampling, batches_of
from pfa_gate.pipeline.answer_distance import Split
from pfa_gate.pipeline.run import run
from pfa_gate.record.sensitivity import SensitivityRecord, loads_sensitivity
from pfa_gate.report.sensitivity import page, terminal
from pfa_gate.study.sensitivity import measured_sensitivity

NET = """
import torch
from torch import nn


def build(seed=0):
    '''Each filter of the first layer is there twice; the second layer has none to spare.'''
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, 6))
    with torch.no_grad():
        net[0].weight[6:], net[0].bias[6:] = net[0].weight[:6], net[0].bias[:6]
        net[2].weight.mul_(3)
        net[4].weight.copy_(4 * torch.eye(6))
    return net


def probe(seed=1):
    return torch.randn(400, 6, generator=torch.Generator().manual_seed(seed))
"""
CONFIG = """\
version: 1
gates:
  net:
    model: {factory: sensed_net.py:build}
    probe: {data: sensed_net.py:probe}
    recipe: {strategy: parameters, parameters: 75%, statistic: measured}
    recovery: []
    artifacts: [weights]
    budgets: {compressed: {parameters: 75%}}
"""


def held_out(rows: Tensor) -> Batches:
    return Split.of(batches_of(rows, "rows", Sampling())).judged


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sensitivity")
    (folder / "sensed_net.py").write_text(NET)
    (folder / "pfa.yaml").write_text(CONFIG)
    assert main(["sensitivity", str(folder / "pfa.yaml")]) == 0
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> SensitivityRecord:
    return loads_sensitivity((folder / ".pfa/net.sensitivity/sensitivity.json").read_text())


def test_filters_that_are_there_twice_cost_nothing_and_all_others_do(found: SensitivityRecord) -> None:
    first, second = found.groups
    assert (first.group, second.group) == ("0", "2")
    assert (first.at(12), second.at(6)) == (0.0, 0.0)
    assert (first.at(9) or 1.0) < 1e-4 > (first.half or 1.0)
    assert (second.half or 0.0) > 100 * (first.half or 1.0)
    assert (second.at(2) or 0.0) > (second.at(3) or 0.0) > (second.at(4) or 0.0)
    assert (found.samples, found.fitted) == (80, 320)


def test_a_size_is_shared_out_by_what_the_answers_lose(folder: Path) -> None:
    record = run(folder / "pfa.yaml").record
    assert record.recipe is not None
    assert record.recipe.keep["0"] <= 8
    assert record.recipe.keep["2"] == 6


def test_the_value_is_that_of_a_cut_network_with_its_reader_solved_by_hand(found: SensitivityRecord) -> None:
    """Three of the second layer's six filters, whichever: least squares on the samples that are not judged."""
    space: dict[str, object] = {}
    exec(NET, space)
    net, rows = space["build"]().double(), space["probe"]().double()  # type: ignore[operator]
    judged = torch.zeros(400, dtype=torch.bool)
    judged[torch.cat([batch.args[0] for batch in held_out(torch.arange(400.0)[:, None])]).flatten().long()] = True
    by_hand = []
    with torch.no_grad():
        full, read = net(rows), net[:4](rows)
        for kept in combinations(range(6), 3):
            design = torch.cat([read[:, kept], torch.ones(400, 1)], 1)
            other = design[judged] @ torch.linalg.lstsq(design[~judged], full[~judged]).solution
            one, two = full[judged].log_softmax(1), other.log_softmax(1)
            by_hand.append(float((one.exp() * (one - two)).sum(1).mean()))
    assert min(abs((found.groups[1].half or 0.0) / value - 1) for value in by_hand) < 0.02


def test_the_table_begins_with_the_group_whose_recipe_costs_most(found: SensitivityRecord) -> None:
    shown = terminal(found, width=100, colour=False, unicode=True).splitlines()
    assert shown[0] == "Sensitivity of net"
    head = next(number for number, line in enumerate(shown) if line.startswith("group"))
    assert [line.split()[0] for line in shown[head + 1 : head + 3]] == ["0", "2"]  # 2 stays whole
    assert shown[head].split() == ["group", "filters", "recipe", "at", "recipe", "75%", "50%", "25%"]
    assert "4: not cut, it feeds the model's output" in shown


def test_the_page_holds_all_it_shows(found: SensitivityRecord) -> None:
    text = page(found)
    assert text.count("<svg") == 2
    assert not re.search(r"(?:src|href)=\"(?!#)(?!data:)", text)
    assert f"<code>{found.model}</code>" in text


def test_the_page_of_the_gate_has_a_column_of_it_while_the_model_is_the_same(folder: Path) -> None:
    record = run(folder / "pfa.yaml").record
    values = {layer.name: layer.sensitivity for layer in record.layers}
    found = loads_sensitivity((folder / ".pfa/net.sensitivity/sensitivity.json").read_text())
    assert values == {"0": found.groups[0].half, "2": found.groups[1].half, "4": None}
    assert '<th scope="col" class="number">at half</th>' in (folder / ".pfa/net/report.html").read_text()
    for section, factory in (("model", "build"), ("probe", "probe")):
        other = f"import sensed_net\n\n\ndef {factory}():\n    return sensed_net.{factory}(7)\n"
        (folder / f"other_{factory}.py").write_text(other)
        text = CONFIG.replace(f"sensed_net.py:{factory}", f"other_{factory}.py:{factory}")
        (folder / "other.yaml").write_text(text)
        stale = run(folder / "other.yaml").record
        assert {layer.sensitivity for layer in stale.layers} == {None}
        reason = f"net.sensitivity/sensitivity.json is of another {section}; run pfa-gate sensitivity again"
        assert ("sensitivity", reason) in [(gap.what, gap.reason) for gap in stale.unmeasured]


def test_what_gives_no_class_scores_is_told_by_the_error_of_its_outputs(tmp_path: Path) -> None:
    (tmp_path / "sensed_net.py").write_text(
        NET + "\n\ndef wide():\n    return nn.Sequential(build(), nn.Unflatten(1, (2, 3)))\n"
    )
    (tmp_path / "pfa.yaml").write_text(
        CONFIG.replace("sensed_net.py:build", "sensed_net.py:wide").replace(", statistic: measured", "")
    )
    found = measured_sensitivity(load(tmp_path / "pfa.yaml"), "net")
    assert found.measure == "output error"
    assert (found.groups[1].half or 0.0) > 0.01


def test_too_few_samples_and_a_strange_file() -> None:
    with pytest.raises(DataError, match="The probe has 40 samples, and answers are compared on every fifth of them"):
        Split.of(batches_of(torch.zeros(40, 2), "zeros", Sampling()))
    with pytest.raises(ArtifactError, match="This is no record of `pfa-gate sensitivity`"):
        loads_sensitivity(json.dumps({"schema": "pfa_gate.record/1"}))


def test_a_split_is_the_same_whatever_the_batches() -> None:
    rows = torch.arange(200.0)[:, None]
    parts = [Split.of(batches_of(rows, "rows", Sampling(batch_size=size))) for size in (7, 64)]
    one, two = (torch.cat([batch.args[0] for batch in split.judged]) for split in parts)
    assert torch.equal(one, two)
    assert len(one) == 40
