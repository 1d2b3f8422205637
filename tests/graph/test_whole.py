"""A layer whose filters are not followed is there all the same, with the reason, and its work counts."""

import numpy as np
import pytest
import torch
from networks import conditioned
from torch import Tensor, nn

from pfa_gate.compress.prune import compress
from pfa_gate.graph import inputs_of, trace
from pfa_gate.graph.cost import cost
from pfa_gate.model import batch_of

OUTPUT = "it feeds the model's output"
MIXES = "mixes another axis than that of the filters"
ELSEWHERE = "reads filters that lie along another axis"


class Turned(nn.Module):
    """What stands in the middle reads tokens, along which no filter lies."""

    def __init__(self, middle: nn.Module, *, transposed: bool = False) -> None:
        super().__init__()
        self.embed, self.middle, self.head = nn.Linear(6, 8), middle, nn.Linear(8, 3)
        self.transposed = transposed

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).relu()
        if self.transposed:
            return self.head(self.middle(x.transpose(1, 2)).mean(2))  # type: ignore[no-any-return]
        return self.head(self.middle(x).mean(1))  # type: ignore[no-any-return]


NETWORKS = {
    "mixed tokens": (Turned(nn.Linear(5, 7), transposed=True), 7, 0, None, MIXES),
    "convolution": (
        Turned(nn.Conv1d(5, 4, 3, padding=1)),
        4,
        0,
        f"operator conv1d {ELSEWHERE}",
        f"operator conv1d {ELSEWHERE}",
    ),
    "transposed convolution": (
        Turned(nn.ConvTranspose1d(5, 4, 3, padding=1)),
        4,
        1,
        f"operator conv_transpose1d {ELSEWHERE}",
        f"operator conv_transpose1d {ELSEWHERE}",
    ),
}


@pytest.mark.parametrize(("model", "filters", "axis", "embed", "reason"), NETWORKS.values(), ids=NETWORKS)
def test_every_layer_is_there_in_order(
    model: nn.Module, filters: int, axis: int, embed: str | None, reason: str
) -> None:
    example = torch.randn(3, 5, 6)
    found = trace(conditioned(model), example)
    assert [(layer.name, layer.filters) for layer in found.layers] == [("embed", 8), ("middle", filters), ("head", 3)]
    middle = found.layers[1]
    assert (middle.weight, middle.axis, middle.frozen) == ("middle.weight", axis, reason)
    assert found.layers[0].frozen == embed
    whole = cost(model, batch_of(example))
    assert found.footprint() == (whole.parameters, whole.bytes, whole.macs)


class Causal(nn.Module):
    """Zeros in front of what a convolution reads; they may be as many as is written or as there are filters."""

    def __init__(self, make: str, width: int | None) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(3, 8, 3), nn.Conv1d(8, 6, 3)
        self.head = nn.Linear(6, 2)
        self.make, self.width = make, width

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        shape = (x.shape[0], self.width or x.shape[1], 2)
        before = x.new_full(shape, 0.3) if self.make == "full" else x.new_zeros(shape)
        if self.make == "zeros":
            before = torch.zeros(shape, dtype=x.dtype)
        return self.head(self.second(torch.cat([before, x], dim=2)).relu().mean(2))  # type: ignore[no-any-return]


@pytest.mark.parametrize("make", ["new_zeros", "zeros", "full"])
@pytest.mark.parametrize(("width", "form"), [(None, "module"), (8, "graph")])
def test_constants_put_before_filters_go_with_them(make: str, width: int | None, form: str) -> None:
    model, example = conditioned(Causal(make, width)), torch.randn(2, 3, 9)
    found = trace(model, example)
    assert [(layer.name, layer.frozen) for layer in found.layers] == [
        ("first", None),
        ("second", None),
        ("head", OUTPUT),
    ]
    result = compress(model, found, {"first": np.array([0, 2, 5])}, inputs_of(example))
    assert (result.form, result.put_back) == (form, {})
    assert result.axis_indices["second.weight"][1].tolist() == [0, 2, 5]
