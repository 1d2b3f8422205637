"""Values that are the same along the axis of the filters they meet: a mask spread over heads, zeros, a constant.

No filter made them, yet they are as wide as the filters are. They are followed back to where they are spread, and go
with the filters from there on: zeros that are a first hidden state, zeros beside filters, a tensor that is filled part
by part.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.graph.labels import MOST_LABELS, RULES, LabelFlow
from pfa_gate.graph.partition import UNTRACKED, narrowed, varying
from pfa_gate.graph.program import argument, is_tensor, operator_name, shape_of
from pfa_gate.graph.silent import note_silent

MADE = frozenset("new_zeros new_ones new_full new_empty zeros ones full empty".split())
_SPREADING = frozenset("expand broadcast_to expand_as repeat tile".split())
_ELEMENTWISE = frozenset(
    """
    to _to_copy type_as float bool clone contiguous alias detach neg logical_not bitwise_not mul add sub rsub div eq ne
    lt gt le ge masked_fill masked_fill_ where logical_and logical_or bitwise_and bitwise_or __and__ __or__ zeros_like
    ones_like full_like empty_like sqrt rsqrt reciprocal pow square exp clamp clamp_min clamp_max relu tanh sigmoid
    """.split()
)
_MOVING = frozenset("view reshape _unsafe_view unflatten flatten permute transpose unsqueeze squeeze movedim".split())
_PARTS = frozenset("slice narrow select cat concat view_as_complex view_as_real".split())

Spread = dict[Node, Tensor]


def goes_along(flow: LabelFlow, reader: Node, source: Node, labels: Tensor) -> bool:
    """Whether a value that no filter made is the same along the axis of these filters; if so, it takes their labels.

    Args:
        flow: the trace.
        reader: the operator where the value meets the filters.
        source: the value.
        labels: of the filters, as broadcast to the value's shape; they change along one axis.
    """
    labels = narrowed(flow.sets.canonical(labels))
    whole = len(varying(labels)) == 1 and not bool((labels == UNTRACKED).any())
    return whole and _take(flow, reader, source, labels)


def start_along(flow: LabelFlow, reader: Node, source: object, axis: int) -> None:
    """Start labels along an axis of a value that no filter made, where it is the same along it, or is stored.

    Args:
        flow: the trace.
        reader: the operator that reads filters along this axis.
        source: the value; of several put side by side, those that are the same along the axis start labels.
        axis: the axis.
    """
    if not isinstance(source, Node) or not is_tensor(source) or bool((flow.loose(source) != UNTRACKED).any()):
        return
    labels = _fresh(flow, source, axis % len(shape_of(source)))
    if labels is not None:
        _take(flow, reader, source, labels)


def _fresh(flow: LabelFlow, node: Node, axis: int) -> Tensor | None:
    shape = shape_of(node)
    if operator_name(node) in ("cat", "concat") and _axis(node) == axis:
        sources: Any = node.args[0]
        parts = [_fresh(flow, source, axis) for source in sources]
        nothing = [
            torch.zeros([shape_of(source)[axis] if each == axis else 1 for each in range(len(shape))])
            for source in sources
        ]
        both = zip(parts, nothing, strict=True)
        found = [other.long() if part is None else part for part, other in both]
        return torch.cat(found, axis) if any(part is not None for part in parts) else None
    if shape[axis] == 1 or not (node.meta["val"].is_floating_point() or node.meta["val"].is_complex()):
        return None
    labels = flow.sets.fresh(shape[axis]).reshape([-1 if each == axis else 1 for each in range(len(shape))])
    return labels if _followed(flow, node, labels, {}) else None


def _take(flow: LabelFlow, reader: Node, source: Node, labels: Tensor) -> bool:
    """Give a value these labels, and what it is made from its own, if all of them is the same along their axis."""
    found: Spread = {}
    late = _late_readers(flow, found, flow.order[reader]) if _followed(flow, source, labels, found) else None
    if late is None:
        return False
    for node, own in reversed(found.items()):
        alias = flow.tensor(node)
        if alias is not None:
            flow.adopt(alias, own)
        else:
            flow.settle(node, own)
            note_silent(flow, node)
    for node in late:
        made = RULES[operator_name(node)](flow, node)
        if made is not None:
            flow.settle(node, made)
    return True


def _late_readers(flow: LabelFlow, found: Spread, at: int) -> list[Node] | None:
    """What has moved these values before, to be followed anew; None where one was read as a value without filters."""
    late: dict[Node, None] = {}
    waiting = list(found)
    while waiting:
        for user in waiting.pop().users:
            if flow.order.get(user, at) >= at or user in found or user in late:
                continue
            if operator_name(user) not in _MOVING | _PARTS | _SPREADING | _ELEMENTWISE:
                return None
            late[user] = None
            waiting.append(user)
    return sorted(late, key=flow.order.__getitem__)


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
    if name == "view_as_real" and varying(labels) == [labels.ndim - 1]:
        return False
    if name in _PARTS and len(varying(labels)) == 1:  # a part of one index, or of none, has no filters to go with
        return all(_followed(flow, source, own, found) for source, own in _before_parted(flow, node, labels))
    before = _before_moved(node, labels) if name in _MOVING else None
    return before is not None and _followed(flow, node.all_input_nodes[0], before, found)


def _before_parted(flow: LabelFlow, node: Node, labels: Tensor) -> Iterator[tuple[Node, Tensor]]:
    """What an operator takes a part of, or puts together, with the labels of each; a rest has labels of its own."""
    (along,) = varying(labels)
    name, axis = operator_name(node), _axis(node)
    source: Any = node.args[0]
    if name in ("view_as_complex", "view_as_real"):
        yield source, labels[..., None] if name == "view_as_complex" else labels.select(-1, 0)
    elif name == "select":
        yield source, labels.unsqueeze(axis)
    elif name in ("slice", "narrow"):
        yield source, _with_rest(flow, node, labels) if axis == along else labels
    else:
        sizes = [shape_of(part)[axis] for part in source]
        parts = labels.split_with_sizes(sizes, axis) if axis == along else [labels] * len(sizes)
        yield from ((each, own) for each, own in zip(source, parts, strict=True) if bool((own != UNTRACKED).any()))


def _with_rest(flow: LabelFlow, node: Node, labels: Tensor) -> Tensor:
    """The labels of an axis from those of a slice of it."""
    (axis,) = varying(labels)
    size = shape_of(node.all_input_nodes[0])[axis]
    args = torch.fx.node.map_arg(node.args[2:], _number)
    target: Any = node.target
    whole = flow.sets.fresh(size)
    whole[target(torch.arange(size), 0, *args)] = labels.reshape(-1)
    return whole.reshape([-1 if each == axis else 1 for each in range(labels.ndim)])


def _axis(node: Node) -> int:
    """The axis along which an operator takes a part of a value, or puts parts together."""
    source = node.all_input_nodes[0]
    given: Any = argument(node, 1, "dim", 0)
    return given % len(shape_of(source)) if isinstance(given, int) else 0


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
    return int(node.meta["val"])
