"""What the proof compares, in its precision: the full model with zeros for removed filters, and the smaller one."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx import GraphModule, Interpreter, Node
from torch.fx.graph import _PyTreeCodeGen

from pfa_gate.compress.prune.cut import AxisIndices
from pfa_gate.graph.editing import with_ancestors
from pfa_gate.graph.group import Indices
from pfa_gate.graph.program import Program, halves
from pfa_gate.graph.sizes import read_constants
from pfa_gate.model.device import at, copied_at, substitute_in_graphs, substituted


def silenced(model: nn.Module, axis_indices: AxisIndices, dtype: torch.dtype | None = None) -> nn.Module:
    """A copy, in eval mode, with zeros in all that `axis_indices` leaves out: where it is made and where it is read.

    Args:
        model: not changed.
        axis_indices: what stays of each parameter; running statistics stay, what they normalise is silent already.
        dtype: the precision of the copy's floating tensors; their own if None.

    Example:
        >>> silenced(nn.Linear(1, 3, bias=False), {"weight": {0: np.array([1])}}).weight.ne(0).tolist()
        [[False], [True], [False]]
    """
    trained = dict(model.named_parameters(remove_duplicate=False))
    silent = {id(trained[name]): zeroed(trained[name], axes) for name, axes in axis_indices.items() if name in trained}
    return copied_at(model, dtype, silent)


def zeroed(tensor: Tensor, axes: Mapping[int, Indices]) -> Tensor:
    """A copy with zeros at the indices that do not stay."""
    silent = tensor.detach().clone()
    for axis, indices in axes.items():
        silent.index_fill_(axis, _left_out(silent.shape[axis], indices), 0)
    return silent


def _left_out(size: int, indices: Indices) -> Tensor:
    gone = np.ones(size, bool)
    gone[indices] = False
    return torch.from_numpy(np.flatnonzero(gone))


def silent_program(
    program: Program, axis_indices: AxisIndices, dtype: torch.dtype, instead: Mapping[str, Tensor] | None = None
) -> Program:
    """The program with the same zeros, its floating tensors in `dtype`.

    Args:
        program: of the full model.
        axis_indices: what stays of each parameter.
        dtype: of its floating tensors.
        instead: tensors to take in place of its own before the zeros are set, by name.
    """
    silent: dict[int, Tensor] = {}
    instead = instead or {}

    def quiet(name: str, tensor: Any) -> Any:
        if not isinstance(tensor, Tensor):
            return tensor
        if id(tensor) not in silent:
            own = instead.get(name, tensor)
            silent[id(tensor)] = at(
                zeroed(own, axis_indices[name]) if _made_silent(program, name, axis_indices) else own, dtype
            )
        return silent[id(tensor)]

    # Canonical names come first: a tied tensor is silenced once, under the name the plan knows.
    ordered = sorted(program.tensors, key=lambda name: (name not in instead, name not in axis_indices))
    done = {name: quiet(name, program.tensors[name]) for name in ordered}
    wide = replace(program, tensors=done, substitutes=dict.fromkeys((*program.halves, torch.float32), dtype))
    return replace(wide, constants=_constants(wide, axis_indices, dtype, instead))


def _constants(
    program: Program, axis_indices: AxisIndices, dtype: torch.dtype, instead: Mapping[str, Tensor]
) -> dict[Node, Any]:
    """What depends on parameters alone, once more: stored where it is cut, else computed in the wanted precision."""
    values: dict[Node, Any] = {
        node: held.clone() if isinstance(held := program.tensors[alias.name], Tensor) else held
        for node, alias in program.aliases.items()
        if node.op == "placeholder"
    }
    constants: dict[Node, Any] = {}
    cut = {node: axis_indices[name] for name, node in program.folded.items() if name in axis_indices}
    own = {program.folded[name]: tensor for name, tensor in instead.items() if name in program.folded}
    for node, stored in program.constants.items():
        value = own.get(node, stored)
        if node in cut:
            constants[node] = at(zeroed(value, cut[node]), dtype)
        else:
            operands: Any = torch.fx.node.map_arg((node.args, node.kwargs), lambda source: values[source])
            args, kwargs = substituted(operands, program.substitutes)
            constants[node] = node.target(*args, **kwargs)  # type: ignore[operator]
        values[node] = constants[node]
    return constants


def whole_constants(program: Program, axis_indices: AxisIndices) -> list[Node]:
    """Constants that keep all of their elements and are computed from stored tensors that do not."""
    cut = [name for name, sources in read_constants(program).items() if not axis_indices.keys().isdisjoint(sources)]
    return [program.folded[name] for name in cut if name not in axis_indices]


def silent_constants(program: Program, axis_indices: AxisIndices) -> dict[Node, Tensor]:
    """The values of these, computed from the same zeros."""
    nodes = whole_constants(program, axis_indices)
    needed = with_ancestors(nodes)
    values: dict[Node, Any] = {}
    for node in [node for node in program.graph.nodes if node in needed]:
        if node.op == "placeholder":
            name = program.aliases[node].name
            axes = axis_indices[name] if _made_silent(program, name, axis_indices) else {}
            values[node] = zeroed(program.tensors[name], axes)
        else:
            args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), values.__getitem__)
            values[node] = node.target(*args, **kwargs)
    return {node: values[node] for node in nodes}


def _made_silent(program: Program, name: str, axis_indices: AxisIndices) -> bool:
    """Whether a tensor is zero where a filter is silent; statistics and other buffers stay as they are."""
    return name in axis_indices and (name in program.parameters or name in program.folded)


def at_precision(model: nn.Module, dtype: torch.dtype) -> Callable[..., Any]:
    """A copy of the model in another precision; a graph that casts to its own, or makes tensors of it, follows.

    A graph is its tensors and its operators and no more: it is not compiled again for a copy.
    """
    if not any(isinstance(module, GraphModule) for module in model.modules()):
        return copied_at(model, dtype)
    named = dict.fromkeys((*halves((*model.parameters(), *model.buffers())), torch.float32), dtype)
    if isinstance(model, GraphModule) and not _names_any(model, named):
        tensors = dict((*model.named_parameters(), *model.named_buffers()))
        own = {name: at(tensor.detach().clone(), dtype) for name, tensor in tensors.items()}
        return lambda *args, **kwargs: functional_call(model, own, args, kwargs)
    if isinstance(model, GraphModule) and isinstance(model.graph._codegen, _PyTreeCodeGen):  # one of ours
        return _Substituting(model, dtype, named).call
    copy = copied_at(model, dtype)
    substitute_in_graphs(copy, named)
    return copy


class _Substituting(Interpreter):
    """A graph of operators alone, run with its tensors in a precision, and with other dtypes than it names."""

    def __init__(self, module: GraphModule, dtype: torch.dtype, named: Mapping[Any, Any]) -> None:
        super().__init__(module)
        self.extra_traceback = False  # an error is reported by its first line
        codegen: Any = module.graph._codegen
        self._keywords = codegen.pytree_info.in_spec.children()[1].context  # in the order of the graph's inputs
        each = (*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False))
        wide = {id(tensor): at(tensor.detach().clone(), dtype) for _, tensor in each}
        self._tensors = {name: wide[id(tensor)] for name, tensor in each}
        self._named = named

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The module's output."""
        return self.run(*args, *(kwargs[name] for name in self._keywords))

    def fetch_attr(self, target: str) -> Any:
        """The tensor of this name, in the precision."""
        return self._tensors[target]

    def fetch_args_kwargs_from_env(self, n: Node) -> Any:
        """The operands of an operator, dtypes substituted."""
        return substituted(super().fetch_args_kwargs_from_env(n), self._named)


def _names_any(model: GraphModule, dtypes: Collection[torch.dtype]) -> bool:
    given = (value for node in model.graph.nodes for value in (*node.args, *node.kwargs.values()))
    return any(isinstance(value, torch.dtype) and value in dtypes for value in given)
