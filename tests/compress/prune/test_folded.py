"""What is computed from parameters alone: weight standardisation, tables written in place, looked-up positions."""

import numpy as np
import pytest
import torch
from networks import conditioned
from torch import Tensor, nn
from torch.nn import functional

from pfa_gate.compress.prune import compress
from pfa_gate.graph import trace


class Standardised(nn.Module):
    """Convolutions whose weights are standardised in every forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3)
        self.head = nn.Linear(6, 2)

    def standardised(self, layer: nn.Conv2d) -> Tensor:
        weight = layer.weight
        mean, sd = weight.mean((1, 2, 3), keepdim=True), weight.std((1, 2, 3), keepdim=True)
        return (weight - mean) / (sd + 1e-5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.conv2d(x, self.standardised(self.first), self.first.bias).relu()
        x = functional.conv2d(x, self.standardised(self.second), self.second.bias).relu()
        return self.head(x.mean((2, 3)))


class Written(nn.Module):
    """A table of constants written in place, element by element, before it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        table = torch.zeros(6)
        table[2:].copy_(torch.arange(4.0))
        table[0].fill_(7.0)
        return self.head(self.first(x).relu() * table)


class Positions(nn.Module):
    """A table of positions of which only a few rows are looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Linear(4, 8), nn.Embedding(50, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        places = self.places(torch.arange(x.shape[1]))
        return self.head((self.words(x) + places).relu().mean(1))


class Relative(nn.Module):
    """Places without an input go through the same projection as what is read; how far apart they are is looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.query, self.head = nn.Linear(4, 8), nn.Linear(8, 6), nn.Linear(5, 2)
        self.places, self.norm = nn.Parameter(torch.randn(5, 8)), nn.LayerNorm(8)

    def forward(self, x: Tensor) -> Tensor:
        read = self.query(self.words(x).relu())
        return self.head(torch.special.erfcx(read[:, :1] * self.query(self.norm(self.places))).sum(-1))


class Quantised(nn.Module):
    """The nearest row of a table that is no parameter, by lengths that are computed from the table alone."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Linear(4, 8), nn.Linear(8, 3)
        self.register_buffer("table", torch.randn(16, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.encode(x)
        away = x.pow(2).sum(1, keepdim=True) - 2 * x @ self.table.t() + self.table.t().pow(2).sum(0, keepdim=True)
        return self.decode(functional.embedding(away.min(-1).indices, self.table))


CASES = {
    "standardised": (Standardised, (2, 3, 9, 9)),
    "written": (Written, (2, 4)),
    "positions": (Positions, (2, 5, 4)),
    "relative": (Relative, (2, 5, 4)),
    "quantised": (Quantised, (9, 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_cut_exactly_and_counted_exactly(name: str) -> None:
    build, shape = CASES[name]
    torch.manual_seed(0)
    model, example = conditioned(build()), torch.randn(shape)
    coupling = trace(model, example)
    assert coupling.free
    keep = {group.name: np.arange(group.width)[::2] for group in coupling.free}
    result = compress(model, coupling, keep, ((example,), {}))
    assert result.put_back == {}
    assert result.proof.passed
    # A constant that stays whole, though what it is computed from is cut, is stored in the model's own precision.
    assert result.proof.dtype == ("float32" if name in ("relative", "quantised") else "float64")
    counts = {name: len(kept) for name, kept in keep.items()}
    assert coupling.footprint(counts).parameters == sum(each.numel() for each in result.model.parameters())


def test_values_of_a_table_written_in_place_are_those_of_the_model() -> None:
    torch.manual_seed(0)
    model, example = conditioned(Written()), torch.randn(2, 4)
    with torch.no_grad():
        torch.testing.assert_close(trace(model, example).program.run((example,), {}), model(example))


def test_a_table_of_positions_stays_a_table() -> None:
    torch.manual_seed(0)
    model, example = conditioned(Positions()), torch.randn(2, 5, 4)
    coupling = trace(model, example)
    result = compress(model, coupling, {"words": [0, 3, 5]}, ((example,), {}))
    counted = sum(parameter.numel() for parameter in result.model.parameters())
    assert counted == coupling.footprint({"words": 3}).parameters
    assert dict(result.model.named_parameters())["places.weight"].shape == (50, 3)
