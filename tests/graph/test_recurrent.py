"""Hidden units of recurrent layers: all gates of a unit go together, in both directions and in all layers."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from networks import conditioned
from torch import Tensor, nn

from pfa_gate.compress.prune import compress
from pfa_gate.graph import inputs_of, trace
from pfa_gate.graph.cost import cost, stored
from pfa_gate.model import batch_of

SAMPLE = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(1))
UNITS = 10
KEPT = [0, 3, 4, 9]
GONE = [unit for unit in range(UNITS) if unit not in KEPT]


class Recurrent(nn.Module):
    """An embedding, recurrent layers, and a head on all steps, on the last one, or on the last state."""

    def __init__(self, layer: type[nn.RNNBase], read: str = "all", **options: Any) -> None:
        super().__init__()
        self.embed, self.read = nn.Linear(6, 8), read
        self.rnn = layer(8, UNITS, **options)  # type: ignore[call-overload]
        width = UNITS * (2 if options.get("bidirectional") and read != "state" else 1)
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        made, states = self.rnn(self.embed(x))
        if self.read == "state":
            made = (states[0] if isinstance(states, tuple) else states)[-1]
        return self.head(made[:, -1] if self.read == "last" else made)  # type: ignore[no-any-return]


class Stepwise(nn.Module):
    """A cell in a loop, from a state of zeros: its own, or one that the forward pass makes."""

    def __init__(self, cell: nn.RNNCellBase, made: bool) -> None:
        super().__init__()
        self.embed, self.rnn, self.head, self.made = nn.Linear(6, 8), cell, nn.Linear(UNITS, 3), made

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        state = torch.zeros(x.shape[0], UNITS, dtype=x.dtype) if self.made else None
        given: Any = (state, state) if isinstance(self.rnn, nn.LSTMCell) and self.made else state
        shown = []
        for step in x.unbind(1):
            given = self.rnn(step, given)
            shown.append(given[0] if isinstance(given, tuple) else given)
        return self.head(torch.stack(shown, 1))  # type: ignore[no-any-return]


class Started(nn.Module):
    """States that other layers make from the input."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, UNITS), nn.Linear(6, UNITS)
        self.rnn, self.head = nn.LSTM(6, UNITS, batch_first=True), nn.Linear(UNITS, 3)

    def forward(self, x: Tensor) -> Tensor:
        states = self.first(x[:, 0])[None], self.second(x[:, 1])[None]
        return self.head(self.rnn(x, states)[0])  # type: ignore[no-any-return]


CASES: dict[str, Callable[[], nn.Module]] = {
    "lstm": lambda: Recurrent(nn.LSTM, batch_first=True),
    "lstm, two layers, both directions": lambda: Recurrent(
        nn.LSTM, "last", batch_first=True, num_layers=2, bidirectional=True
    ),
    "lstm, last state": lambda: Recurrent(nn.LSTM, "state", batch_first=True, num_layers=2),
    "gru, both directions, last state": lambda: Recurrent(nn.GRU, "state", batch_first=True, bidirectional=True),
    "gru, no bias": lambda: Recurrent(nn.GRU, batch_first=True, bias=False),
    "rnn, relu": lambda: Recurrent(nn.RNN, batch_first=True, nonlinearity="relu"),
    "lstm from states of layers": Started,
    "lstm cell": lambda: Stepwise(nn.LSTMCell(8, UNITS), made=False),
    "gru cell from zeros": lambda: Stepwise(nn.GRUCell(8, UNITS), made=True),
    "rnn cell": lambda: Stepwise(nn.RNNCell(8, UNITS), made=False),
}


def silence(model: Any) -> None:
    """Zeros in every gate of the units that go, and wherever they are read."""
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name.startswith("rnn"):
                tensor.view(-1, UNITS, *tensor.shape[1:])[:, GONE] = 0
            if "weight_hh" in name or name == "head.weight" or (name.startswith("rnn.weight_ih_l1")):
                tensor.view(len(tensor), -1, UNITS)[:, :, GONE] = 0
            if name.startswith(("first", "second")):
                tensor[GONE] = 0


@pytest.mark.parametrize("case", CASES)
def test_units_go_with_all_their_gates(case: str) -> None:
    torch.manual_seed(0)
    model = conditioned(CASES[case]())
    coupling = trace(model, SAMPLE)
    (units,) = [group for group in coupling.free if group.width == UNITS]
    assert "rnn" in units.layers
    (layer,) = [layer for layer in coupling.layers if layer.name == "rnn"]
    assert len(layer.taps) == (5 if "cell" in case else 1)
    result = compress(model, coupling, {units.name: KEPT}, inputs_of(SAMPLE))
    assert result.put_back == {}
    silent = copy.deepcopy(model)
    silence(silent)
    batch = SAMPLE[:2]
    with torch.no_grad():
        torch.testing.assert_close(result.model(batch), silent(batch))
    foretold, held = coupling.footprint({units.name: len(KEPT)}), stored(result.model)
    assert (foretold.parameters, foretold.bytes) == (held.parameters, held.bytes)


@pytest.mark.parametrize("case", CASES)
def test_the_work_of_a_recurrent_layer_is_that_of_its_steps(case: str) -> None:
    model = conditioned(CASES[case]())
    whole = cost(model, batch_of(SAMPLE))
    assert trace(model, SAMPLE).footprint() == (whole.parameters, whole.bytes, whole.macs)


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU])
def test_torchs_own_layer_runs_at_fewer_units(layer: type[nn.RNNBase]) -> None:
    torch.manual_seed(0)
    model = conditioned(Recurrent(layer, batch_first=True, bidirectional=True, num_layers=2))
    coupling = trace(model, SAMPLE)
    halves = {group.name: np.arange(group.width)[::2] for group in coupling.free}
    result = compress(model, coupling, halves, inputs_of(SAMPLE))
    smaller: Any = result.model
    assert (result.form, smaller.rnn.input_size, smaller.rnn.hidden_size) == ("module", 4, 5)
    again = copy.deepcopy(smaller)
    again.load_state_dict(smaller.state_dict())
    longer = torch.randn(2, 9, 6)
    with torch.no_grad():
        torch.testing.assert_close(again(longer), smaller(longer))
    (shown,) = [layer for layer in coupling.layers if layer.name == "rnn"]
    assert (shown.kind, shown.filters, len(shown.taps)) == ("recurrent", 2 * UNITS, 1)
    assert shown.kept(result.axis_indices[shown.weight][shown.axis]).tolist() == list(range(0, 2 * UNITS, 2))


@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_a_projected_state_is_cut_apart_from_the_units() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.LSTM(6, UNITS, batch_first=True, proj_size=4), Taken(), nn.Linear(4, 3))
    coupling = trace(conditioned(model), SAMPLE)
    assert [(group.name, group.width, group.frozen is None) for group in coupling.groups] == [
        ("0", 10, True),
        ("0#2", 4, True),
        ("2", 3, False),
    ]
    result = compress(model, coupling, {"0": KEPT, "0#2": [1, 3]}, inputs_of(SAMPLE))
    layer: Any = result.model.get_submodule("0")
    assert (result.put_back, result.form, layer.hidden_size, layer.proj_size) == ({}, "module", 4, 2)


class Taken(nn.Module):
    """All steps of a recurrent layer."""

    def forward(self, made: tuple[Tensor, Any]) -> Tensor:
        return made[0]


def test_units_that_start_from_the_models_input_stay() -> None:
    class Resumed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn, self.head = nn.GRU(6, 8, batch_first=True), nn.Linear(8, 3)

        def forward(self, x: Tensor, state: Tensor) -> Tensor:
            return self.head(self.rnn(x, state.transpose(0, 1))[0])  # type: ignore[no-any-return]

    coupling = trace(Resumed(), (SAMPLE, torch.zeros(3, 1, 8)))
    assert {group.name: group.frozen for group in coupling.groups} == {
        "rnn": "meets a value whose filters cannot be cut",
        "head": "it feeds the model's output",
    }
