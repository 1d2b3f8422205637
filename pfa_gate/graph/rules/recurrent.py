"""Recurrent layers and cells. The gates of a hidden unit go together, and so do units that torch stores side by side.

A unit whose weights and biases are zero stays at zero from a state of zeros on: all of its gates are constants.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from torch import Tensor
from torch.fx import Node

from pfa_gate.graph.labels import Contraction, LabelFlow, NoRuleError, rule
from pfa_gate.graph.program import node_of, operator_name, shape_of
from pfa_gate.graph.rules.elementwise import meet_operand

_INPUT_FIXED = "its input cannot be cut"
_UNITS_FIXED = "is stored with units that cannot be cut"


@dataclass(frozen=True)
class _Cell:
    """The tensors of one layer in one direction.

    Attributes:
        inputs: weight over the input, [gates x units, I].
        hidden: weight over the hidden state, [gates x units, H].
        biases: [gates x units] each.
        projection: [H, units] where the hidden state is a projection of the units; else H is the units.
    """

    inputs: Node
    hidden: Node
    biases: tuple[Node, ...] = ()
    projection: Node | None = None

    @property
    def shown(self) -> int:
        """How wide the hidden state is."""
        return shape_of(self.hidden)[1]

    @property
    def units(self) -> int:
        """How many units there are."""
        return self.shown if self.projection is None else shape_of(self.projection)[1]


@dataclass(frozen=True)
class _Units:
    """Labels of the units, [units], and of the hidden state, [H]: the same where nothing is projected."""

    own: Tensor
    shown: Tensor


@rule("lstm gru rnn_tanh rnn_relu")
def recurrent(flow: LabelFlow, node: Node) -> list[Tensor]:
    """All layers in both directions, over a whole sequence. One unit of each of them is stored at the same place."""
    if getattr(node.target, "_overloadname", "") != "input":
        raise NoRuleError("reads a packed sequence")
    source, held = node_of(node.args[0]), node.args[2]
    layers, directions = _number(node.args[4]), 1 + bool(node.args[7])
    cells = list(_cells(held, bool(node.args[3]), layers * directions))
    units = _units(flow, cells[0])
    channels = flow.along(source, -1)
    for start in range(0, len(cells), directions):
        for cell in cells[start : start + directions]:
            _enter(flow, cell, channels, units)
        channels = flow.sets.canonical(units.shown).repeat(directions)
    _meet_states(flow, node, node.args[1], units)
    _note(flow, node, cells, prod(shape_of(source)[:-1]) / flow.program.batch)
    labels = [channels, units.shown, units.own]
    values = node.meta["val"]
    return [_last(flow, each, value.ndim) for each, value in zip(labels, values, strict=False)]


def _number(value: Any) -> int:
    return int(value)


def _cells(held: Any, biased: bool, count: int) -> Iterator[_Cell]:
    """The tensors as torch lists them: weights of input and hidden state, biases, projection; layer by layer."""
    each, rest = divmod(len(held), count)
    if rest:
        raise NoRuleError("has a list of weights that is not torch's")
    for start in range(0, len(held), each):
        inputs, hidden, *others = held[start : start + each]
        biases, projections = (others[:2], others[2:]) if biased else ([], others)
        yield _Cell(inputs, hidden, tuple(biases), projections[0] if projections else None)


def _units(flow: LabelFlow, cell: _Cell) -> _Units:
    own = flow.sets.fresh(cell.units)
    return _Units(own, own if cell.projection is None else flow.sets.fresh(cell.shown))


def _enter(flow: LabelFlow, cell: _Cell, channels: Tensor, units: _Units) -> None:
    """A cell reads an input, and its gates belong to the units."""
    for weight, read in ((cell.inputs, channels), (cell.hidden, units.shown)):
        rows, columns = flow.matrix(flow.held(weight), 0, 1)
        flow.meet(columns, read, _INPUT_FIXED)
        flow.meet(rows.reshape(-1, len(units.own)), units.own, _UNITS_FIXED)
    if cell.projection is not None:
        rows, columns = flow.matrix(flow.held(cell.projection), 0, 1)
        flow.meet(columns, units.own, _UNITS_FIXED)
        flow.meet(rows, units.shown, _UNITS_FIXED)
    gates = shape_of(cell.hidden)[0] // len(units.own)
    for bias in cell.biases:
        flow.adopt_vector(bias, flow.sets.canonical(units.own).repeat(gates))


def _meet_states(flow: LabelFlow, node: Node, states: Any, units: _Units) -> None:
    """The states it starts from: zeros go with the units, and what a layer made is one with them."""
    given = states if isinstance(states, list | tuple) else [states]
    for state, labels in zip(given, (units.shown, units.own), strict=False):
        shape = shape_of(node_of(state))
        meet_operand(flow, node, _last(flow, labels, len(shape)).expand(shape), node_of(state))


def _last(flow: LabelFlow, labels: Tensor, axes: int) -> Tensor:
    return flow.sets.canonical(labels).reshape((1,) * (axes - 1) + (-1,))


def _note(flow: LabelFlow, node: Node, cells: Sequence[_Cell], work: float) -> None:
    """One layer for all of it, read where it shows its hidden state; it counts its filters by the hidden state."""
    owner = flow.held(cells[0].hidden).name.rpartition(".")[0]
    shown = _shown(node)
    for cell in cells:
        calls = [(cell.hidden, ((1,), (0,))), (cell.inputs, ((0,), (1,)))]
        if cell.projection is not None:
            calls.insert(0, (cell.projection, ((0,), (1,))))
        for weight, axes in calls:
            call: Contraction = flow.contraction(node if shown is None else shown, weight, axes, work)
            flow.contractions.append(replace(call, layer=None if shown is None else owner or call.layer))


def _shown(node: Node) -> Node | None:
    """The value in which the hidden state is read: at each step if it can be, else the last; None where it is not."""
    if operator_name(node) in ("gru_cell", "rnn_tanh_cell", "rnn_relu_cell"):
        return node
    read = {user.args[1]: user for user in node.users if user.users}
    return read.get(0) or read.get(1)


@rule("lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell")
def recurrent_cell(flow: LabelFlow, node: Node) -> Tensor | list[Tensor]:
    """One step of one layer."""
    source, states, inputs, hidden, *biases = node.args
    cell = _Cell(node_of(inputs), node_of(hidden), tuple(node_of(bias) for bias in biases if bias is not None))
    units = _units(flow, cell)
    _enter(flow, cell, flow.along(node_of(source), -1), units)
    _meet_states(flow, node, states, units)
    _note(flow, node, [cell], prod(shape_of(node_of(source))[:-1]) / flow.program.batch)
    labels = _last(flow, units.own, len(shape_of(node_of(source))))
    return [labels, labels] if operator_name(node) == "lstm_cell" else labels
