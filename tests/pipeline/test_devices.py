"""Where a gate measures: models that are spread over devices stay there, and a GPU gives the numbers of the CPU."""

import dataclasses
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import pfa_gate
from pfa_gate import config
from pfa_gate.errors import ConfigError, NotFiniteError
from pfa_gate.model import batch_of, load
from pfa_gate.model.device import prefetched
from pfa_gate.pipeline.check_model import CheckOptions, check
from pfa_gate.record import Record

NET = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 20, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(20, 5),
    )

def dispatched():
    '''As accelerate leaves it: one layer's weights are fetched when it is called, and dropped after.'''
    model = build()
    model.hf_device_map = {"0": "cpu", "3": "disk"}
    layer, own = model[3], dict(model[3].named_parameters())

    def drop(*_):
        for name, tensor in own.items():
            setattr(layer, name, nn.Parameter(tensor.detach().to("meta")))

    def fetch(*_):
        for name, tensor in own.items():
            setattr(layer, name, tensor)

    layer.register_forward_pre_hook(fetch)
    layer.register_forward_hook(drop)
    drop()
    return model

def images():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(400, 3, 10, 10, generator=generator), torch.arange(400) % 5

def broken():
    return images()[0].index_fill(0, torch.tensor([3]), float("nan"))
"""
YAML = """
version: 1
gates:
  net:
    model: {{factory: "net.py:{factory}"{device}}}
    probe: {{data: "net.py:{probe}", batch_size: 64}}
    selection: {selection}
    recovery: [compensate, {{distill: {{steps: 10}}}}]
    evaluation: {{data: "net.py:images", allow_chance: true}}
    budgets: {{layers: [{{match: "*", kl: 1}}], model: {{parameters: 3 k}}, compressed: {{accuracy_drop: 100 pp}}}}
"""


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NET)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.endswith("net"):
            sys.modules.pop(name)


def written(factory: str = "build", device: str = "", probe: str = "images", selection: str = "correlation") -> str:
    device = device and f", device: {device}"
    Path("pfa.yaml").write_text(YAML.format(factory=factory, device=device, probe=probe, selection=selection))
    return "pfa.yaml"


def ran(factory: str = "build", device: str = "", probe: str = "images", selection: str = "correlation") -> Record:
    return pfa_gate.run(written(factory, device, probe, selection)).record


def untimed(record: Record) -> Record:
    assert record.compressed is not None
    steps = tuple(replace(step, seconds=0.0) for step in record.compressed.recovery)
    return replace(record, seconds={}, written="", compressed=replace(record.compressed, recovery=steps))


def test_a_spread_model_is_measured_where_it_lies() -> None:
    record = ran("dispatched")
    net: dict[str, Any] = {}
    exec(NET, net)
    whole = check(net["build"]().eval(), net["images"](), CheckOptions({"kl": 1.0}))
    assert record.compressed is None
    assert [(each.what, each.reason) for each in record.unmeasured] == [
        (
            "compressed model",
            "The model's weights lie on several devices or are fetched when needed (cpu, disk). "
            "Build the model on one device to have it followed and compressed.",
        )
    ]
    assert dataclasses.replace(record.model, memory=None) == whole.model  # a check counts no activations
    for one, two in zip(record.layers, whole.layers, strict=True):
        assert (one.name, one.samples) == (two.name, 400)
        assert one.kl_ratio == pytest.approx(two.kl_ratio, rel=1e-6)
    assert {each.id: each.outcome for each in record.budgets} == {
        "exact": "not judged",
        "layers.kl": "kept",
        "model.parameters": "kept",
        "compressed.accuracy_drop": "not judged",
    }


def test_a_spread_model_is_left_where_it_is_with_its_hooks() -> None:
    model = load(config.load(written("dispatched")), "net").model
    assert isinstance(model, nn.Sequential)
    assert model[3].weight.is_meta
    assert (len(model[3]._forward_pre_hooks), len(model[3]._forward_hooks)) == (1, 1)
    assert not model[0].weight.is_meta


def test_a_device_that_is_not_there_is_said_at_its_line() -> None:
    with pytest.raises(ConfigError) as caught:
        load(config.load(written(device="cuda:99")), "net")
    assert str(caught.value).splitlines()[1:] == [
        "  at pfa.yaml:5:46",
        "  Write auto, which takes one where there is one, or cpu.",
    ]


@pytest.mark.gpu
def test_a_gpu_gives_the_numbers_of_the_cpu() -> None:
    here, there, again = ran(device="cpu"), ran(device="cuda"), ran(device="cuda")
    assert there.device.startswith("cuda:")
    assert untimed(again) == untimed(there)
    assert there.probe == here.probe
    for one, two in zip(there.layers, here.layers, strict=True):
        assert (one.samples, one.inactive, one.keep) == (two.samples, two.inactive, two.keep)
        for name in ("kl_ratio", "peak_correlation", "mean_correlation", "kl_stderr"):
            assert getattr(one, name) == pytest.approx(getattr(two, name), abs=1e-4)
    assert there.scores is not None
    assert here.scores is not None
    assert there.scores.full == pytest.approx(here.scores.full, abs=1 / 400)


@pytest.mark.gpu
@pytest.mark.parametrize("selection", ["reconstruction", "taylor"])
def test_a_gpu_selects_and_compensates_as_the_cpu_does(selection: str) -> None:
    there, here = (pfa_gate.run(written(device=device, selection=selection)) for device in ("cuda", "cpu"))
    assert there.model is not None
    assert here.model is not None
    assert [tensor.shape for tensor in there.model.parameters()] == [one.shape for one in here.model.parameters()]
    assert str(there.model.kept) == str(here.model.kept)
    assert there.record.compressed is not None
    assert here.record.compressed is not None
    one, two = (found.record.compressed.recovery[1] for found in (there, here))
    assert one.step == "compensate"
    assert [(each.layer, each.rows) for each in one.repairs] == [(each.layer, each.rows) for each in two.repairs]
    for mine, theirs in zip(one.repairs, two.repairs, strict=True):
        assert mine.after == pytest.approx(theirs.after, rel=1e-3)


@pytest.mark.gpu
def test_a_model_that_lies_on_a_gpu_is_measured_there() -> None:
    net: dict[str, Any] = {}
    exec(NET, net)
    here = check(net["build"]().eval(), net["images"](), CheckOptions({"kl": 1.0}))
    there = check(net["build"]().eval().cuda(), net["images"](), CheckOptions({"kl": 1.0}))
    for one, two in zip(there.layers, here.layers, strict=True):
        assert one.kl_ratio == pytest.approx(two.kl_ratio, abs=1e-4)


@pytest.mark.gpu
def test_nan_on_a_gpu_is_named() -> None:
    with pytest.raises(NotFiniteError, match="12 of 12 filters gave NaN or infinity in 1 of 400 samples"):
        ran(device="cuda", probe="broken")


@pytest.mark.gpu
def test_batches_arrive_whole_however_the_device_is_busy() -> None:
    device, rows = torch.device("cuda", torch.cuda.current_device()), torch.randn(64, 4096, 32)
    busy = torch.randn(4096, 4096, device=device)
    for number, batch in enumerate(prefetched((batch_of(part) for part in rows), device)):
        for _ in range(5):
            busy = busy @ busy * 1e-2
        assert torch.equal(batch.args[0].cpu(), rows[number])
