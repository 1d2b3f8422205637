"""Parts of a tensor: positions of a longer table, rows of a packed weight. The tensor is cut whole, and stored once."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from networks import conditioned
from torch import Tensor, nn
from torch.nn import functional

from pfa_gate.compress.prune import compress
from pfa_gate.graph import trace
from pfa_gate.graph.cost import cost, stored
from pfa_gate.model import batch_of

SAMPLE = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(1))
LONGEST = 40


class Positions(nn.Module):
    """A table of positions longer than the example, read in one way or another."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.embed, self.hidden, self.head = nn.Linear(6, 8), nn.Linear(8, 6), nn.Linear(6, 2)
        table = torch.randn(1, LONGEST, 8)
        if way == "buffer":
            self.register_buffer("table", table)
        else:
            self.table = nn.Parameter(table)

    def positions(self, batch: int, time: int) -> Tensor:
        table: Tensor = self.table
        ways = {
            "slice": lambda: table[:, :time],
            "buffer": lambda: table[:, :time],
            "rows": lambda: table[0][:time],
            "later": lambda: table.narrow(1, 2, time),
            "every other": lambda: table[:, : 2 * time : 2],
            "index": lambda: table[:, torch.arange(time)],
            "index_select": lambda: table.index_select(1, torch.arange(time).flip(0)),
            "expanded": lambda: table[:, :time].expand(batch, -1, -1),
            "turned": lambda: table.transpose(1, 2)[:, :, :time].transpose(1, 2),
        }
        return ways[self.way]()

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x) + self.positions(*x.shape[:2])
        return self.head(self.hidden(x.relu()).relu())  # type: ignore[no-any-return]


WAYS = ["slice", "buffer", "rows", "later", "every other", "index", "index_select", "expanded", "turned"]


@pytest.mark.parametrize("way", WAYS)
def test_a_table_of_positions_keeps_all_its_rows(way: str) -> None:
    torch.manual_seed(0)
    model = conditioned(Positions(way))
    coupling = trace(model, SAMPLE)
    keep = {group.name: np.arange(group.width)[::2] for group in coupling.free}
    result = compress(model, coupling, keep, ((SAMPLE,), {}))
    assert (result.put_back, result.form) == ({}, "module")
    assert dict(result.model.state_dict())["table"].shape == (1, LONGEST, 4)
    assert_foretold(coupling, keep, result.model)
    longer = torch.randn(2, 7, 6)
    silent = copy.deepcopy(model)
    with torch.no_grad():
        silent.embed.weight[1::2] = silent.embed.bias[1::2] = silent.table[:, :, 1::2] = 0  # type: ignore[index, union-attr]
        silent.hidden.weight[1::2] = silent.hidden.bias[1::2] = 0  # type: ignore[index, union-attr]
        torch.testing.assert_close(result.model(longer), silent(longer))


def assert_foretold(coupling: Any, keep: Any, smaller: nn.Module) -> None:
    """The footprint is what is stored: nothing beside the table."""
    foretold, held = coupling.footprint({name: len(kept) for name, kept in keep.items()}), stored(smaller)
    assert (foretold.parameters, foretold.bytes) == (held.parameters, held.bytes)


class Packed(nn.Module):
    """Two projections of different inputs whose weights lie in one parameter, read in one way or another."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.one, self.other, self.head = nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(8, 2)
        self.weight, self.bias = nn.Parameter(torch.randn(16, 4)), nn.Parameter(torch.randn(16))

    def forward(self, x: Tensor) -> Tensor:
        ways: dict[str, Any] = {
            "slice": lambda held: (held[:8], held[8:]),
            "split": lambda held: held.split([8, 8]),
            "chunk": lambda held: held.chunk(2),
            "unflatten": lambda held: held.unflatten(0, (2, 8)).unbind(),
            "view": lambda held: [held.view(2, 8, *held.shape[1:])[place] for place in (0, 1)],
            "every other": lambda held: (held[::2], held[1::2]),
        }
        weights, biases = (ways[self.way](held) for held in (self.weight, self.bias))
        one = functional.linear(self.one(x).relu(), weights[0], biases[0])
        other = functional.linear(self.other(x[:, 1:]).relu(), weights[1], biases[1])
        return self.head((one[:, 1:] * other).relu())  # type: ignore[no-any-return]


@pytest.mark.parametrize("way", ["slice", "split", "chunk", "unflatten", "view", "every other"])
def test_a_packed_weight_is_cut_as_one(way: str) -> None:
    torch.manual_seed(0)
    model = conditioned(Packed(way))
    coupling = trace(model, SAMPLE)
    layers = {layer.name: (layer.weight, layer.filters, len(layer.taps)) for layer in coupling.layers}
    assert layers["weight"] == layers["weight_2"] == ("weight", 8, 1)
    whole = cost(model, batch_of(SAMPLE))
    assert coupling.footprint() == (whole.parameters, whole.bytes, whole.macs)
    keep = {"weight": np.array([0, 3, 4])}
    result = compress(model, coupling, keep, ((SAMPLE,), {}))
    assert (result.put_back, dict(result.model.named_parameters())["weight"].shape) == ({}, (6, 4))
    assert_foretold(coupling, keep, result.model)
    silent = copy.deepcopy(model)
    gone = torch.tensor([1, 2, 5, 6, 7])
    rows = torch.cat([2 * gone, 2 * gone + 1] if way == "every other" else [gone, gone + 8])
    with torch.no_grad():
        silent.weight[rows] = 0  # type: ignore[operator]
        silent.bias[rows] = 0  # type: ignore[operator]
        torch.testing.assert_close(result.model(SAMPLE[:2]), silent(SAMPLE[:2]))
    part = next(layer for layer in coupling.layers if layer.name == "weight_2")
    assert part.kept(result.axis_indices["weight"][0]).tolist() == [0, 3, 4]


class LookedUp(nn.Module):
    """A table without a module of its own, looked up by what comes in."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Parameter(torch.randn(30, 8)), nn.Linear(8, 2)
        self.hidden = nn.Linear(8, 8)

    def forward(self, tokens: Tensor) -> Tensor:
        looked = self.table[tokens]
        return self.head(looked + self.hidden(looked).relu())  # type: ignore[no-any-return]


def test_a_table_looked_up_by_the_input_is_cut_along_its_channels() -> None:
    model, tokens = conditioned(LookedUp()), torch.arange(12).reshape(2, 6)
    coupling = trace(model, tokens)
    result = compress(model, coupling, {"hidden": [0, 2, 5]}, ((tokens,), {}))
    assert (result.put_back, result.form) == ({}, "module")
    assert dict(result.model.named_parameters())["table"].shape == (30, 3)


class Slimmed(nn.Module):
    """A convolution of which some of the filters are never read, and one that reads but these."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias, self.second = (
            nn.Parameter(torch.randn(*shape)) for shape in ((12, 5, 3), (12,), (6, 12, 1))
        )
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.conv1d(x, self.weight[:8], self.bias[:8]).relu()
        return self.head(functional.conv1d(x, self.second[:, :8]).relu().mean(2))  # type: ignore[no-any-return]


class Scales(nn.Module):
    """Two parts of one vector, each over half of the filters."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.scale, self.head = nn.Linear(6, 16), nn.Parameter(torch.randn(16)), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        one, other = self.embed(x).chunk(2, -1)
        return self.head((one * self.scale[:8]).relu() + (other * self.scale[8:]).tanh())  # type: ignore[no-any-return]


@pytest.mark.parametrize(("build", "free"), [(Slimmed, {"weight": 8, "second": 6}), (Scales, {"embed": 8})])
def test_what_is_read_of_a_tensor_is_cut(build: type[nn.Module], free: dict[str, int]) -> None:
    torch.manual_seed(0)
    model = conditioned(build())
    coupling = trace(model, SAMPLE)
    assert {group.name: group.width for group in coupling.free} == free
    keep = {name: np.arange(width)[::2] for name, width in free.items()}
    result = compress(model, coupling, keep, ((SAMPLE,), {}))
    assert (result.put_back, result.form) == ({}, "graph")
    assert_foretold(coupling, keep, result.model)
    silent = copy.deepcopy(model)
    tensors = dict(silent.named_parameters())
    with torch.no_grad():
        for name, kept in keep.items():
            for part in coupling.group(name).slices:
                gone = np.flatnonzero((part.filters >= 0) & ~np.isin(part.filters, kept))
                tensors[part.parameter].index_fill_(part.axis, torch.from_numpy(gone), 0)
        torch.testing.assert_close(result.model(SAMPLE[:2]), silent(SAMPLE[:2]))
