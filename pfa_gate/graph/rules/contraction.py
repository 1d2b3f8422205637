"""Convolutions, linears and products: labels of the input end in the weight's columns, its rows start new ones."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.graph.labels import Contraction, LabelFlow, NoRuleError, UntrackedCall, rule
from pfa_gate.graph.partition import UNTRACKED, aligned, varying
from pfa_gate.graph.program import argument, node_of, shape_of
from pfa_gate.graph.rules.elementwise import meet_operand

_INPUT_FIXED = "its input cannot be cut"
_MIXES = "mixes another axis than that of the filters"


@rule("conv1d conv2d conv3d")
def convolution(flow: LabelFlow, node: Node) -> Tensor:
    """Weight [O, I / groups, k…] over axis 1 of the input."""
    source, weight, bias = node.args[0], node.args[1], argument(node, 2, "bias")
    groups: Any = argument(node, 6, "groups", 1)
    rows = _convolve(flow, source, weight, groups)
    flow.adopt_vector(bias, rows)
    alias = flow.held(weight)
    work = math.prod(shape_of(node)[2:]) * shape_of(node)[0] / flow.program.batch
    flow.contractions.append(Contraction(node, alias.name, alias.axes[0], alias.axes[1], work))
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
    """Input channel j makes the filters j m … j m + m - 1; they live and die with it."""
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
    channels = flow.along(source, 1)
    columns, rows = flow.matrix(alias, 0, 1)
    flow.meet(columns, channels, _INPUT_FIXED)
    if groups > 1:
        shared = columns.reshape(groups, -1)
        flow.sets.join(shared, shared[:1].expand_as(shared))
    made = rows.repeat(groups)
    flow.adopt_vector(bias, made)
    work = math.prod(shape_of(source)[2:]) * shape_of(node)[0] / flow.program.batch
    flow.contractions.append(Contraction(node, alias.name, alias.axes[1], alias.axes[0], work))
    return _channels(flow, made, node)


@rule("linear")
def linear(flow: LabelFlow, node: Node) -> Tensor:
    """Weight [O, I] over the last axis of the input."""
    return _multiplied(flow, node, (node.args[0], node.args[1], argument(node, 2, "bias")), (0, 1))


@rule("addmm")
def addmm(flow: LabelFlow, node: Node) -> Tensor:
    """Bias + input @ weight, weight [I, O]."""
    return _multiplied(flow, node, (node.args[1], node.args[2], node.args[0]), (1, 0))


def _multiplied(flow: LabelFlow, node: Node, operands: tuple[Any, Any, Any], axes: tuple[int, int]) -> Tensor:
    source, weight, bias = operands
    alias = flow.held(weight)
    labels = flow.of(source)
    if any(axis != labels.ndim - 1 for axis in varying(labels)):
        return _mixed_elsewhere(flow, node, operands, alias.axes[axes[0]])
    channels = flow.along(source, -1)
    rows, columns = flow.matrix(alias, *axes)
    flow.meet(columns, channels, _INPUT_FIXED)
    flow.adopt_vector(bias, rows)
    work = math.prod(shape_of(node)[:-1]) / flow.program.batch
    flow.contractions.append(Contraction(node, alias.name, alias.axes[axes[0]], alias.axes[axes[1]], work))
    return flow.sets.canonical(rows).reshape((1,) * (len(shape_of(node)) - 1) + (-1,))


def _mixed_elsewhere(flow: LabelFlow, node: Node, operands: tuple[Any, Any, Any], outputs: int) -> Tensor:
    """Filters lie along another axis than the one multiplied (token mixing): they pass, the weight stays whole."""
    source, weight, bias = operands
    for held in (weight, bias):
        flow.pin_value(held, _MIXES)
    passing = varying(flow.of(source))[0]  # one of the volume's own axes
    work = math.prod(shape_of(node)[:-1]) / shape_of(node)[passing] / flow.program.batch
    flow.whole.append(UntrackedCall(node, flow.held(weight).name, outputs, _MIXES))
    flow.contractions.append(Contraction(node, None, work=work, axes=_volume(flow, source, shape_of(node)[-1])))
    return flow.of(source).expand((*shape_of(node)[:-1], 1))


def _volume(flow: LabelFlow, source: Node, made: int) -> tuple[Tensor, ...]:
    labels, shape = flow.of(source), shape_of(source)
    axis = varying(labels)[0]
    flow_axes = [labels.reshape(-1).expand(shape[axis])]
    return (*flow_axes, torch.zeros(made * shape[-1], dtype=torch.int64))


@rule("matmul", "bmm", "mm")
def product(flow: LabelFlow, node: Node) -> Tensor:
    """[…, M, K] @ […, K, N]; a held matrix on the right is a linear layer."""
    left, right = node_of(node.args[0]), node_of(node.args[1])
    if flow.tensor(right) is not None and len(shape_of(right)) == 2:
        return _multiplied(flow, node, (left, right, None), (1, 0))
    if len(shape_of(left)) < 2 or len(shape_of(right)) < 2:
        raise NoRuleError("multiplies a vector")
    if flow.tensor(left) is not None or flow.tensor(right) is not None:
        raise NoRuleError("multiplies by a parameter from the left")
    axes = max(len(shape_of(left)), len(shape_of(right)))
    one, other = (_lead(flow.of(source), axes) for source in (left, right))
    _note_product(flow, node, one, other, (shape_of(left), shape_of(right)))
    return multiply(flow, one, other)


@rule("baddbmm")
def product_and_sum(flow: LabelFlow, node: Node) -> Tensor:
    """Input + batch1 @ batch2."""
    added, left, right = (node_of(given) for given in node.args[:3])
    made = multiply(flow, flow.of(left), flow.of(right))
    _note_product(flow, node, flow.of(left), flow.of(right), (shape_of(left), shape_of(right)))
    if flow.tensor(added) is not None:
        flow.adopt(flow.tensor(added), made.expand(shape_of(node)))  # type: ignore[arg-type]
    else:
        flow.meet(made, flow.of(added), "meets a value whose filters cannot be cut")
    return flow.sets.canonical(made)


def _lead(labels: Tensor, axes: int) -> Tensor:
    return labels.reshape((1,) * (axes - labels.ndim) + tuple(labels.shape))


def _note_product(
    flow: LabelFlow, node: Node, one: Tensor, other: Tensor, shapes: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    """Multiply-adds are batch x M x K x N; each factor shrinks with the labels along it."""
    left, right = shapes
    lead = shape_of(node)[:-2]
    box = [(axis, size) for axis, size in enumerate(lead)]
    tracked = torch.maximum(*aligned(one[..., :1, :1], other[..., :1, :1]))
    vectors = [_axis_labels(tracked, axis, size) for axis, size in box]
    vectors += [
        _axis_labels(one, -2, left[-2]),
        _axis_labels(one, -1, left[-1]),
        _axis_labels(other, -1, right[-1]),
    ]
    flow.contractions.append(Contraction(node, None, work=1 / flow.program.batch, axes=tuple(vectors)))


def _axis_labels(labels: Tensor, axis: int, size: int) -> Tensor:
    axis %= labels.ndim
    if axis in varying(labels):
        return labels.movedim(axis, 0).reshape(size, -1).amax(1)
    return torch.full((size,), UNTRACKED)


def multiply(flow: LabelFlow, one: Tensor, other: Tensor) -> Tensor:
    """Labels of one @ other: those of the inner axis end, those of outer axes pass.

    Where the inner axis loses an index, both operands must lose it; where heads lie along a batch axis, both
    operands' heads are one.
    """
    inner = (_moving(one, -1), _moving(other, -2))
    outer = (_moving(one, -2), _moving(other, -1))
    if (any(inner) and any(outer)) or all(outer):
        flow.pin(one, "is multiplied along two axes")
        flow.pin(other, "is multiplied along two axes")
        return torch.zeros((1,) * one.ndim, dtype=torch.int64)
    if any(inner):
        flow.meet(one, other.transpose(-1, -2), "is multiplied with something that cannot be cut")
        return torch.zeros((1,) * one.ndim, dtype=torch.int64)
    if any(outer):
        return _outer(flow, one, other, outer)
    _share_heads(flow, one, other)
    return flow.sets.canonical(torch.maximum(*aligned(one, other)))


def _moving(labels: Tensor, axis: int) -> bool:
    return labels.shape[axis] > 1


def _outer(flow: LabelFlow, one: Tensor, other: Tensor, outer: tuple[bool, bool]) -> Tensor:
    passing, ending = (one, other) if outer[0] else (other, one)
    flow.pin(ending, "is multiplied with filters along another axis")
    return flow.sets.canonical(passing)


def _share_heads(flow: LabelFlow, one: Tensor, other: Tensor) -> None:
    """Heads on a batch axis: a head of one is the head of the other."""
    if bool((one != UNTRACKED).any()) and bool((other != UNTRACKED).any()):
        flow.meet(one, other, "is multiplied with something that cannot be cut")
    elif varying(one) or varying(other):
        # The other operand has no filters at all: its heads stay, so these must too.
        flow.pin(one, "is multiplied with something that cannot be cut")
        flow.pin(other, "is multiplied with something that cannot be cut")


@rule("scaled_dot_product_attention")
def attention(flow: LabelFlow, node: Node) -> Tensor:
    """softmax(q kᵀ + mask) v; heads on a batch axis are shared, value channels pass through."""
    query, key, value = (node_of(given) for given in node.args[:3])
    repeats = shape_of(query)[-3] // shape_of(key)[-3] if argument(node, 7, "enable_gqa", False) else 1
    keys, values = (_repeated(flow.of(source), shape_of(source), repeats) for source in (key, value))
    mixing = multiply(flow, flow.of(query), keys.transpose(-1, -2))
    mask = argument(node, 3, "attn_mask")
    if isinstance(mask, Node):
        scores = (*shape_of(query)[:-1], shape_of(key)[-2])
        meet_operand(flow, flow.sets.canonical(mixing).expand(scores), mask)
    _note_attention(flow, node)
    return multiply(flow, flow.sets.canonical(mixing), flow.sets.canonical(values))


def _repeated(labels: Tensor, shape: tuple[int, ...], times: int) -> Tensor:
    """Grouped queries: each key and value head serves several query heads in a row."""
    if times == 1 or -3 % labels.ndim not in varying(labels):
        return labels
    return labels.expand(
        [shape[axis] if axis == labels.ndim - 3 else size for axis, size in enumerate(labels.shape)]
    ).repeat_interleave(times, -3)


def _note_attention(flow: LabelFlow, node: Node) -> None:
    query, key, value = (node_of(given) for given in node.args[:3])
    heads = [_axis_labels(flow.of(value), axis, size) for axis, size in enumerate(shape_of(value)[:-2])]
    lengths = [torch.zeros(shape_of(source)[-2], dtype=torch.int64) for source in (query, key)]
    for channels in (query, value):
        last = _axis_labels(flow.of(channels), -1, shape_of(channels)[-1])
        axes = (*heads, *lengths, last)
        flow.contractions.append(Contraction(node, None, work=1 / flow.program.batch, axes=axes))


@rule("embedding")
def embedding(flow: LabelFlow, node: Node) -> Tensor:
    """Rows are looked up, columns are the filters."""
    rows, columns = flow.matrix(flow.held(node.args[0], "looks up a computed table"), 0, 1)
    flow.pin(flow.sets.canonical(rows), "its rows are looked up by index")
    return flow.sets.canonical(columns).reshape((1,) * (len(shape_of(node)) - 1) + (-1,))
