"""Normalisation: each channel by itself keeps labels free; across channels the rule is stricter."""

from torch import Tensor
from torch.fx import Node

from pfa_gate.coupling.flow import Flow, NoRuleError, rule
from pfa_gate.coupling.partition import varying


@rule("batch_norm", "instance_norm", "cudnn_batch_norm", "native_batch_norm")
def by_channel(flow: Flow, node: Node) -> Tensor:
    """Each channel (axis 1) by its own statistics: weight, bias and running statistics follow the channels."""
    source = node.args[0]
    assert isinstance(source, Node)
    channels = flow.along(source, 1)
    for held in node.args[1:5]:
        flow.adopt_vector(held, channels)
    return flow.of(source)


@rule("layer_norm", "rms_norm")
def across_last(flow: Flow, node: Node) -> Tensor:
    """Statistics over the last axes: filters along another axis pass, filters along these stay whole."""
    source, normalised = node.args[0], node.args[1]
    assert isinstance(source, Node)
    assert isinstance(normalised, list | tuple)
    labels = flow.of(source)
    inside = [axis for axis in varying(labels) if axis >= labels.ndim - len(normalised)]
    for held in node.args[2:4]:
        flow.pin_value(held, "belongs to a normalisation across channels")
    if inside:
        flow.pin(labels, "is normalised across channels")
    return flow.of(source)


@rule("group_norm")
def across_groups(flow: Flow, node: Node) -> Tensor:
    """Statistics over groups of channels: its channels stay whole."""
    source = node.args[0]
    assert isinstance(source, Node)
    if varying(flow.of(source)) not in ([], [1]):
        raise NoRuleError("normalises another axis than that of the filters")
    flow.pin(flow.of(source), "is normalised across channels")
    for held in node.args[2:4]:
        flow.pin_value(held, "belongs to a normalisation across channels")
    return flow.of(source)
