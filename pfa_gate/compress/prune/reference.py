"""What a compressed model must equal: the full model with the removed filters silenced wherever they are read.

Where all that is cut are the model's own parameters, this is the model itself with zeros in them, so that the proof
shares nothing with the graph. Where a normalisation across channels or a folded constant is cut, it is the exported
program, silenced, with that normalisation taken over the channels that are left: its own definition.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from pfa_gate.compress.prune.arguments import RemainingValues, operand
from pfa_gate.compress.prune.cut import AxisIndices, silence, zeroed
from pfa_gate.graph.group import Coupling
from pfa_gate.graph.program import Program, operator_name
from pfa_gate.model.device import substituted
from pfa_gate.model.torch_module import copied

Forward = Callable[..., Any]


@dataclass(frozen=True)
class Silenced:
    """The reference of one cut, to be called at a given precision."""

    model: nn.Module
    coupling: Coupling
    axis_indices: AxisIndices
    remaining: RemainingValues

    @property
    def by_graph(self) -> bool:
        """Whether the exported program must stand for the model."""
        return not self.axis_indices.keys().isdisjoint(self.coupling.program.folded) or bool(self._redefined())

    def forward(self, dtype: torch.dtype) -> Forward:
        """The silenced model as a function, its floating tensors in `dtype`."""
        if not self.by_graph:
            return silence(copied(self.model), self.axis_indices).to(dtype)
        program = _silent_program(self.coupling.program, self.axis_indices, dtype)
        instead = self._redefined()
        return lambda *args, **kwargs: program.run(args, kwargs, instead=instead)

    def _redefined(self) -> dict[Node, Forward]:
        nodes = {node.name: node for node in self.coupling.program.exported.graph.nodes}
        found: dict[Node, Forward] = {}
        for name in self.coupling.normalised:
            left = self.remaining.of(operand(nodes[name]))
            if left is not None:
                found[nodes[name]] = _on_what_is_left(nodes[name], *left)
        return found


def _on_what_is_left(node: Node, axis: int, stays: Tensor) -> Forward:
    """The operator on the channels that are left, zeros in place of the others."""
    index = stays.nonzero().reshape(-1)
    name = operator_name(node)

    def run(value: Tensor, second: Any, *rest: Any, **kwargs: Any) -> Tensor:
        few = value.index_select(axis, index)
        if name == "mean":
            result: Tensor = node.target(few, second, *rest, **kwargs)  # type: ignore[operator]
            return result
        # Weight and bias come after the shape or the number of groups, and follow the channels.
        held = [each.index_select(0, index) if isinstance(each, Tensor) else each for each in rest]
        second = [len(index)] if name in ("layer_norm", "rms_norm") else second
        result = node.target(few, second, *held, **kwargs)  # type: ignore[operator]
        return torch.zeros_like(value, dtype=result.dtype).index_copy(axis, index, result)

    return run


def _silent_program(program: Program, axis_indices: AxisIndices, dtype: torch.dtype) -> Program:
    silent: dict[int, Tensor] = {}

    def quiet(name: str, tensor: Any) -> Any:
        if not isinstance(tensor, Tensor):
            return tensor
        if id(tensor) not in silent:
            silent[id(tensor)] = _at(
                zeroed(tensor, axis_indices[name]) if _made_silent(name, axis_indices) else tensor, dtype
            )
        return silent[id(tensor)]

    # Canonical names come first: a tied tensor is silenced once, under the name the plan knows.
    ordered = sorted(program.tensors, key=lambda name: name not in axis_indices)
    done = {name: quiet(name, program.tensors[name]) for name in ordered}
    instead = dict.fromkeys(program.halves, dtype)
    wide = replace(program, tensors=done, substitutes=instead)
    return replace(wide, constants=_constants(wide, axis_indices, dtype))


def _constants(program: Program, axis_indices: AxisIndices, dtype: torch.dtype) -> dict[Node, Any]:
    """What depends on parameters alone, once more: stored where it is cut, else computed in the wanted precision."""
    values: dict[Node, Any] = {
        node: held.clone() if isinstance(held := program.tensors[alias.name], Tensor) else held
        for node, alias in program.aliases.items()
        if node.op == "placeholder"
    }
    constants: dict[Node, Any] = {}
    cut = {node: axis_indices[name] for name, node in program.folded.items() if name in axis_indices}
    for node, value in program.constants.items():
        if node in cut:
            constants[node] = _at(zeroed(value, cut[node]), dtype)
        else:
            operands: Any = torch.fx.node.map_arg((node.args, node.kwargs), lambda source: values[source])
            args, kwargs = substituted(operands, program.substitutes)
            constants[node] = node.target(*args, **kwargs)  # type: ignore[operator]
        values[node] = constants[node]
    return constants


def _made_silent(name: str, axis_indices: AxisIndices) -> bool:
    return name in axis_indices and not name.endswith(("running_mean", "running_var"))


def _at(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor
