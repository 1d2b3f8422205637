"""The section factorize in a gate: ranks planned, layers put in two, files that load, and what cannot be is said."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from torch import Tensor, nn

import pfa_gate
from pfa_gate.artifacts.recipe import read_recipe
from pfa_gate.compress.prune import Proof, PrunedModel
from pfa_gate.compress.repair import Repair, left_out
from pfa_gate.config.factorize import FactorizeConfig
from pfa_gate.errors import PFAGateError
from pfa_gate.graph.cost import Cost
from pfa_gate.model import Batch
from pfa_gate.model.import_callable import resolve
from pfa_gate.pipeline.factorized import Factorizer
from pfa_gate.pipeline.run import Run, run
from pfa_gate.record import FactorizedRecord
from pfa_gate.runtime.onnx_module import OnnxModel
from pfa_gate.runtime.session import onnx_session

PROJECT = '''
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


class Net(nn.Module):
    """All of its filters are frozen but those of one convolution: they are added to the input, or are the output."""

    def __init__(self, normed):
        super().__init__()
        self.one, self.norm1 = nn.Conv2d(8, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12)
        self.two, self.norm2 = nn.Conv2d(12, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.wide = nn.Linear(32, 32)
        self.head = nn.Linear(32, 16)
        if normed:
            weight_norm(self.wide)

    def forward(self, x):
        x = x + self.norm2(self.two(self.norm1(self.one(x)).relu()))
        x = nn.functional.adaptive_avg_pool2d(x.relu(), 2).flatten(1)
        return self.head((x + self.wide(x)).tanh())


def build(normed=False):
    """Weights of low rank and a little more."""
    torch.manual_seed(0)
    model = Net(normed).eval()
    with torch.no_grad():
        for layer in (model.one, model.two, model.wide):
            matrix = layer.weight.flatten(1)
            left, values, right = torch.linalg.svd(matrix, full_matrices=False)
            values = values * 0.5 ** torch.arange(len(values))
            layer.weight.copy_((left * values @ right).reshape(layer.weight.shape) * 3)
        for norm in (model.norm1, model.norm2):
            norm.running_var.uniform_(0.5, 1.5)
            norm.running_mean.normal_(0, 0.2)
    return model


class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        x = x.mean((2, 3))
        x = x + self.one(x)
        return x + self.two(x.tanh())


def frozen():
    torch.manual_seed(0)
    return Frozen().eval()


def probe():
    return torch.randn(192, 8, 6, 6, generator=torch.Generator().manual_seed(1))
'''
GATE = """
  {name}:
    model: {{factory: net.py:{build}, arguments: {arguments}}}
    probe: {{data: net.py:probe}}
    recipe: {{strategy: energy, energy: {energy}}}
    factorize: {factorize}
    recovery: {recovery}
    budgets: {{compressed: {{parameters: 100%}}}}
    {more}
"""
GATES = {
    "energy": {
        "factorize": "{layers: [one, two, wide], energy: 0.95}",
        "energy": 0.95,
        "recovery": "[compensate, recalibrate, compensate]",
    },
    "size": {"factorize": "{parameters: 60%}"},
    "macs": {"factorize": "{layers: ['*'], macs: 50%}"},
    "ranks": {
        "factorize": "{ranks: {'*': 1, wide: 3, one: 40}}",
        "arguments": "{normed: true}",
        "more": "quantize: {bits: 8, samples: 16, layers: {exclude: [wide]}}",
    },
    "spared": {
        "factorize": "{ranks: {two: 4, wide: 8}}",
        "more": "sparsify: {pattern: 2:4, layers: {exclude: [wide]}}\n"
        "    quantize: {bits: 4, layers: {exclude: [wide]}}\n"
        "    artifacts: [weights]",
    },
    "frozen": {"build": "frozen", "factorize": "{parameters: 80%}"},
    "reach": {"factorize": "{layers: [wide], parameters: 5%}"},
    "unknown": {"factorize": "{layers: [wide, thre], energy: 0.9}"},
}  # fmt: skip
PLAIN = {"build": "build", "arguments": "{}", "energy": 1.0, "recovery": "[]", "more": "artifacts: [weights]"}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("factorized")
    (place / "net.py").write_text(PROJECT)
    gates = [GATE.format(name=name, **{**PLAIN, **parts}) for name, parts in GATES.items()]
    (place / "pfa.yaml").write_text("version: 1\ngates:" + "".join(gates))
    return place / "pfa.yaml"


@pytest.fixture(scope="module")
def runs(config: Path) -> dict[str, Run]:
    return {name: run(config, name) for name in ("energy", "size", "macs", "ranks", "spared")}


@pytest.fixture
def fresh(config: Path) -> nn.Module:
    model: nn.Module = resolve("net.py:build", config.parent)()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model


def found(run: Run) -> FactorizedRecord:
    assert run.record.factorized is not None
    return run.record.factorized


def example() -> Tensor:
    return torch.randn(5, 8, 6, 6, generator=torch.Generator().manual_seed(2))


def test_layers_become_two_after_the_first_compensation_and_before_what_follows(runs: dict[str, Run]) -> None:
    record = runs["energy"].record
    assert record.compressed is not None
    steps = [step.step for step in record.compressed.recovery]
    assert steps == ["cut", "compensate", "factorize", "recalibrate", "compensate"]
    model = runs["energy"].model
    assert isinstance(model, nn.Module)
    for layer in found(runs["energy"]).layers:
        first, second = model.get_submodule(layer.name).children()
        assert (first.weight.shape[0], second.weight.shape[1]) == (layer.rank, layer.rank)
        assert layer.energy is not None
        assert layer.energy >= 0.95
        assert layer.parameters[1] == layer.rank * (layer.columns + layer.filters) < layer.parameters[0]
    again = record.compressed.recovery[-1].repairs
    assert [repair.layer for repair in again] == ["head"]  # it reads what layers in two make


def test_the_proof_is_in_the_record_and_the_counts_are_those_of_the_model(runs: dict[str, Run]) -> None:
    for each in runs.values():
        exact = found(each).exact
        assert exact is not None
        assert exact.max_error is not None
        assert exact.passed
        assert exact.max_error <= 1e-10 == found(each).tolerance
        assert each.record.compressed is not None
        assert each.model is not None
        assert each.record.compressed.parameters == sum(weight.numel() for weight in each.model.parameters())


def test_a_size_is_met_by_the_layers_that_cannot_be_cut_and_what_cuts_better_is_left(runs: dict[str, Run]) -> None:
    size, macs = runs["size"].record, runs["macs"].record
    assert size.compressed is not None
    assert macs.compressed is not None
    assert macs.compressed.macs is not None
    assert 0.57 * size.model.parameters < size.compressed.parameters <= 0.6 * size.model.parameters
    assert 0.45 * macs.model.macs < macs.compressed.macs <= 0.5 * macs.model.macs
    assert found(runs["size"]).target == int(0.6 * size.model.parameters)
    assert {"two", "wide"} <= {*found(runs["size"]).ranks, *found(runs["size"]).whole}
    reasons = {
        "cutting its filters loses no more and saves as much",
        "a rank of it would lose more than that of others, and save as much",
    }
    assert set(found(runs["size"]).whole.values()) <= reasons


def test_ranks_that_are_given_are_taken_and_those_that_no_matrix_has_are_refused(runs: dict[str, Run]) -> None:
    assert found(runs["ranks"]).ranks == {"two": 1, "wide": 3, "head": 1}
    assert dict(found(runs["ranks"]).whole) == {"one": "its matrix has a rank of 12 at most, and 40 were asked for"}


@pytest.mark.parametrize("name", ["energy", "size", "macs"])
def test_a_fresh_model_and_the_weights_give_the_model_back(
    runs: dict[str, Run], config: Path, fresh: nn.Module, name: str
) -> None:
    folder = config.parent / ".pfa" / name
    plan = yaml.safe_load((folder / "recipe.yaml").read_text())
    assert plan["factorized"] == read_recipe(folder).ranks == found(runs[name]).ranks
    loaded, model = pfa_gate.load(folder, fresh), runs[name].model
    assert model is not None
    assert list(loaded.state_dict()) == list(model.state_dict())
    assert torch.equal(loaded(example()), model(example()))


def test_a_graph_with_layers_in_two_is_in_every_file(runs: dict[str, Run], config: Path) -> None:
    """The weights of one layer are computed from others, so the model is cut as its program."""
    record, model = runs["ranks"].record, runs["ranks"].model
    assert record.compressed is not None
    assert model is not None
    assert record.compressed.form == "graph"
    folder = config.parent / ".pfa" / "ranks"
    assert set(record.files) >= {"weights", "program", "onnx", "int8"}
    assert torch.equal(pfa_gate.load(folder)(example()), model(example()))
    onnx = OnnxModel(onnx_session((folder / "model.onnx").read_bytes(), "model.onnx"), "model.onnx")
    torch.testing.assert_close(onnx(example()), model(example()), rtol=1e-4, atol=1e-5)
    assert record.quantized is not None
    assert set(record.quantized.floating) == {"wide.0", "wide.1"}


def test_a_model_of_which_nothing_can_be_cut_gets_smaller_all_the_same(config: Path) -> None:
    done = run(config, "frozen")
    assert done.record.recipe is not None
    assert done.record.compressed is not None
    assert dict(done.record.recipe.keep) == {}
    assert set(found(done).ranks) <= {"one", "two"}
    assert done.record.compressed.parameters <= 0.8 * done.record.model.parameters
    assert [step.step for step in done.record.compressed.recovery] == ["cut", "factorize"]


def test_a_planned_layer_that_is_not_solved_stays_one_and_says_why() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)).eval()
    config = SimpleNamespace(factorize=FactorizeConfig(ranks={"*": 2}))
    job = SimpleNamespace(config=config, subject=SimpleNamespace(example=Batch((torch.randn(4, 8),), {})))
    planner = SimpleNamespace(measured=SimpleNamespace(full=Cost(144, 576, 128)))
    proof = Proof(0.0, 1e-10, "float64", 1)

    def solve(given: nn.Module, constraint: object) -> tuple[nn.Module, tuple[Repair, ...]]:
        return given, (left_out("0", "its rows are filters, of which 8 of 16 are left"),)

    made = Factorizer(job, planner, None).factorize(PrunedModel(model, {}, proof, {}), model, solve)  # type: ignore[arg-type]
    assert made.model is model
    assert made.detail == "no layer became two"
    assert made.factorized == FactorizedRecord(
        "ranks",
        None,
        whole={
            "0": "it was not solved: its rows are filters, of which 8 of 16 are left",
            "1": "it was not solved: it is no layer of the full model",
        },
    )


def test_a_pattern_that_spares_a_layer_spares_the_two_that_it_became(runs: dict[str, Run]) -> None:
    record = runs["spared"].record
    assert record.compressed is not None
    assert record.quantized is not None
    step = record.compressed.recovery[-1]
    spared = {name: reason for name, reason in step.spared.items() if name.startswith("wide")}
    assert step.step == "sparsify"
    assert spared == dict.fromkeys(("wide.0", "wide.1"), "sparsify.layers.exclude names it")
    assert dict(record.quantized.floating) == dict.fromkeys(("wide.0", "wide.1"), "pfa.yaml leaves it out")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "reach",
            "factorize cannot reach 167 parameters: 2,392 are left at rank 1 everywhere.\n"
            "  at pfa.yaml:{line}:5, in gate 'reach', while factorizing\n"
            "  Raise factorize.parameters, name more layers under factorize.layers, or cut more by the recipe.",
        ),
        (
            "unknown",
            "The pattern 'thre' of factorize.layers matches no layer.\n"
            "  at pfa.yaml:{line}:5, in gate 'unknown', while factorizing\n"
            "  The nearest layers are head.",
        ),
    ],
)
def test_what_cannot_be_is_said_with_its_place(config: Path, monkeypatch, name, said) -> None:
    monkeypatch.chdir(config.parent)
    lines = config.read_text().splitlines()
    line = next(number for number, text in enumerate(lines, 1) if GATES[name]["factorize"] in text)
    with pytest.raises(PFAGateError) as error:
        run(Path("pfa.yaml"), name)
    assert str(error.value) == said.format(line=line)
