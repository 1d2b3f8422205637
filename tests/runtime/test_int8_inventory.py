"""The bytes of a cut model's int8 file are those that are forecast from the full model's."""

from functools import cache

import numpy as np
import onnx
import pytest
import torch
from float_files import stored_in
from networks import network
from onnx import numpy_helper
from torch import nn

from pfa_gate.artifacts.onnx_model import onnx_content
from pfa_gate.artifacts.program import program_of, trials
from pfa_gate.compress.prune import compress
from pfa_gate.graph import Coupling, trace
from pfa_gate.model.batch import Inputs
from pfa_gate.runtime.int8_inventory import Int8Inventory, inventory
from pfa_gate.runtime.quantize import Int8Model, quantize


def files(model: nn.Module, inputs: Inputs, spared: tuple[str, ...] = ()) -> tuple[onnx.ModelProto, Int8Model]:
    export = program_of(model, inputs)
    content = onnx_content(export, model, trials(export, model, inputs))
    proto = onnx.load_from_string(content)
    feed = {proto.graph.input[0].name: inputs[0][0].numpy()}
    return proto, quantize(content, [feed], lambda layer: layer in spared)


def held(made: Int8Model) -> int:
    return sum(numpy_helper.to_array(each).nbytes for each in onnx.load_from_string(made.content).graph.initializer)


@cache
def taken(name: str, spared: tuple[str, ...]) -> tuple[nn.Module, Inputs, Coupling, Int8Inventory, int]:
    model, example = network(name)
    inputs: Inputs = ((example,), {})
    coupling = trace(model, example)
    proto, made = files(model, inputs, spared)
    stock = inventory(proto, onnx.load_from_string(made.content), made.nodes, coupling)
    return model, inputs, coupling, stock, held(made)


CASES = [("residual", ()), ("residual", ("conv2", "head")), ("shared", ()), ("decoder", ()), ("attention", ("head",))]


@pytest.mark.parametrize(("name", "spared"), CASES)
def test_the_inventory_of_the_full_model_is_what_its_file_holds(name: str, spared: tuple[str, ...]) -> None:
    _, _, coupling, stock, wanted = taken(name, spared)
    assert (stock.bytes(coupling, {}), stock.whole) == (wanted, wanted)


@pytest.mark.parametrize(("name", "spared", "step"), [*((*case, 2) for case in CASES), ("residual", (), 3)])
def test_what_is_forecast_for_a_cut_is_what_its_file_holds(name: str, spared: tuple[str, ...], step: int) -> None:
    model, inputs, coupling, stock, whole = taken(name, spared)
    keep = {group.name: np.arange(group.width)[::step] for group in coupling.free}
    cut = compress(model, coupling, keep, inputs)
    counts = {group: len(kept) for group, kept in keep.items() if group not in cut.put_back}
    found = held(files(cut.model, inputs, spared)[1])
    assert counts
    assert found < whole
    assert stock.bytes(coupling, counts) == found


class Positions(nn.Module):
    """A table of positions that is longer than the samples: the exporter stores the rows that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 8), nn.Linear(8, 3)
        self.places = nn.Embedding(9, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.outer((self.inner(x) + self.places(torch.arange(x.shape[1]))).relu())


def test_a_table_that_the_exporter_computed_is_not_taken_for_known() -> None:
    model, inputs = Positions().eval(), ((torch.randn(2, 5, 4),), {})
    coupling = trace(model, inputs[0][0])
    proto, made = files(model, inputs)
    stock = inventory(proto, onnx.load_from_string(made.content), made.nodes, coupling)
    assert stock.bytes(coupling, {}) == held(made)
    assert [stored_in(made.content)[name].shape[-2:] for name in stock.unknown] == [(5, 8)]
