"""`pfa-gate sensitivity --bits`: against rounding and divergence by hand, and the files that it writes."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from pfa_gate.cli import main
from pfa_gate.compress.prune.silence import silent_program
from pfa_gate.compress.quantize import rounded
from pfa_gate.errors import ArtifactError
from pfa_gate.graph import record_model
from pfa_gate.model import Sampling, batches_of
from pfa_gate.pipeline.answer_distance import AnswerDistance, Split
from pfa_gate.record.bit_sensitivity import BitSensitivityRecord, loads_bits

NET = """
import torch
from torch import nn


def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 6), nn.Tanh(), nn.Linear(6, 4))


def probe():
    return torch.randn(400, 6, generator=torch.Generator().manual_seed(1))
"""
CONFIG = """\
version: 1
gates:
  net:
    model: {factory: net_of_bits.py:build}
    probe: {data: net_of_bits.py:probe}
    budgets: {compressed: {parameters: 75%}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bits")
    (folder / "net_of_bits.py").write_text(NET)
    (folder / "pfa.yaml").write_text(CONFIG)
    assert main(["sensitivity", str(folder / "pfa.yaml"), "--bits"]) == 0
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> BitSensitivityRecord:
    return loads_bits((folder / ".pfa/net.sensitivity/bits.json").read_text())


def project(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location("project_of_bit_sensitivity", folder / "net_of_bits.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("layer", "width"), [("0", 3), ("2", "binary"), ("4", "ternary"), ("2", 6)])
def test_a_value_is_that_of_a_network_rounded_by_hand(
    folder: Path, found: BitSensitivityRecord, layer: str, width: int
) -> None:
    source = project(folder)
    full, few = source.build(), source.build()
    weight = few.get_parameter(f"{layer}.weight")
    weight.data = rounded(weight, width).weight()
    rows = torch.cat([batch.args[0] for batch in Split.of(batches_of(source.probe(), "rows", Sampling())).judged])
    with torch.no_grad():
        one, two = (net(rows).double().log_softmax(1) for net in (full, few))
    by_hand = float((one.exp() * (one - two)).sum(1).mean())
    measured = next(each for each in found.layers if each.layer == layer).at(str(width))
    assert measured == pytest.approx(by_hand, rel=1e-4)


def test_every_layer_has_every_width_and_more_bits_cost_less(found: BitSensitivityRecord) -> None:
    assert [each.layer for each in found.layers] == ["0", "2", "4"]
    assert (found.measure, found.samples, found.floating) == ("divergence", 80, {})
    for each in found.layers:
        values = [each.at(width) for width in found.widths]
        assert values[0] > values[3] > values[-1] > 0
        assert list(each.bytes) == list(found.widths)


def test_what_another_program_wrote_there_is_left(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bits.json").write_text("{}")
    assert main(["sensitivity", str(folder / "pfa.yaml"), "--bits", "--output", str(tmp_path)]) == 2
    assert (tmp_path / "bits.json").read_text() == "{}"


def test_a_record_of_another_kind_is_refused(folder: Path) -> None:
    with pytest.raises(ArtifactError, match="This is no record of `pfa-gate sensitivity --bits`"):
        loads_bits('{"schema": "pfa_gate.sensitivity/1"}')


def test_a_model_of_half_precision_is_compared_in_single_precision() -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)).eval().bfloat16()
    program = record_model(net, (torch.zeros(2, 6, dtype=torch.bfloat16),), {})
    rows = batches_of(torch.randn(40, 6, dtype=torch.bfloat16), "rows", Sampling())
    whole = silent_program(program, {}, torch.float32)
    apart = AnswerDistance(whole, rows, lambda batch: iter([batch]))
    weight = net[0].weight.detach()
    few = silent_program(program, {}, torch.float32, {"0.weight": rounded(weight, 2).weight(weight.dtype)})
    assert apart.to(whole).distance == 0
    assert 0 < apart.to(few).distance < 1
