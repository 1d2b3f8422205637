"""What depends on held tensors alone is computed once: constants, and what each of them is called."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import Node

from pfa_gate.graph.program import Alias, operator_name

_PERMUTING = {"t", "transpose", "permute", "numpy_T", "mT", "movedim", "swapaxes"}
_COPYING = {"clone", "detach", "contiguous", "alias", "lift_fresh_copy", "detach_", "lift_fresh"}


def fold(
    exported: ExportedProgram, held: Mapping[Node, Alias], tensors: dict[str, Tensor]
) -> tuple[dict[Node, Any], dict[Node, Alias], dict[str, Node]]:
    """Compute what depends on held tensors alone, once; name each result that the rest of the graph reads.

    Args:
        exported: the program.
        held: its inputs that stand for a stored tensor.
        tensors: by name; the results are added.

    Returns:
        The values of these nodes; what each node stands for, with `held`; and the nodes by the names of their results.
    """
    fixed = _constant_nodes(exported, held)
    written = {origin(node) for node in fixed if writes(node)}
    values: dict[Node, Any] = {
        node: tensors[alias.name].clone() if node in written else tensors[alias.name] for node, alias in held.items()
    }
    aliases = dict(held)
    constants: dict[Node, Any] = {}
    named: dict[str, Node] = {}
    for node in fixed:
        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda source: values[source])
        with torch.no_grad():
            constants[node] = values[node] = node.target(*args, **kwargs)  # type: ignore[operator]
        alias = _permuted(node, aliases)
        if alias is None and isinstance(values[node], Tensor):
            alias = Alias(f"folded:{node.name}", tuple(range(values[node].ndim)))
            tensors[alias.name], named[alias.name] = values[node], node
        if alias is not None:
            aliases[node] = alias
    return constants, aliases, named


def _constant_nodes(exported: ExportedProgram, held: Mapping[Node, Alias]) -> list[Node]:
    """Nodes that depend on held tensors alone, in order; not those into whose memory an activation is written."""
    tainted: set[Node] = set()
    while True:
        fixed: dict[Node, None] = {}
        for node in exported.graph.nodes:
            if node.op == "call_function" and node not in tainted and _is_fixed(node, fixed, held):
                fixed[node] = None
        writers = (node for node in exported.graph.nodes if node.op == "call_function" and node not in fixed)
        found = {origin(node) for node in writers if writes(node)} & set(fixed)
        if not found:
            return list(fixed)
        tainted |= found


def _is_fixed(node: Node, fixed: Mapping[Node, None], held: Mapping[Node, Alias]) -> bool:
    if operator_name(node) == "embedding":
        return False  # a table stays a table, whatever rows of it the example looks up
    known = all(source in fixed or source in held for source in node.all_input_nodes)
    return known and not _draws(node) and node.meta.get("val") is not None


def _draws(node: Node) -> bool:
    """Whether an operator takes numbers from a generator; attention does for its dropout, of which there is none."""
    drawing = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
    return drawing and operator_name(node) != "scaled_dot_product_attention"


def writes(node: Node) -> bool:
    """Whether an operator writes into its first argument."""
    schema = getattr(node.target, "_schema", None)
    return schema is not None and bool(schema.is_mutable)


def origin(node: Node) -> Node:
    """Where the memory that a node writes into may come from: its first argument, followed to the start."""
    while node.op == "call_function" and node.args and isinstance(node.args[0], Node):
        node = node.args[0]
    return node


def _permuted(node: Node, aliases: Mapping[Node, Alias]) -> Alias | None:
    source = node.args[0]
    kind = operator_name(node)
    if not isinstance(source, Node) or source not in aliases or len(node.all_input_nodes) != 1:
        return None
    origin = aliases[source]
    if kind in _COPYING:
        return origin
    if kind not in _PERMUTING:
        return None
    # The operator itself is asked where each axis went: sizes 2, 3, 4 … are all different.
    shape = tuple(range(2, 2 + len(origin.axes)))
    moved = node.target(torch.empty(shape, device="meta"), *node.args[1:], **node.kwargs)  # type: ignore[operator]
    return Alias(origin.name, tuple(origin.axes[size - 2] for size in moved.shape))
