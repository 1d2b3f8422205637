"""Changes of a program's graph: constants folded, the graph as a module, tensors and nodes put in and taken out."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.fx.graph import _PyTreeCodeGen, _PyTreeInfo

from pfa_gate.graph.parts import Parts
from pfa_gate.graph.program import Alias, Program, operator_name, origin, writes

_PERMUTING = {"t", "transpose", "permute", "numpy_T", "mT", "movedim", "swapaxes"}
_CASTING = {"to", "_to_copy", "type_as", "float", "half", "bfloat16", "double"}
_COPYING = {"clone", "detach", "contiguous", "alias", "lift_fresh_copy", "detach_", "lift_fresh"}


def fold(
    graph: Graph, held: Mapping[Node, Alias], tensors: dict[str, Tensor]
) -> tuple[dict[Node, Any], dict[Node, Alias], dict[str, Node]]:
    """Compute what depends on held tensors alone, once; name each result that the rest of the graph reads.

    Args:
        graph: of the program.
        held: its inputs that stand for a stored tensor.
        tensors: by name; the results are added.

    Returns:
        The values of these nodes; what each node stands for, with `held`; and the nodes by the names of their results.
    """
    fixed = _constant_nodes(graph, held)
    written = {origin(node) for node in fixed if writes(node)}
    values: dict[Node, Any] = {
        node: tensors[alias.name].clone() if node in written else tensors[alias.name] for node, alias in held.items()
    }
    aliases = dict(held)
    constants: dict[Node, Any] = {}
    named: dict[str, Node] = {}
    parts = Parts({node: alias for node, alias in held.items() if node not in written}, tensors)
    for node in fixed:
        args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda source: values[source])
        with torch.no_grad():
            constants[node] = values[node] = node.target(*args, **kwargs)  # type: ignore[operator]
        part = parts.of(node, values)
        alias = _permuted(node, aliases) or part
        if alias is None and isinstance(values[node], Tensor):
            alias = Alias(f"folded:{node.name}", tuple(range(values[node].ndim)))
            tensors[alias.name], named[alias.name] = values[node], node
        if alias is not None:
            aliases[node] = alias
    return constants, aliases, named


def _constant_nodes(graph: Graph, held: Mapping[Node, Alias]) -> list[Node]:
    """Nodes that depend on held tensors alone, in order; not those into whose memory an activation is written."""
    tainted: set[Node] = set()
    while True:
        held = {node: alias for node, alias in held.items() if node not in tainted}
        fixed: dict[Node, None] = {}
        for node in graph.nodes:
            if node.op == "call_function" and node not in tainted and _is_fixed(node, fixed, held):
                fixed[node] = None
        writers = (node for node in graph.nodes if node.op == "call_function" and node not in fixed)
        written = {origin(node) for node in writers if writes(node)} & {*fixed, *held}
        if not written:
            return _without_vectors(list(fixed))
        tainted |= written


# Such operators set a vector across other axes, or change each of its elements by itself.
_SETTING = frozenset(
    """
    view reshape _unsafe_view unsqueeze slice alias add sub rsub mul div neg exp sigmoid tanh softplus to _to_copy
    """.split()
)
_READING = frozenset("add add_ sub sub_ rsub mul mul_ div div_ addcmul expand expand_as maximum minimum where".split())


def _without_vectors(fixed: list[Node]) -> list[Node]:
    """The constants, less what is a stored vector, set across other axes, where activations alone read it elementwise.

    So the scale and shift of a normalisation that is written out are cut themselves.
    """
    kept = dict.fromkeys(fixed)
    for node in reversed(fixed):
        if _is_of_a_vector(node) and node.users and all(_reads_elementwise(user, kept) for user in node.users):
            del kept[node]
    return list(kept)


def _is_of_a_vector(node: Node) -> bool:
    while node.op == "call_function" and operator_name(node) in _SETTING and len(node.all_input_nodes) == 1:
        if operator_name(node) == "slice" and node.meta["val"].shape != node.all_input_nodes[0].meta["val"].shape:
            return False  # a part of a vector stands for the vector
        node = node.all_input_nodes[0]
    value = node.meta.get("val")
    return node.op == "placeholder" and isinstance(value, Tensor) and value.ndim == 1 and len(value) > 1


def _reads_elementwise(user: Node, constants: Collection[Node]) -> bool:
    return user not in constants and user.op == "call_function" and operator_name(user) in _READING | _SETTING


def _is_fixed(node: Node, fixed: Mapping[Node, None], held: Collection[Node]) -> bool:
    if operator_name(node) in LOOKED_UP:
        return False
    known = all(source in fixed or source in held for source in node.all_input_nodes)
    return known and not drawn(node.target) and node.meta.get("val") is not None


LOOKED_UP = ("embedding", "view_as_complex")
"""A table stays a table, whatever rows of it the example looks up, and pairs stay the pairs that are stored."""


def drawn(operator: Any) -> bool:
    """Whether an operator takes numbers from a generator; attention does for its dropout, of which there is none."""
    drawing = torch.Tag.nondeterministic_seeded in getattr(operator, "tags", ())
    return drawing and "scaled_dot_product_attention" not in str(operator)


def _permuted(node: Node, aliases: Mapping[Node, Alias]) -> Alias | None:
    source = node.args[0]
    kind = operator_name(node)
    if not isinstance(source, Node) or source not in aliases or len(node.all_input_nodes) != 1:
        return None
    held = aliases[source]
    if kind in _COPYING or (kind in _CASTING and _stays_floating(source, node)):
        return held
    if kind not in _PERMUTING:
        return None
    # The operator itself is asked where each axis went: sizes 2, 3, 4 … are all different.
    shape = tuple(range(2, 2 + len(held.axes)))
    moved = node.target(torch.empty(shape, device="meta"), *node.args[1:], **node.kwargs)  # type: ignore[operator]
    return replace(held, axes=tuple(held.axes[size - 2] for size in moved.shape))


def _stays_floating(source: Node, node: Node) -> bool:
    """Whether a cast, as autocast makes it, leaves a weight what it is, in another precision."""
    before, after = source.meta["val"].dtype, node.meta["val"].dtype
    return bool(before.is_floating_point and after.is_floating_point)


def as_module(program: Program, compiled: bool = True) -> GraphModule:
    """The program as a module of its own graph; it shares its tensors with the model.

    It stores what the model stores: tensors that are in no state dict are buffers that do not persist.

    Args:
        program: of the model.
        compiled: False leaves that to one who changes the graph first, and then calls `recompile`.
    """
    graph, copies, call = Graph(), dict[Node, Node](), program.call
    graph.set_codegen(_PyTreeCodeGen(_PyTreeInfo(list(call.names), call.inputs, call.output)))
    inputs = [node for node in program.graph.nodes if node.op == "placeholder" and node not in program.held]
    for node in inputs:
        copies[node] = graph.node_copy(node)
    module = GraphModule(nn.Module(), graph)  # it compiles itself, so it gets all else afterwards
    for name in program.held.values():
        if name in program.parameters:
            register(module, name, program.state[name])
        else:
            _register_buffer(module, name, program)
    module.eval()
    for node in (node for node in program.graph.nodes if node in program.held):
        copies[node] = graph.create_node("get_attr", program.held[node], name=node.name)
        copies[node].meta = dict(node.meta)
    for node in program.graph.nodes:
        if node not in copies:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    if compiled:
        module.recompile()
    return module


def _register_buffer(root: nn.Module, name: str, program: Program) -> None:
    stored = name in program.state
    owner, _, attribute = name.rpartition(".")
    tensor = program.state[name] if stored else program.tensors[name]
    _made_module(root, owner).register_buffer(attribute, tensor, persistent=stored)


def _made_module(root: nn.Module, name: str) -> nn.Module:
    """The module of this name, made where there is none."""
    for part in filter(None, name.split(".")):
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    return root


def register(module: nn.Module, name: str, parameter: Any) -> None:
    """Put a parameter at its qualified name, in the place of a buffer of this name."""
    owner, _, attribute = name.rpartition(".")
    module = _made_module(module, owner)
    if attribute in module._buffers:
        del module._buffers[attribute]
    module.register_parameter(attribute, parameter)


def drop_unread(module: GraphModule, names: Collection[str] | None = None) -> None:
    """Remove tensors that no node reads, such as a table whose looked-up rows are stored now.

    Args:
        module: changed in place.
        names: of those that may go; all that are floating unless given, since a batch norm's counter, say, stays.
    """
    read = {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    for owner_name, owner in module.named_modules():
        for table in (owner._parameters, owner._buffers):
            for attribute, tensor in list(table.items()):
                name = f"{owner_name}.{attribute}" if owner_name else attribute
                may_go = tensor is not None and (tensor.is_floating_point() if names is None else name in names)
                if may_go and name not in read:
                    del table[attribute]


def drop_dead(module: GraphModule, names: Collection[str]) -> None:
    """Remove the nodes of these names that nothing reads any more, those that write into each other's memory too.

    A pass over a graph's dead code leaves an operator in place alone: it may be there for its effect.
    """
    nodes = list(module.graph.nodes)
    live = with_ancestors(node for node in nodes if node.op in ("call_function", "output") and node.name not in names)
    writers = [node for node in nodes if node.name in names and writes(node)]
    while late := [node for node in writers if node not in live and memory(node) in live]:
        live |= with_ancestors(late)
    for node in reversed(nodes):
        gone = node.op == "get_attr" and not node.users
        if gone or (node.name in names and node not in live):
            module.graph.erase_node(node)


def memory(node: Node) -> Node:
    """The node whose memory an operator writes into: its first argument, through views and operators in place."""
    while node.op == "call_function" and shares_memory(node) and node.args and isinstance(node.args[0], Node):
        node = node.args[0]
    return node


def shares_memory(node: Node) -> bool:
    """Whether what an operator gives may be a view of what it was given."""
    returns = getattr(getattr(node.target, "_schema", None), "returns", [])
    return any(value.alias_info is not None for value in returns)


def with_ancestors(nodes: Iterable[Node]) -> set[Node]:
    """These nodes and all that they depend on."""
    visited, waiting = set[Node](), list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in visited:
            visited.add(node)
            waiting.extend(node.all_input_nodes)
    return visited


class Ancestry:
    """What the nodes of a graph depend on, of all of them at once.

    Args:
        order: all nodes, each after what it depends on.
        sources: what a node depends on directly; its inputs.

    Example:
        >>> graph = torch.fx.Graph()
        >>> first, other = graph.placeholder("first"), graph.placeholder("other")
        >>> double = graph.call_function(torch.add, (first, first))
        >>> Ancestry(list(graph.nodes)).of([double])
        [first, add]
    """

    def __init__(
        self, order: Sequence[Node], sources: Callable[[Node], Iterable[Node]] = lambda node: node.all_input_nodes
    ) -> None:
        self._order = order
        self._places = {node: place for place, node in enumerate(order)}
        self._masks: dict[Node, int] = {}  # a bit for each node, at its place
        for place, node in enumerate(order):
            mask = 1 << place
            for source in sources(node):
                mask |= self._masks[source]
            self._masks[node] = mask

    def of(self, nodes: Iterable[Node]) -> list[Node]:
        """These nodes and all that they depend on, in order."""
        mask = self._mask(nodes)
        return [node for place, node in enumerate(self._order) if mask >> place & 1]

    def depends(self, nodes: Iterable[Node], on: Iterable[Node]) -> bool:
        """Whether some of `nodes` are, or depend on, some of the others."""
        mask = self._mask(nodes)
        return any(mask >> self._places[other] & 1 for other in on)

    def _mask(self, nodes: Iterable[Node]) -> int:
        mask = 0
        for node in nodes:
            mask |= self._masks[node]
        return mask
