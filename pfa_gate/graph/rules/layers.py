"""Operators that read weights: convolutions, linears, embeddings, normalisations.

In a product, labels of the input end in the weight's columns, and its rows start new ones. A normalisation of each
channel by itself keeps labels free. A mean and variance over channels change when a channel goes, so no smaller model
can equal the silenced one there. Such a normalisation is followed all the same, named in the report, and proved against
its own definition: the same statistics over the channels that are left.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.graph.labels import Contraction, LabelFlow, NoRuleError, UntrackedCall, rule
from pfa_gate.graph.partition import varying
from pfa_gate.graph.program import argument, node_of, operator_name, shape_of
from pfa_gate.graph.rules.spread import start_along

_INPUT_FIXED = "its input cannot be cut"
_MIXES = "mixes another axis than that of the filters"


@rule("conv1d conv2d conv3d")
def convolution(flow: LabelFlow, node: Node) -> Tensor:
    """Weight [O, I / groups, k…] over axis 1 of the input."""
    source, weight, bias = node.args[0], node.args[1], argument(node, 2, "bias")
    groups: Any = argument(node, 6, "groups", 1)
    start_along(flow, node, source, 1)
    rows = _convolve(flow, source, weight, groups)
    flow.adopt_vector(bias, rows)
    work = math.prod(shape_of(node)[2:]) * shape_of(node)[0] / flow.batch
    flow.contractions.append(flow.contraction(node, node_of(weight), ((0,), (1,)), work))
    return _channels(flow, rows, node)


def _convolve(flow: LabelFlow, source: Any, weight: Any, groups: int) -> Tensor:
    channels = flow.along(source, 1)
    rows, columns = flow.matrix(flow.held(weight), 0, 1)
    if groups == 1:
        flow.meet(columns, channels, _INPUT_FIXED)
    elif groups == len(channels):
        _depthwise(flow, rows, channels, groups)
    else:
        _grouped(flow, rows, columns, channels.reshape(groups, -1))
    return flow.sets.canonical(rows)


def _depthwise(flow: LabelFlow, rows: Tensor, channels: Tensor, groups: int) -> None:
    """Input channel j makes the filters j m … j m + m - 1; they are cut with it."""
    flow.meet(rows.reshape(groups, -1), channels.reshape(groups, 1), _INPUT_FIXED)


def _grouped(flow: LabelFlow, rows: Tensor, columns: Tensor, channels: Tensor) -> None:
    """All groups keep the same places, so that the weight stays one block; channels [groups, I / groups]."""
    flow.meet(channels, columns.expand_as(channels), _INPUT_FIXED)
    rows = rows.reshape(len(channels), -1)
    flow.sets.join(rows, rows[:1].expand_as(rows))


def _channels(flow: LabelFlow, rows: Tensor, node: Node) -> Tensor:
    return flow.sets.canonical(rows).reshape((1, -1) + (1,) * (len(shape_of(node)) - 2))


@rule("conv_transpose1d conv_transpose2d conv_transpose3d")
def transposed_convolution(flow: LabelFlow, node: Node) -> Tensor:
    """Weight [I, O / groups, k…]; with groups, all keep the same places."""
    source, weight, bias = node_of(node.args[0]), node.args[1], argument(node, 2, "bias")
    groups: Any = argument(node, 6, "groups", 1)
    alias = flow.held(weight)
    start_along(flow, node, source, 1)
    channels = flow.along(source, 1)
    columns, rows = flow.matrix(alias, 0, 1)
    flow.meet(columns, channels, _INPUT_FIXED)
    if groups > 1:
        shared = columns.reshape(groups, -1)
        flow.sets.join(shared, shared[:1].expand_as(shared))
    made = rows.repeat(groups)
    flow.adopt_vector(bias, made)
    work = math.prod(shape_of(source)[2:]) * shape_of(node)[0] / flow.batch
    flow.contractions.append(flow.contraction(node, node_of(weight), ((1,), (0,)), work))
    return _channels(flow, made, node)


@rule("linear")
def linear(flow: LabelFlow, node: Node) -> Tensor:
    """Weight [O, I] over the last axis of the input."""
    return multiplied(flow, node, (node.args[0], node.args[1], argument(node, 2, "bias")), (0, 1))


@rule("addmm")
def addmm(flow: LabelFlow, node: Node) -> Tensor:
    """Bias + input @ weight, weight [I, O]."""
    return multiplied(flow, node, (node.args[1], node.args[2], node.args[0]), (1, 0))


def multiplied(flow: LabelFlow, node: Node, operands: tuple[Any, Any, Any], axes: tuple[int, int]) -> Tensor:
    """A product with a held matrix over the last axis of the input.

    Args:
        flow: the trace.
        node: the product.
        operands: input, weight and bias, which may be None.
        axes: the weight's axes of filters made and filters read.
    """
    source, weight, bias = operands
    alias = flow.held(weight)
    start_along(flow, node, source, -1)
    labels = flow.of(source, (len(shape_of(source)) - 1,))
    if any(axis != labels.ndim - 1 for axis in varying(labels)):
        return _mixed_along_another_axis(flow, node, operands, alias.axes[axes[0]])
    channels = flow.along(source, -1)
    rows, columns = flow.matrix(alias, *axes)
    flow.meet(columns, channels, _INPUT_FIXED)
    flow.adopt_vector(bias, rows)
    work = math.prod(shape_of(node)[:-1]) / flow.batch
    flow.contractions.append(flow.contraction(node, weight, ((axes[0],), (axes[1],)), work))
    return flow.sets.canonical(rows).reshape((1,) * (len(shape_of(node)) - 1) + (-1,))


def _mixed_along_another_axis(flow: LabelFlow, node: Node, operands: tuple[Any, Any, Any], outputs: int) -> Tensor:
    """Filters lie along another axis than the one multiplied (token mixing): they pass, the weight stays whole."""
    source, weight, bias = operands
    for held in (weight, bias):
        flow.pin_value(held, _MIXES)
    passing = varying(flow.of(source))[0]  # one of the volume's own axes
    work = math.prod(shape_of(node)[:-1]) / shape_of(node)[passing] / flow.batch
    alias = flow.held(weight)
    flow.untracked.append(UntrackedCall(node, alias.name, (outputs,), flow.layer_name(alias), _MIXES))
    flow.contractions.append(Contraction(node, None, work=work, axes=_volume(flow, source, shape_of(node)[-1])))
    return flow.of(source).expand((*shape_of(node)[:-1], 1))


def _volume(flow: LabelFlow, source: Node, made: int) -> tuple[Tensor, ...]:
    labels, shape = flow.of(source), shape_of(source)
    axis = varying(labels)[0]
    flow_axes = [labels.reshape(-1).expand(shape[axis])]
    return (*flow_axes, torch.zeros(made * shape[-1], dtype=torch.int64))


@rule("embedding")
def embedding(flow: LabelFlow, node: Node) -> Tensor:
    """Rows are looked up, columns are the filters."""
    rows, columns = flow.matrix(flow.held(node.args[0], "looks up a computed table"), 0, 1)
    flow.pin(flow.sets.canonical(rows), "its rows are looked up by index")
    return flow.sets.canonical(columns).reshape((1,) * (len(shape_of(node)) - 1) + (-1,))


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
    """Statistics over groups of channels (axis 1): all groups keep the same places; or each channel is its own."""
    source = node_of(node.args[0])
    groups: Any = node.args[1]
    if varying(flow.of(source)) not in ([], [1]):
        raise NoRuleError("normalises another axis than that of the filters")
    channels = flow.along(source, 1)
    if groups < len(channels):
        places = channels.reshape(groups, -1)
        flow.meet(places, places[:1].expand_as(places), "shares a normalisation with filters that cannot be cut")
        channels = flow.sets.canonical(channels)
    for held in (argument(node, 2, "weight"), argument(node, 3, "bias")):
        flow.adopt_vector(held, channels)
    if groups < len(channels):
        flow.normalised.append(node)
    return channels.reshape([-1 if axis == 1 else 1 for axis in range(len(shape_of(source)))])
