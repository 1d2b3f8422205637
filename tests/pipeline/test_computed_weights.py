"""Gates of models that compute their weights: the record, the files and the twin that holds the weights agree."""

import json
from importlib import import_module
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from torch import nn

import pfa_gate
from pfa_gate.graph.cost import cost, stored
from pfa_gate.model import Batch
from pfa_gate.pipeline.run import Run

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")

PROJECT = """
import sys
sys.path.insert(0, {tests!r})
import torch
from computed import NETWORKS, built, twin


def computed(name):
    return built(name)[0]


def plain(name):
    return twin(name)


def rows():
    return torch.randn(400, 16, generator=torch.Generator().manual_seed(0))
"""


def gate(factory: str, name: str, recipe: dict[str, object], **more: object) -> dict[str, object]:
    return {
        "model": {"factory": f"net.py:{factory}", "arguments": {"name": name}},
        "probe": {"data": "net.py:rows"},
        "recipe": recipe,
        "selection": "l1",
        "recovery": ["compensate"],
        "budgets": {"compressed": {"parameters": 50}, "model": {"parameters": 50}},
        **more,
    }


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    tests = str(Path(__file__).resolve().parents[1])
    Path("net.py").write_text(PROJECT.format(tests=tests))
    return tmp_path


def run(**gates: dict[str, object]) -> dict[str, Run]:
    Path("pfa.yaml").write_text(yaml.safe_dump({"version": 1, "gates": gates}))
    return {name: pfa_gate.run("pfa.yaml", name) for name in gates}


def in_file(folder: Path) -> tuple[int, int]:
    """Elements and bytes of all tensors in the weights that a gate left; there are no buffers in these networks."""
    with safe_open(folder / "weights.safetensors", "pt") as held:
        tensors = [held.get_tensor(name) for name in held.keys()]  # noqa: SIM118  it is no mapping
    return sum(tensor.numel() for tensor in tensors), sum(tensor.nbytes for tensor in tensors)


@pytest.mark.parametrize("name", ["equalised", "spectral_norm", "integers"])
def test_budgets_of_size_are_judged_on_what_is_stored(project: Path, name: str) -> None:
    half: dict[str, object] = {"strategy": "parameters", "parameters": 170}
    found = run(computed=gate("computed", name, half), plain=gate("plain", name, half))
    record, twin = found["computed"].record, found["plain"].record
    assert record.compressed is not None
    assert twin.compressed is not None
    assert (record.compressed.parameters, record.compressed.bytes) == in_file(project / ".pfa/computed")
    assert record.compressed.parameters == twin.compressed.parameters <= 170
    assert record.compressed.macs == twin.compressed.macs
    assert record.model.macs == twin.model.macs
    assert {budget.id: budget.outcome for budget in record.budgets} == {
        "exact": "kept", "model.parameters": "broken", "compressed.parameters": "broken",
    }  # fmt: skip
    assert [(layer.name, layer.keep) for layer in record.layers] == [(layer.name, layer.keep) for layer in twin.layers]
    (_, step) = record.compressed.recovery
    assert step.detail.startswith("2 of 2 layers solved anew")


def test_an_excluded_layer_is_not_cut(project: Path) -> None:
    layers = {"exclude": ["2"]}
    found = run(
        excluded=gate("computed", "weight_norm_parametrized", {"strategy": "energy", "energy": 0.6}, layers=layers)
    )
    kept = {layer.name: layer.keep for layer in found["excluded"].record.layers}
    assert kept["0"] is not None
    assert kept["0"] < 12
    assert kept["2"] is None
    weights = json.loads(_header(project / ".pfa/excluded/weights.safetensors"))
    assert weights["2.weight"]["shape"] == [10, kept["0"]]


def _header(path: Path) -> bytes:
    data = path.read_bytes()
    return data[8 : 8 + int.from_bytes(data[:8], "little")]


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
def test_packed_weights_count_though_they_are_neither_parameters_nor_buffers() -> None:
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4)).eval()
    with pytest.warns(DeprecationWarning, match="torch.ao"):
        packed = torch.ao.quantization.quantize_dynamic(plain, {nn.Linear}, dtype=torch.qint8)
    elements = 16 * 32 + 32 * 4
    assert sum(parameter.numel() for parameter in packed.parameters()) == 0
    assert stored(packed).parameters == stored(plain).parameters == elements + 36
    assert elements < stored(packed).bytes < elements + 4 * 36 + 64
    assert cost(packed, Batch((torch.zeros(2, 16),), {})).parameters == elements + 36


def test_a_file_that_holds_something_else_than_the_record_says_ends_the_gate(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(import_module("pfa_gate.pipeline.measure_and_cut"), "cost", _less_one)
    with pytest.raises(
        pfa_gate.PFAGateError, match=r"weights.safetensors holds [\d,]+ parameters in [\d,]+ bytes, but"
    ):
        run(wrong=gate("plain", "equalised", {"strategy": "kl"}))
    assert not Path(".pfa/wrong").exists()


def _less_one(*arguments: object) -> object:
    found = cost(*arguments)  # type: ignore[arg-type]
    return type(found)(found.parameters - 1, found.bytes, found.macs)
