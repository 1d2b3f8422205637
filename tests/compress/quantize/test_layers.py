"""Which weights get few bits, each once, and what is said of the others."""

import torch
from torch import Tensor, nn

from pfa_gate.compress.quantize import weight_layers
from pfa_gate.graph import record_model, trace_program


class Net(nn.Module):
    """A tied table, a table that is added, and a layer that computes its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.places = nn.Embedding(9, 4), nn.Parameter(torch.randn(5, 4))
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
        self.head, self.extra = nn.Linear(4, 9, bias=False), nn.Linear(4, 4)
        self.head.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        scores: Tensor = self.head(self.extra(self.normed(self.table(ids) + self.places)).relu().mean(1))
        return scores


def test_a_table_that_nothing_multiplies_by_has_few_bits_row_by_row() -> None:
    class Text(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.places, self.head = nn.Embedding(9, 4), nn.Parameter(torch.randn(5, 4)), nn.Linear(4, 2)

        def forward(self, ids: Tensor) -> Tensor:
            scores: Tensor = self.head((self.table(ids) + self.places).mean(1))
            return scores

    net = Text().eval()
    coupling = trace_program(record_model(net, (torch.zeros(2, 5, dtype=torch.long),), {}))
    layers, floating = weight_layers(net, coupling)
    assert [(layer.name, layer.axis, layer.filters) for layer in layers] == [("table", 0, 9), ("head", 0, 2)]
    assert list(floating) == ["places"]


def test_each_weight_counts_once_and_the_others_have_a_reason() -> None:
    net = Net().eval()
    coupling = trace_program(record_model(net, (torch.zeros(2, 5, dtype=torch.long),), {}))
    layers, floating = weight_layers(net, coupling)
    assert [(layer.name, layer.weight, layer.axis, layer.shape) for layer in layers] == [
        ("table", "table.weight", 0, (9, 4)),
        ("extra", "extra.weight", 0, (4, 4)),
    ]
    table = "it is no weight of a convolution, linear layer or embedding"
    assert floating == {
        "normed": "its weight is computed from others",
        "normed.parametrizations.weight.original0": table,
        "normed.parametrizations.weight.original1": table,
        "places": table,
    }
    net.extra.weight.data[:, ::2] = 0
    assert [layer.sparse for layer in weight_layers(net, coupling)[0]] == [False, True]
    kept, spared = weight_layers(net, coupling, lambda layer: layer == "table")
    assert [layer.name for layer in kept] == ["extra"]
    assert spared["table"] == "pfa.yaml leaves it out"
