"""timm's models at half the filters of every free group: none wrong, none a traceback, no layer said to be unused."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from image_models import IMAGE_MODELS, stand_in
from judging import distance, halves, outputs
from networks import conditioned

import pfa_gate
from pfa_gate.analysis.responses import chosen_layers
from pfa_gate.compress.prune import compress
from pfa_gate.graph import inputs_of, trace
from pfa_gate.graph.cost import cost
from pfa_gate.model import batch_of


@pytest.fixture(scope="module", autouse=True)
def _timm() -> Iterator[None]:
    if find_spec("timm") is None:
        if "CI" in os.environ:
            pytest.fail("timm is not installed: pip install --no-deps -c constraints.txt timm torchvision pillow")
        pytest.skip("not run: timm is not installed")
    held = stand_in()
    yield
    del held


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_half_of_every_group(name: str) -> None:
    entry = IMAGE_MODELS[name]
    model, example = conditioned(entry.build()), entry.example()
    found = trace(model, example)
    assert chosen_layers(model, found.layers, ["*"], [], example)
    result = compress(model, found, halves(found), inputs_of(example))
    assert result.put_back == {}
    assert result.proof.passed
    assert distance(outputs(result.model, example), outputs(model, example)) > 1e-3
    whole, small = (cost(each, batch_of(example)) for each in (model, result.model))
    assert small.parameters < 0.5 * whole.parameters
    assert small.macs < whole.macs


NET = """
import torch
from image_models import IMAGE_MODELS


def build(name):
    return IMAGE_MODELS[name].build()


def images(samples, side):
    return torch.randn(samples, 3, side, side, generator=torch.Generator().manual_seed(0))


def small():
    return images(900, 32)


def large():
    return images(1100, 64)
"""
GATE = """
version: 1
gates:
  image:
    model: {{factory: "net.py:build", arguments: {{name: {name}}}}}
    probe: {{data: "net.py:{data}"}}
    recipe: {{strategy: energy, energy: 0.9}}
    budgets: {{layers: [{{match: "*", kl: 1}}], compressed: {{parameters: 100%}}}}
    selection: correlation
    recovery: []
"""


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "pit_ti_224"])
def test_a_whole_gate(name: str, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    data = "small" if IMAGE_MODELS[name].side == 32 else "large"
    (tmp_path / "pfa.yaml").write_text(GATE.format(name=name, data=data))
    record = pfa_gate.run(tmp_path / "pfa.yaml").record
    assert {budget.id: budget.outcome for budget in record.budgets} == {
        "layers.kl": "kept",
        "compressed.parameters": "kept",
        "exact": "kept",
    }
    assert record.compressed is not None
    assert record.compressed.put_back == ()
    assert record.compressed.parameters < record.model.parameters
