"""A gate with `sparsify`: the zeros are in every file that ships, the answers hold, and all of it is reported."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors.torch import load_file
from torch import Tensor

import pfa_gate
from pfa_gate import load
from pfa_gate.artifacts.few_bits_file import read_few_bits
from pfa_gate.compress.sparsify import Pattern, groups_meeting
from pfa_gate.errors import LayerPatternError
from pfa_gate.pipeline.run import Run
from pfa_gate.record import dumps, loads
from pfa_gate.report.files import report_text
from pfa_gate.report.terminal import render

PROJECT = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16)
        self.each, self.wide = nn.Conv2d(16, 16, 3, groups=16), nn.Conv2d(16, 20, 1)
        self.inner, self.head = nn.Linear(20, 16), nn.Linear(16, 4)

    def forward(self, x):
        x = self.wide(self.each(self.norm(self.stem(x)).relu()).relu()).relu()
        return self.head(self.inner(x.mean((2, 3))).relu())


def build():
    torch.manual_seed(0)
    return Net()


def images(seed, count):
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def probe():
    return images(1, 160)


def test():
    inputs = images(2, 200)
    with torch.no_grad():
        labels = build().eval()(inputs).argmax(1)
    return torch.utils.data.TensorDataset(inputs, labels)
"""
CONFIG = """\
version: 1
gates:
  zeros:
    model: {factory: net.py:build}
    probe: {data: net.py:probe}
    recipe: {strategy: energy, energy: 0.95}
    recovery: [compensate, recalibrate]
    sparsify: {pattern: 2:4, layers: {exclude: [head]}}
    quantize: {bits: 8, samples: 64}
    evaluation: {data: net.py:test}
    budgets: {compressed: {agreement: {min: 10%}}, quantized: {bytes: 90%}}
  alone:
    model: {factory: net.py:build}
    probe: {data: net.py:probe}
    recovery: []
    sparsify: {pattern: 1:2}
    artifacts: [weights]
    budgets: {compressed: {parameters: 100%}}
  few:
    model: {factory: net.py:build}
    probe: {data: net.py:probe}
    sparsify: {pattern: 2:4}
    quantize: {bits: BITS}
    artifacts: [weights]
    budgets: {quantized: {bytes: 90%}}
  misnamed:
    model: {factory: net.py:build}
    probe: {data: net.py:probe}
    sparsify: {pattern: 2:4, layers: {exclude: [tail]}}
    budgets: {compressed: {parameters: 100%}}
"""
SPARSE = ("wide", "inner")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sparsified")
    (place / "net.py").write_text(PROJECT)
    (place / "pfa.yaml").write_text(CONFIG.replace("BITS", "4"))
    return place / "pfa.yaml"


@pytest.fixture(scope="module")
def zeros(config: Path) -> Run:
    return pfa_gate.run(config, "zeros")


def holds(weight: Tensor, pattern: str = "2:4") -> bool:
    return groups_meeting(weight, 1, Pattern.of_text(pattern)).whole


def stored(path: Path) -> dict[str, np.ndarray]:
    """The weights of an ONNX file, floating or of 8 bits, by layer; a product's the other way round."""
    tensors = {each.name: numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer}
    return {name.split(".")[0]: value for name, value in tensors.items() if value.ndim > 1}


def test_the_zeros_are_in_every_file_that_ships(zeros: Run, config: Path) -> None:
    folder = config.parent / ".pfa" / "zeros"
    for layer in SPARSE:
        weight = load_file(folder / "weights.safetensors")[f"{layer}.weight"]
        assert holds(weight)
        assert float((weight == 0).float().mean()) > 0.3
        floating, eight = (stored(folder / name)[layer] for name in ("model.onnx", "model.int8.onnx"))
        assert eight.dtype == np.int8
        for values in (floating, eight):
            straight = values if values.shape == tuple(weight.shape) else values.T
            assert bool((straight[weight.numpy() == 0] == 0).all()), layer
    dense = load_file(folder / "weights.safetensors")
    assert all(float((dense[f"{layer}.weight"] == 0).float().mean()) < 0.01 for layer in ("stem", "each", "head"))


def test_the_file_without_the_users_code_has_them_too(zeros: Run, config: Path) -> None:
    del zeros
    own = load(config.parent / ".pfa" / "zeros").state_dict()
    assert [layer for layer in ("stem", "wide", "inner", "head") if holds(own[f"{layer}.weight"])] == list(SPARSE)


@pytest.mark.parametrize("bits", ["4", "ternary"])
def test_weights_of_few_bits_have_the_zeros_too(config: Path, bits: str) -> None:
    other = config.with_name(f"few.{bits}.yaml")
    other.write_text(CONFIG.replace("BITS", bits))
    pfa_gate.run(other, "few", output=config.parent / bits)
    folder = config.parent / bits / "few"
    own = read_few_bits(folder / "weights.q.safetensors").tensors
    floating = load_file(folder / "weights.safetensors")
    for layer in SPARSE:
        assert holds(floating[f"{layer}.weight"])
        assert holds(own[f"{layer}.weight"])
        assert not torch.equal(own[f"{layer}.weight"], floating[f"{layer}.weight"])


def test_the_record_counts_both_models_and_says_why_a_layer_has_all_its_weights(zeros: Run, config: Path) -> None:
    found = loads(dumps(zeros.record)).sparsity
    assert found is not None
    assert found == zeros.record.sparsity
    assert zeros.record.compressed is not None
    assert [layer.name for layer in found.layers] == ["stem", "each", "wide", "inner", "head"]
    weights = load_file(config.parent / ".pfa" / "zeros" / "weights.safetensors")
    saved = 0.0
    for layer in found.layers:
        assert layer.full is not None
        assert layer.compressed is not None
        weight = weights[f"{layer.name}.weight"]
        assert (layer.full.zeros, layer.compressed.weights) == (0, weight.numel())
        assert layer.compressed.zeros == int((weight == 0).sum())
        assert layer.compressed.meets("2:4") == (layer.name in SPARSE) == (not layer.whole)
        if layer.name in SPARSE:
            groups = weight.shape[0] * weight[0, 0].numel() * -(-weight.shape[1] // 4)
            assert layer.compressed.patterns["2:4"] == (groups, groups)
            saved += 4 * weight.numel() - groups * (2 * 4 + 0.5)
    assert {layer.name: layer.whole for layer in found.layers if layer.whole} == {
        "stem": "it reads 3 channels, fewer than the 4 of a group",
        "each": "it reads 1 channel, fewer than the 4 of a group",
        "head": "sparsify.layers.exclude names it",
    }
    assert found.packed_bytes == pytest.approx(zeros.record.compressed.bytes - saved, abs=2)


def test_sparsify_is_the_last_step_and_its_model_is_the_one_that_is_judged(zeros: Run) -> None:
    record = zeros.record
    assert record.compressed is not None
    assert record.scores is not None
    steps = record.compressed.recovery
    assert [step.step for step in steps] == ["cut", "compensate", "recalibrate", "sparsify"]
    assert steps[-1].detail == "2:4 in 2 of 5 layers"
    assert steps[-1].accuracy == record.scores.compressed
    assert "sparsify" in record.seconds


def test_every_report_tells_of_the_zeros(zeros: Run) -> None:
    groups = "of 4 neighbouring input channels of a filter, at one place of its kernel"
    line = f"2:4: {groups}, at most 2 have weights that are not zero."
    dense = "Zeros save no byte of these files, which store them like any weight"
    for name in ("report.html", "report.md"):
        text = report_text(zeros.record, name)
        assert line in text.replace("\\", ""), name
        assert dense in text
        assert "it reads 3 channels, fewer than the 4 of a group" in text
    shown = " ".join(render(zeros.record, width=100, colour=False, unicode=True, verbosity=1).split())
    assert line in shown
    assert dense in shown


def test_without_recovery_it_is_the_only_step_and_takes_another_pattern(config: Path) -> None:
    record = pfa_gate.run(config, "alone").record
    assert record.compressed is not None
    assert record.sparsity is not None
    assert [step.step for step in record.compressed.recovery] == ["cut", "sparsify"]
    met = {layer.name for layer in record.sparsity.layers if layer.compressed and layer.compressed.meets("1:2")}
    assert met == {"stem", "wide", "inner", "head"}
    halves = [layer.compressed for layer in record.sparsity.layers if layer.name == "inner" and layer.compressed]
    assert [count.zeros * 2 for count in halves] == [halves[0].weights]


def test_a_pattern_of_names_that_matches_nothing_is_an_error(config: Path) -> None:
    with pytest.raises(LayerPatternError) as error:
        pfa_gate.run(config, "misnamed")
    assert "The pattern 'tail' of sparsify.layers.exclude matches no layer." in str(error.value)
    assert "pfa.yaml:" in str(error.value)
