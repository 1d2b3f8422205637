"""Values that are the same along the axis of the filters they meet: a mask spread over heads, zeros, a constant.

No filter made them, yet they are as wide as the filters are. They are followed back to where they are spread, and go
with the filters from there on.
"""

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.graph.labels import MOST_LABELS, LabelFlow
from pfa_gate.graph.partition import UNTRACKED, narrowed, varying
from pfa_gate.graph.program import is_tensor, operator_name, shape_of

MADE = frozenset("new_zeros new_ones new_full new_empty zeros ones full empty".split())
_SPREADING = frozenset("expand broadcast_to expand_as repeat tile".split())
_ELEMENTWISE = frozenset(
    """
    to _to_copy type_as float bool clone contiguous alias detach neg logical_not bitwise_not mul add sub rsub div eq ne
    lt gt le ge masked_fill masked_fill_ where logical_and logical_or bitwise_and bitwise_or __and__ __or__
    """.split()
)
_MOVING = frozenset("view reshape _unsafe_view unflatten flatten permute transpose unsqueeze squeeze movedim".split())

Spread = dict[Node, Tensor]


def goes_along(flow: LabelFlow, reader: Node, source: Node, labels: Tensor) -> bool:
    """Whether a value that no filter made is the same along the axis of these filters; if so, it takes their labels.

    Args:
        flow: the trace.
        reader: the operator where the value meets the filters.
        source: the value.
        labels: of the filters, as broadcast to the value's shape; they change along one axis.
    """
    found: Spread = {}
    labels = narrowed(flow.sets.canonical(labels))
    if len(varying(labels)) != 1 or bool((labels == UNTRACKED).any()) or not _followed(flow, source, labels, found):
        return False
    at = flow.order[reader]
    readers = (user for node in found for user in node.users if flow.order.get(user, at) < at)
    if any(user not in found for user in readers):
        return False  # something has read it already, as a value of which nothing is ever cut
    for node, own in found.items():
        alias = flow.tensor(node)
        if alias is not None:
            flow.adopt(alias, own)
        else:
            flow.settle(node, own)
    return True


def _followed(flow: LabelFlow, node: Node, labels: Tensor, found: Spread) -> bool:
    if node in found:
        return torch.equal(found[node], labels)
    found[node] = labels
    alias = flow.tensor(node)
    if alias is not None:
        return alias.name not in flow.aligned and alias.name not in flow.matrices
    untracked = node.op == "call_function" and not bool((flow.loose(node) != UNTRACKED).any())
    return untracked and _followed_further(flow, node, labels, found)


def _followed_further(flow: LabelFlow, node: Node, labels: Tensor, found: Spread) -> bool:
    name = operator_name(node)
    if name in MADE:
        return True
    if name in _SPREADING or name in _ELEMENTWISE:
        return _each_followed(flow, node, labels, found)
    before = _before_moved(node, labels) if name in _MOVING else None
    return before is not None and _followed(flow, node.all_input_nodes[0], before, found)


def _each_followed(flow: LabelFlow, node: Node, labels: Tensor, found: Spread) -> bool:
    """Operands that have the size 1 along the axis of the filters are spread over them right here."""
    (axis,) = varying(labels)
    back = axis - labels.ndim
    # Of the other operands of these, the sizes alone are read.
    sources = node.args[:1] if operator_name(node) in _SPREADING else tuple(node.all_input_nodes)
    for source in sources:
        if not isinstance(source, Node) or not is_tensor(source):
            continue
        shape = shape_of(source)
        if len(shape) < -back or shape[back] == 1:
            continue
        own = labels.reshape(labels.shape[labels.ndim - len(shape) :])
        if shape[back] != labels.shape[back] or not _followed(flow, source, own, found):
            return False
    return True


def _before_moved(node: Node, labels: Tensor) -> Tensor | None:
    """The labels of what an operator moves, from those of its result; None where they lie along several axes."""
    source = node.all_input_nodes[0]
    shape = shape_of(source)
    count = labels.expand(shape_of(node)).numel()
    if not is_tensor(source) or count > MOST_LABELS:
        return None
    places = torch.arange(count).reshape(shape)
    args = torch.fx.node.map_arg(node.args[1:], _number)
    target = torch.ops.aten.reshape.default if operator_name(node) in ("view", "_unsafe_view") else node.target
    moved: Tensor = target(places, *args, **node.kwargs)  # type: ignore[operator]
    before = torch.empty(count, dtype=torch.int64)
    before[moved.reshape(-1)] = labels.expand(shape_of(node)).reshape(-1)
    before = narrowed(before.reshape(shape))
    return before if len(varying(before)) == 1 else None


def _number(node: Node) -> int:
    value = node.meta["val"]
    return int(value.node.hint) if isinstance(value, torch.SymInt) else int(value)
