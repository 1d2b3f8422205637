"""Normalisation: each channel by itself keeps labels free; across channels it is redefined on what is left.

A mean and variance over channels change when a channel goes, so no smaller model can equal the silenced one there.
Such a normalisation is followed all the same, named in the report, and proved against its own definition: the same
statistics over the channels that are left.

PYTEST_DONT_REWRITE
"""

from torch import Tensor
from torch.fx import Node

from pfa_gate.graph.labels import LabelFlow, NoRuleError, rule
from pfa_gate.graph.partition import varying
from pfa_gate.graph.program import operator_name, shape_of
from pfa_gate.graph.rules.contraction import argument


@rule("batch_norm instance_norm cudnn_batch_norm native_batch_norm")
def by_channel(flow: LabelFlow, node: Node) -> Tensor:
    """Each channel (axis 1) by its own statistics: weight, bias and running statistics follow the channels."""
    source = node.args[0]
    assert isinstance(source, Node)
    channels = flow.along(source, 1)
    for held in node.args[1:5]:
        flow.adopt_vector(held, channels)
    return flow.of(source)


@rule("layer_norm rms_norm")
def across_last(flow: LabelFlow, node: Node) -> Tensor:
    """Statistics over the last axis: weight and bias follow it. Over several axes at once, all stays whole."""
    source, normalised = node.args[0], node.args[1]
    assert isinstance(source, Node)
    assert isinstance(normalised, list | tuple)
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
    source, groups = node.args[0], node.args[1]
    assert isinstance(source, Node)
    assert isinstance(groups, int)
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
