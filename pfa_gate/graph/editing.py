"""An exported program as a module of its own graph, and tensors and nodes put into it and taken out of it."""

from collections.abc import Collection, Iterable

from torch import Tensor, nn
from torch.fx import GraphModule, Node

from pfa_gate.graph.constants import writes
from pfa_gate.graph.program import Program


def unlifted(program: Program) -> GraphModule:
    """The exported program as a module of its own graph; it shares its tensors with the model.

    It stores what the model stores: tensors that are in no state dict are buffers that do not persist.
    """
    module = program.exported.module(check_guards=False)
    graph = module.graph  # the exporter's own copy
    graph._tracer_cls = None  # the exporter's tracer takes part in no unpickling: another rank could not read the model
    result = GraphModule(module, graph)
    for node in graph.nodes:
        if node.op == "get_attr" and node.target not in program.exported.state_dict:
            _leave_unstored(result, str(node.target))
    return result


def _leave_unstored(module: nn.Module, name: str) -> None:
    owner_name, _, attribute = name.rpartition(".")
    owner = module.get_submodule(owner_name)
    tensor = getattr(owner, attribute)
    if isinstance(tensor, Tensor) and attribute not in owner._parameters:
        delattr(owner, attribute)
        owner.register_buffer(attribute, tensor, persistent=False)


def register(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
    """Put a parameter at its qualified name, in the place of a buffer of this name."""
    owner, _, attribute = name.rpartition(".")
    for part in filter(None, owner.split(".")):
        if part not in module._modules:
            module.add_module(part, nn.Module())
        module = module.get_submodule(part)
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
    while late := [node for node in writers if node not in live and _memory(node) in live]:
        live |= with_ancestors(late)
    for node in reversed(nodes):
        gone = node.op == "get_attr" and not node.users
        if gone or (node.name in names and node not in live):
            module.graph.erase_node(node)


def _memory(node: Node) -> Node:
    """The node whose memory an operator writes into: its first argument, through views and operators in place."""
    while node.op == "call_function" and _shares_memory(node) and node.args and isinstance(node.args[0], Node):
        node = node.args[0]
    return node


def _shares_memory(node: Node) -> bool:
    returns = getattr(getattr(node.target, "_schema", None), "returns", [])
    return any(each.alias_info is not None for each in returns)


def with_ancestors(nodes: Iterable[Node]) -> set[Node]:
    """These nodes and all that they depend on."""
    found, waiting = set[Node](), list(nodes)
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(node.all_input_nodes)
    return found
