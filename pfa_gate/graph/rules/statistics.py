"""Statistics over axes: normalisations, sums, means, maxima and softmax.

Over space, or over each channel by itself, labels stay free. A mean and variance over channels change when a channel
goes, so no smaller model can equal the silenced one there. Such a normalisation is followed all the same, named in the
report, and proved against its own definition: the same statistics over the channels that are left.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.graph.labels import LabelFlow, Labels, NoRuleError, rule
from pfa_gate.graph.partition import varying
from pfa_gate.graph.program import argument, node_of, operator_name, shape_of
from pfa_gate.graph.rules.elementwise import meeting


@rule("batch_norm instance_norm cudnn_batch_norm native_batch_norm")
def by_channel(flow: LabelFlow, node: Node) -> Tensor:
    """Each channel (axis 1) by its own statistics: weight, bias and running statistics follow the channels."""
    source = node_of(node.args[0])
    channels = flow.along(source, 1)
    for held in node.args[1:5]:
        flow.adopt_vector(held, channels)
    return flow.of(source)


@rule("layer_norm rms_norm")
def across_last(flow: LabelFlow, node: Node) -> Tensor:
    """Statistics over the last axis: weight and bias follow it. Over several axes at once, all stays whole."""
    source = node_of(node.args[0])
    normalised: Any = node.args[1]
    labels = flow.of(source)
    held = [argument(node, 2, "weight"), argument(node, 3, "bias") if operator_name(node) == "layer_norm" else None]
    inside = [axis for axis in varying(labels) if axis >= labels.ndim - len(normalised)]
    if len(normalised) == 1 and inside:
        for tensor in held:
            flow.adopt_vector(tensor, flow.along(source, -1))
        flow.normalised.append(node)
        return flow.of(source)
    for tensor in held:
        flow.pin_value(tensor, "belongs to a normalisation over other axes")
    if inside:
        flow.pin(labels, "is normalised over several axes at once")
    return labels


@rule("group_norm")
def across_groups(flow: LabelFlow, node: Node) -> Tensor:
    """Statistics over groups of channels (axis 1): all groups keep the same places."""
    source = node_of(node.args[0])
    groups: Any = node.args[1]
    if varying(flow.of(source)) not in ([], [1]):
        raise NoRuleError("normalises another axis than that of the filters")
    channels = flow.along(source, 1).reshape(groups, -1)
    flow.meet(channels, channels[:1].expand_as(channels), "shares a normalisation with filters that cannot be cut")
    channels = flow.sets.canonical(channels).reshape(-1)
    for held in (argument(node, 2, "weight"), argument(node, 3, "bias")):
        flow.adopt_vector(held, channels)
    if groups < len(channels):
        flow.normalised.append(node)
    return channels.reshape([-1 if axis == 1 else 1 for axis in range(len(shape_of(source)))])


_ROOTS = ("rsqrt", "sqrt", "pow", "reciprocal")
_PASSING = ("to", "_to_copy", "float", "type_as")


def divides(node: Node) -> bool:
    """Whether a statistic is used only to divide by: mean of squares, plus a constant, under a root or a fraction.

    That is how RMSNorm and global response normalisation look once they are written out.
    """
    users = list(node.users)
    if not users:
        return False
    return all(_divides_by(node, user) for user in users)


def _divides_by(node: Node, user: Node) -> bool:
    name = operator_name(user) if user.op == "call_function" else ""
    if name in _ROOTS:
        return True
    if name == "div":
        return user.args[1] is node and user.args[0] is not node
    if name in _PASSING or (name in ("add", "clamp", "clamp_min") and user.all_input_nodes == [node]):
        return divides(user)
    return False


def is_statistic(node: Node) -> bool:
    """Whether a mean over channels is the statistic of a normalisation that is written out."""
    source = node.args[0]
    if not isinstance(source, Node) or source.op != "call_function":
        return False
    made = operator_name(source)
    squares = made in ("square", "linalg_vector_norm", "norm") or (made == "pow" and source.args[1] == 2)
    products = made == "mul" and len(source.all_input_nodes) == 1
    return (squares or products) and divides(node)


_ACROSS = "is reduced across channels"


@rule(
    "mean sum amax amin softmax _softmax log_softmax _log_softmax linalg_vector_norm norm var std var_mean cumsum",
    "max min logsumexp argmax argmin prod any all median",
)
def reduced(flow: LabelFlow, node: Node) -> Labels:
    """Reduce over axes without filters; filters along a reduced axis stay."""
    source = node_of(node.args[0])
    if len(node.args) > 1 and isinstance(node.args[1], Node):
        return meeting(flow, node)  # max and min of two tensors
    labels, axes = flow.of(source), _axes(node, len(shape_of(source)))
    across = set(varying(labels)) & set(axes)
    if across and operator_name(node) == "mean" and is_statistic(node):
        flow.normalised.append(node)
        return _without(torch.zeros_like(labels), axes, len(shape_of(node)))
    if across:
        flow.pin(labels, _ACROSS)
    value = node.meta["val"]
    if isinstance(value, Tensor) and value.shape == source.meta["val"].shape:
        return labels
    parts = list(value) if isinstance(value, list | tuple) else [value]
    results = [_without(labels, axes, part.ndim) for part in parts]
    return results if isinstance(value, list | tuple) else results[0]


def _without(labels: Tensor, axes: Sequence[int], left: int) -> Tensor:
    for axis in axes:
        labels = labels.narrow(axis, 0, 1)
    if left == labels.ndim:
        return labels
    return labels.reshape([size for axis, size in enumerate(labels.shape) if axis not in axes])


def _axes(node: Node, count: int) -> list[int]:
    position = 2 if operator_name(node) in ("linalg_vector_norm", "norm") else 1
    given: Any = node.args[position] if len(node.args) > position else node.kwargs.get("dim")
    if given is None or (isinstance(given, list | tuple) and not given) or isinstance(given, bool):
        return list(range(count))
    return [axis % count for axis in ([given] if isinstance(given, int) else given)]
