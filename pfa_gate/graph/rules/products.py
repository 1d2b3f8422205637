"""Products of two values: matmul and attention, where each axis is shared, summed, or passed on."""

from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.graph.labels import Contraction, LabelFlow, NoRuleError, rule
from pfa_gate.graph.partition import UNTRACKED, aligned, varying
from pfa_gate.graph.program import argument, node_of, operator_name, shape_of
from pfa_gate.graph.rules.contractions import Equation, by_held
from pfa_gate.graph.rules.elementwise import meet_operand
from pfa_gate.graph.rules.layers import multiplied


@rule("matmul", "bmm", "mm")
def product(flow: LabelFlow, node: Node) -> Tensor:
    """[…, M, K] @ […, K, N]; a held matrix on the right is a linear layer."""
    left, right = node_of(node.args[0]), node_of(node.args[1])
    if flow.tensor(right) is not None and len(shape_of(right)) == 2:
        return multiplied(flow, node, (left, right, None), (1, 0))
    if len(shape_of(left)) < 2 or len(shape_of(right)) < 2:
        raise NoRuleError("multiplies a vector")
    if flow.tensor(left) is not None or flow.tensor(right) is not None:
        return _by_held(flow, node, left, right)
    axes = max(len(shape_of(left)), len(shape_of(right)))
    one, other = (_lead(_read(flow, source), axes) for source in (left, right))
    _note_product(flow, node, one, other, (shape_of(left), shape_of(right)))
    return multiply(flow, one, other)


@rule("baddbmm")
def product_and_sum(flow: LabelFlow, node: Node) -> Tensor:
    """Input + batch1 @ batch2."""
    added, left, right = (node_of(given) for given in node.args[:3])
    if flow.tensor(left) is not None or flow.tensor(right) is not None:
        made = _by_held(flow, node, left, right)
    else:
        made = multiply(flow, _read(flow, left), _read(flow, right))
        _note_product(flow, node, flow.of(left), flow.of(right), (shape_of(left), shape_of(right)))
    meet_operand(flow, node, flow.sets.canonical(made).expand(shape_of(node)), added)
    return flow.sets.canonical(made)


def _by_held(flow: LabelFlow, node: Node, left: Node, right: Node) -> Tensor:
    """A product with a held tensor, letter by letter; leading axes of size 1 are spread over those of the other."""
    most = max(len(shape_of(left)), len(shape_of(right))) - 2
    lead = "abcdefghij"[:most]
    shapes = tuple(shape_of(each) for each in (left, right))
    if any(one != other for one, other in zip(shapes[0][-3::-1], shapes[1][-3::-1], strict=False)):
        raise NoRuleError("spreads one of its operands over the other")
    one, other = (lead[most - len(shape) + 2 :] for shape in shapes)
    equation = Equation(f"{one}mk", f"{other}kn", f"{lead}mn")
    if flow.tensor(right) is not None:
        return by_held(flow, node, equation, left, right)
    return by_held(flow, node, equation.turned, right, left)


@rule("_grouped_mm")
def grouped_product(flow: LabelFlow, node: Node) -> Tensor:
    """Rows of the input, [T, K], by the matrix of the expert that each goes to, [E, K, N]; the experts stay."""
    source, weight, bias = node_of(node.args[0]), node_of(node.args[1]), argument(node, 3, "bias")
    if len(shape_of(source)) != 2 or len(shape_of(weight)) != 3 or bias is not None:
        raise NoRuleError("does not multiply the rows of a matrix")
    flow.pin_value(argument(node, 2, "offs"), "says which rows an expert reads")
    flow.held(weight)
    return by_held(flow, node, Equation("tk", "ekn", "tn"), source, weight)


@rule("topk sort kthvalue")
def ordered(flow: LabelFlow, node: Node) -> list[Tensor]:
    """The largest along an axis without filters: experts are chosen by all of their scores."""
    source = node_of(node.args[0])
    position, default = {"topk": (2, -1), "kthvalue": (2, -1)}.get(operator_name(node), (1, -1))
    axis: Any = argument(node, position, "dim", default)
    labels = flow.loose(source)
    if axis % labels.ndim in varying(labels):
        flow.pin(labels, "is ordered across channels")
        labels = torch.full((1,) * labels.ndim, UNTRACKED)
    return [labels] * len(node.meta["val"])


def _read(flow: LabelFlow, source: Node) -> Tensor:
    """Labels of an operand; where filters lie along a batch axis, as heads do, these are kept apart."""
    return flow.of(source, range(len(shape_of(source)) - 2))


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
    flow.contractions.append(Contraction(node, None, work=1 / flow.batch, axes=tuple(vectors)))


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
    if all(outer) and not any(inner) and (flow.stays(one) or flow.stays(other)):
        return flow.sets.canonical(other if flow.stays(one) else one)
    if all(outer):
        flow.pin(one, "is multiplied along two axes")
        flow.pin(other, "is multiplied along two axes")
        return torch.zeros((1,) * one.ndim, dtype=torch.int64)
    if any(outer):
        return _outer(flow, one, other, outer)
    if any(inner):
        flow.meet(one, other.transpose(-1, -2), "is multiplied with something that cannot be cut")
        return torch.zeros((1,) * one.ndim, dtype=torch.int64)
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
    keys, values = (_repeated(_read(flow, source), shape_of(source), repeats) for source in (key, value))
    mixing = multiply(flow, _read(flow, query), keys.transpose(-1, -2))
    mask = argument(node, 3, "attn_mask")
    if isinstance(mask, Node):
        scores = (*shape_of(query)[:-1], shape_of(key)[-2])
        meet_operand(flow, node, flow.sets.canonical(mixing).expand(scores), mask)
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
    heads = [_axis_labels(flow.of(query), axis, size) for axis, size in enumerate(shape_of(query)[:-2])]
    lengths = [torch.zeros(shape_of(source)[-2], dtype=torch.int64) for source in (query, key)]
    for channels in (query, value):
        last = _axis_labels(flow.of(channels), -1, shape_of(channels)[-1])
        axes = (*heads, *lengths, last)
        flow.contractions.append(Contraction(node, None, work=1 / flow.batch, axes=axes))
