"""Parts of held tensors: the rows of a packed weight that one projection reads, the first positions of a longer table.

Such a node stands for the tensor itself, so that the whole tensor is cut and stored once.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from pfa_gate.graph.group import Indices
from pfa_gate.graph.partition import narrowed, varying
from pfa_gate.graph.program import Alias, Program, operator_name

aten = torch.ops.aten

_SPLITTING = frozenset(
    """
    slice select narrow split split_with_sizes chunk unbind getitem unsqueeze squeeze permute transpose t index
    index_select movedim swapaxes
    """.split()
)
_RESHAPING = frozenset("view reshape _unsafe_view unflatten flatten".split())
_PASSING = frozenset("contiguous clone detach alias lift_fresh lift_fresh_copy".split())
_CASTING = frozenset("to _to_copy type_as float half bfloat16 double".split())
_MOST = 4_000_000  # elements that an operator may have to copy

Places = tuple[Tensor, ...]  # for each axis of a tensor, at which of its indices each element of a node lies


class Parts:
    """Follows held tensors through the operators that only move data.

    Example:
        >>> from pfa_gate.graph import record_model
        >>> class Net(torch.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.table = torch.nn.Parameter(torch.zeros(50, 8))
        ...     def forward(self, x):
        ...         return x + self.table[:3]
        >>> program = record_model(Net(), (torch.zeros(2, 3, 8),), {})
        >>> [(alias.name, alias.axes, alias.parts) for alias in program.aliases.values()]
        [('table', (0, 1), {}), ('table', (0, 1), {0: (0, 1, 2)})]
    """

    def __init__(self, held: Mapping[Node, Alias], tensors: Mapping[str, Any]) -> None:
        self._tensors = tensors
        self._names: dict[Node, str] = {}
        self._places: dict[Node, Any] = {}
        self._held = held
        for node, alias in held.items():
            tensor = tensors[alias.name]
            if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.ndim:
                self._names[node] = alias.name
                self._places[node] = _whole(tensor)

    def of(self, node: Node, values: Mapping[Node, Any]) -> Alias | None:
        """What part of a held tensor an operator gives, if it is a box of it.

        Args:
            node: to be asked for in order of execution.
            values: what the nodes before it gave, for the indices among them.
        """
        source = node.args[0] if node.args else None
        if not isinstance(source, Node) or source not in self._places:
            return None
        places = self._moved(node, self._places[source], values)
        if places is None:
            return None
        self._names[node], self._places[node] = self._names[source], places
        name = self._names[node]
        return None if isinstance(places, list) else _box(name, self._tensors[name].shape, places)

    def _moved(self, node: Node, places: Any, values: Mapping[Node, Any]) -> Any:
        name = operator_name(node)
        if name in _PASSING or (name in _CASTING and node.meta["val"].is_floating_point()):
            return places
        if name == "getitem" and isinstance(places, list):
            return places[int(str(node.args[1]))]
        if name == "as_strided" and node.args[0] in self._held:  # a part that is an attribute of a module
            strides = self._tensors[self._names[node.args[0]]].stride()  # type: ignore[index]
            return tuple(_laid_out(each, strides).as_strided(*node.args[1:]) for each in places)  # type: ignore[arg-type]
        copies = name in _RESHAPING or name in ("index", "index_select")
        small = isinstance(places, tuple) and (not copies or node.meta["val"].numel() <= _MOST)
        if not small or name not in _SPLITTING | _RESHAPING:
            return None
        args, kwargs = torch.fx.node.map_arg((node.args[1:], node.kwargs), values.__getitem__)
        target: Any = torch.ops.aten.reshape.default if name in ("view", "_unsafe_view") else node.target
        moved = [target(each, *args, **kwargs) for each in places]
        if isinstance(moved[0], Tensor):
            return tuple(moved)
        return [tuple(part) for part in zip(*moved, strict=True)]


def _whole(tensor: Tensor) -> Places:
    def along(axis: int, size: int) -> Tensor:
        shape = [-1 if other == axis else 1 for other in range(tensor.ndim)]
        return torch.arange(size).reshape(shape).expand(tensor.shape)

    return tuple(along(axis, size) for axis, size in enumerate(tensor.shape))


def _laid_out(places: Tensor, strides: tuple[int, ...]) -> Tensor:
    return torch.empty_strided(places.shape, strides, dtype=places.dtype).copy_(places)


def _box(name: str, shape: torch.Size, places: Places) -> Alias | None:
    """The alias of a node whose elements are a box of the tensor, each of its axes one of the tensor's; else None."""
    node_shape = places[0].shape
    axes, parts = [-1] * len(node_shape), dict[int, tuple[int, ...]]()
    for axis, each in enumerate(places):
        line = narrowed(each)
        along = varying(line)
        if len(along) > 1 or any(axes[own] != -1 for own in along) or not line.numel():
            return None
        for own in along:
            axes[own] = axis
        indices = tuple(line.reshape(-1).tolist())
        if indices != tuple(range(shape[axis])):
            parts[axis] = indices
    left = [axis for axis in range(len(shape)) if axis not in axes]
    if any(own == -1 and size > 1 for own, size in zip(axes, node_shape, strict=True)):
        return None
    if len(node_shape) == len(shape):  # what is left on both sides has one index, and is matched in order
        axes = [left.pop(0) if own == -1 else own for own in axes]
    return Alias(name, tuple(axes), parts)


def take_parts(module: GraphModule, program: Program, left: Mapping[str, Mapping[int, Indices]]) -> None:
    """A part of a tensor that is cut, such as the rows that one projection reads, becomes what is left of that part.

    Args:
        module: the program, its tensors cut already; changed.
        program: before the cut.
        left: for each tensor that is cut and each axis, the indices that are there.
    """
    cut = {node: alias for node, alias in program.aliases.items() if not alias.whole and alias.name in left}
    # A copy or another precision of such a part follows by itself.
    parts = {node.name: alias for node, alias in cut.items() if cut.get(node.all_input_nodes[0]) != alias}
    for node in [node for node in module.graph.nodes if node.name in parts]:
        alias = parts[node.name]
        part = _read(node, alias, program.tensors[alias.name].shape, left[alias.name])
        part.meta = dict(node.meta)
        node.replace_all_uses_with(part)


def _read(node: Node, alias: Alias, shape: torch.Size, left: Mapping[int, Indices]) -> Node:
    """The part, read from the cut tensor, which had this shape before."""
    graph = node.graph
    with graph.inserting_before(node):
        value = graph.get_attr(alias.name)
        for axis, indices in alias.parts.items():
            stays = torch.as_tensor(left.get(axis, np.arange(shape[axis])))
            ranks = torch.full((shape[axis],), -1).index_copy(0, stays, torch.arange(len(stays)))
            here = ranks[torch.tensor(indices)]
            value = _taken(node, value, axis, here[here >= 0])
        kept = [axis for axis in alias.axes if axis >= 0]
        for axis in sorted(set(range(len(shape))) - set(kept), reverse=True):
            value = graph.call_function(aten.select.int, (value, axis, 0))
        order = [sorted(kept).index(axis) for axis in kept]
        value = graph.call_function(aten.permute.default, (value, order)) if order != sorted(order) else value
        for place, axis in enumerate(alias.axes):
            value = graph.call_function(aten.unsqueeze.default, (value, place)) if axis < 0 else value
    return value


def _taken(node: Node, value: Node, axis: int, index: Tensor) -> Node:
    """A value at these indices of an axis: a slice where they lie side by side, else a copy."""
    graph, first = node.graph, int(index[0]) if len(index) else 0
    if torch.equal(index, torch.arange(first, first + len(index))):
        return graph.call_function(aten.slice.Tensor, (value, axis, first, first + len(index)))
    name = f"part_{node.name}_{axis}"
    graph.owning_module.register_buffer(name, index, persistent=False)  # type: ignore[union-attr]
    return graph.call_function(aten.index_select.default, (value, axis, graph.get_attr(name)))
