"""The compressed model as a graph: the exported program on smaller tensors, its shape constants rewritten.

A forward that writes widths into its code (`view(B, 2, C // 2, …)`) cannot run at another width; its exported graph
can, once every operator's shape arguments follow what is left of its values.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from pfa_gate.compress.prune.arguments import RemainingValues, rewrite_node, stored
from pfa_gate.compress.prune.cut import AxisIndices
from pfa_gate.graph.computed_weights import sources_of
from pfa_gate.graph.editing import drop_dead, drop_unread, origin, unlifted, writes
from pfa_gate.graph.group import Coupling
from pfa_gate.graph.program import shape_of

aten = torch.ops.aten


def rewrite(coupling: Coupling, remaining: RemainingValues, axis_indices: AxisIndices) -> GraphModule:
    """The exported program with the planned parameters cut and every shape constant that depends on them changed.

    Args:
        coupling: with the program and the labels of its values.
        remaining: what is left of every value.
        axis_indices: what is left of every parameter.

    Raises:
        SurgeryError: an operator's arguments cannot follow.
    """
    program = coupling.program
    smaller = unlifted(program)
    graph = smaller.graph
    _own_tensors(smaller, axis_indices)
    sources = {node.name: node for node in program.exported.graph.nodes}
    for node in list(graph.nodes):
        if node.op == "call_function":
            rewrite_node(node, sources[node.name], remaining)
            if node.name in coupling.scattered:
                _scatter_operands(node, sources[node.name], remaining)
    _bake_constants(smaller, coupling, axis_indices)
    drop_dead(smaller, {node.name for node in program.constants})
    graph.eliminate_dead_code()
    drop_unread(smaller)
    graph.lint()
    smaller.recompile()
    return smaller


def _own_tensors(module: GraphModule, axis_indices: AxisIndices) -> None:
    """Give the module its own, cut copies of the tensors that it shares with the full model so far."""
    seen: dict[int, Tensor] = {}
    for owner_name, owner in module.named_modules():
        for table in (owner._parameters, owner._buffers):
            for attribute, tensor in table.items():
                if tensor is not None and id(tensor) not in seen:
                    name = f"{owner_name}.{attribute}" if owner_name else attribute
                    seen[id(tensor)] = _cut(tensor, axis_indices.get(name, {}))
    for owner in module.modules():
        for table in (owner._parameters, owner._buffers):
            for attribute, tensor in table.items():
                if tensor is not None and id(tensor) in seen:
                    table[attribute] = seen[id(tensor)]  # type: ignore[assignment]


def _cut(tensor: Tensor, axes: Mapping[int, Any]) -> Tensor:
    fresh = tensor.detach().clone()
    for axis, indices in axes.items():
        fresh = fresh.index_select(axis, torch.as_tensor(indices))
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(fresh.contiguous(), requires_grad=tensor.requires_grad)
    return fresh.contiguous()


def _drop_writers(module: GraphModule, coupling: Coupling, axis_indices: AxisIndices) -> None:
    """What was written into a constant in place is in its stored value already."""
    baked = {node for name, node in coupling.program.folded.items() if name in axis_indices}
    writers = {node.name for node in coupling.program.constants if writes(node) and origin(node) in baked}
    for node in reversed(list(module.graph.nodes)):
        if node.name in writers and not node.users:
            module.graph.erase_node(node)


def _bake_constants(module: GraphModule, coupling: Coupling, axis_indices: AxisIndices) -> None:
    """What was computed from parameters alone and is cut now becomes a stored tensor."""
    _drop_writers(module, coupling, axis_indices)
    program = coupling.program
    cut = {node.name: (node, axis_indices[name]) for name, node in program.folded.items() if name in axis_indices}
    for node in [node for node in module.graph.nodes if node.name in cut]:
        source, axes = cut[node.name]
        name = constant_name(source)
        _register_constant(module, name, _cut(program.constants[source], axes), sources_of(program, source))
        with module.graph.inserting_before(node):
            stored = module.graph.get_attr(name)
        stored.meta = dict(node.meta)
        node.replace_all_uses_with(stored)
        module.graph.erase_node(node)


def constant_name(node: Node) -> str:
    """What a constant of the full program is called where the compressed model stores it."""
    return f"constant_{node.name}"


def _register_constant(module: GraphModule, name: str, value: Tensor, sources: Sequence[str]) -> None:
    """What was computed from parameters is a parameter; from stored buffers, one of these; else nothing to store."""
    trained = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    if value.is_floating_point() and not trained.isdisjoint(sources):
        module.register_parameter(name, nn.Parameter(value))
    else:
        module.register_buffer(name, value, persistent=bool(sources))


def _scatter_operands(node: Node, source: Node, remaining: RemainingValues) -> None:
    """Each operand back to full width: one channel of zeros is appended, and read wherever a filter is gone."""
    for operand, place in zip(node.all_input_nodes, source.all_input_nodes, strict=True):
        left = remaining.of(place)
        if left is None:
            continue
        axis, stays = left
        index = torch.where(stays, stays.cumsum(0) - 1, int(stays.sum()))
        amounts = [0] * (2 * (len(shape_of(place)) - axis))
        amounts[-1] = 1
        with node.graph.inserting_before(node):
            wider = node.graph.call_function(aten.constant_pad_nd.default, (operand, amounts))
            index_node = stored(node, f"scatter_{node.name}_{operand.name}", index)
            whole = node.graph.call_function(aten.index_select.default, (wider, axis, index_node))
        node.replace_input_with(operand, whole)
