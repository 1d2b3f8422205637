"""Tensors that share memory: what is stored is counted once, as a weight if it is one, and comes back as it was."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

import pfa_gate
from pfa_gate import artifacts
from pfa_gate.artifacts import model_files
from pfa_gate.compress.prune import compress
from pfa_gate.graph import trace
from pfa_gate.graph.cost import stored
from pfa_gate.model.copies import with_own_memory
from pfa_gate.record import CompressedRecord, Exact, Probe, RecipeRecord, Record, Size

KEPT = (4 * 6 + 4) + (3 * 4 + 3) + (3 * 3 + 3)  # three linears, 6 to 4 of 8 to 3 to 3


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(6, 8), nn.Linear(8, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.third(self.second(torch.relu(self.first(x))))
        for _, buffer in self.named_buffers():
            made = made + buffer.sum()
        return made


Share = Callable[[Net], None]


def a_parameter(name: str) -> Share:
    """One object under two names: the file has the first of them, whichever that is."""
    return lambda net: net.register_buffer(name, net.third.weight)


def memory_of_a_parameter(net: Net) -> None:
    net.register_buffer("shadow", net.third.weight.data)


def rows_of_a_table(net: Net) -> None:
    net.register_buffer("shadow", torch.linspace(0, 1, 1024)[3:5])


def a_repeated_number(net: Net) -> None:
    net.register_buffer("shadow", torch.ones(1).expand(2))


def two_names_of_one_memory(net: Net) -> None:
    net.register_buffer("shadow", torch.ones(2))
    net.register_buffer("other", net.shadow.data)


# Each with the elements of buffers that are no weights.
SHARES: dict[str, tuple[Share, int]] = {
    "a parameter, named first": (a_parameter("a_shadow"), 0),
    "a parameter, named last": (a_parameter("z_shadow"), 0),
    "the memory of a parameter": (memory_of_a_parameter, 9),
    "rows of a table": (rows_of_a_table, 2),
    "a repeated number": (a_repeated_number, 2),
    "two names of one memory": (two_names_of_one_memory, 4),
}


def built(share: Share) -> Net:
    torch.manual_seed(0)
    net = Net()
    share(net)
    return net.eval()


@pytest.mark.parametrize("name", SHARES)
def test_the_files_hold_what_is_counted_and_come_back(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_files, "installed", lambda: False)
    share, plain = SHARES[name]
    net, example = built(share), torch.randn(5, 6)
    coupling, inputs = trace(net, example), ((example,), {})
    smaller = compress(net, coupling, {"first": np.arange(8)[::2]}, inputs)
    held = stored(smaller.model)
    part = CompressedRecord(held.parameters, held.bytes, 1, None, Exact(0.0, True), form=smaller.form)
    recipe = RecipeRecord("energy", 0.5, {"first": 4})
    record = Record("net", "pfa.yaml", {}, {}, Size(1, 4, 1), Probe(2, "ab"), recipe=recipe, compressed=part)
    written = artifacts.write(tmp_path, record, artifacts.Delivery(smaller, coupling, inputs))

    with safe_open(tmp_path / "net" / "weights.safetensors", "pt") as file:
        elements = sum(file.get_tensor(key).numel() for key in file.keys())  # noqa: SIM118  it is no mapping
    assert (written.unmeasured, smaller.form, smaller.put_back) == ((), "module", {})
    assert (held.parameters, held.bytes) == (KEPT, 4 * elements)
    assert elements == KEPT + plain
    expected = smaller.model(example)
    for model in (None, built(share)):
        torch.testing.assert_close(pfa_gate.load(tmp_path / "net", model)(example), expected)


def test_buffers_that_are_one_tensor_stay_one() -> None:
    net = nn.Module()
    net.register_buffer("one", torch.arange(10.0)[2:4])
    net.register_buffer("two", net.one)
    net.register_buffer("whole", torch.zeros(3))
    whole = net.whole
    assert with_own_memory(net) is net
    assert net.one is net.two
    assert net.whole is whole, "what has its own memory stays the tensor that it is"
    assert (net.one.tolist(), net.one.untyped_storage().nbytes()) == ([2.0, 3.0], 8)
