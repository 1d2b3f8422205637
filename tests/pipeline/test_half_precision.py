"""Models in half precision: measured as finely as any, proved in full precision, delivered as they came."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

import pfa_gate
from pfa_gate.analysis.responses import pooled
from pfa_gate.compress.prune import compress
from pfa_gate.graph import trace

NET = """
import torch
from torch import nn

def build(dtype):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 20, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(20, 5),
    ).to(getattr(torch, dtype))

def images():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(300, 3, 10, 10, generator=generator), torch.arange(300) % 5

def coarse():
    return images()[0].bfloat16(), images()[1]
"""
YAML = """
version: 1
gates:
  float32:
    model: {factory: "net.py:build", arguments: {dtype: float32}}
    probe: {data: "net.py:images"}
    budgets: {layers: [{match: "*", kl: 1}]}
    selection: correlation
    recovery: []
  bfloat16:
    model: {factory: "net.py:build", arguments: {dtype: bfloat16}}
    probe: {data: "net.py:coarse"}
    recipe: {strategy: energy, energy: 0.9}
    selection: correlation
    recovery: [compensate, {distill: {steps: 5}}]
    evaluation: {data: "net.py:coarse", allow_chance: true}
    budgets: {layers: [{match: "*", kl: 1}], compressed: {parameters: 100%, accuracy_drop: 100 pp}}
"""


def test_a_whole_gate_in_bfloat16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    Path("pfa.yaml").write_text(YAML)
    fine, run = pfa_gate.run("pfa.yaml", "float32").record, pfa_gate.run("pfa.yaml", "bfloat16")
    coarse = run.record
    for one, two in zip(coarse.layers, fine.layers, strict=True):
        assert one.kl_ratio == pytest.approx(two.kl_ratio, abs=0.002)
        assert one.peak_correlation == pytest.approx(two.peak_correlation, abs=0.01)
    assert {each.id: each.outcome for each in coarse.budgets} == dict.fromkeys(
        ("exact", "layers.kl", "compressed.parameters", "compressed.accuracy_drop"), "kept"
    )
    assert coarse.compressed is not None
    assert coarse.compressed.parameters < fine.model.parameters
    assert coarse.model.bytes < fine.model.bytes * 0.51
    weights = load_file(coarse.files["weights"])
    assert {tensor.dtype for name, tensor in weights.items() if "num_batches" not in name} == {torch.bfloat16}
    assert run.model is not None
    images = torch.randn(4, 3, 10, 10).bfloat16()
    with torch.no_grad():
        assert torch.equal(pfa_gate.load(".pfa/bfloat16")(images), run.model(images))
    assert [(each.what, "bfloat16" in each.reason) for each in coarse.unmeasured] == [("model.onnx", True)]


class Casting(nn.Module):
    """Norms in float32 and back again, as language models do: the graph has the model's dtype written into it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gain, self.second = nn.Linear(6, 16), nn.Parameter(torch.ones(16)), nn.Linear(16, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        wide = self.first(x).float()
        normed = wide * (wide.square().mean(-1, keepdim=True) + 1e-6).rsqrt()
        hidden = self.second(self.gain * normed.to(x.dtype))
        return self.head(hidden.relu().view(len(x), 4))  # a width that is written into the code


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("group", "form"), [("first", "module"), ("second", "graph")])
def test_a_cut_is_proved_in_full_precision_where_the_model_casts(group: str, form: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, example = Casting().to(dtype).eval(), torch.randn(2, 6).to(dtype)
    coupling = trace(model, example)
    cut = compress(model, coupling, {group: [0, 2]}, ((example,), {}))
    assert (cut.put_back, cut.form) == ({}, form)
    assert cut.proof.max_error <= cut.proof.tolerance == 1e-5
    with torch.no_grad():
        assert cut.model(example).dtype == dtype


def test_a_mean_of_half_precision_is_not_rounded_to_it() -> None:
    output = torch.tensor([[[1.0, 1.0078125]]], dtype=torch.bfloat16)
    assert pooled(output, 1, "mean").item() == 1.00390625
