"""Products of two values: matmul, attention, and einsum, where each axis is shared, summed, or passed on."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.graph.labels import Contraction, LabelFlow, NoRuleError, rule
from pfa_gate.graph.partition import UNTRACKED, aligned, varying
from pfa_gate.graph.program import Alias, argument, node_of, shape_of
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
        raise NoRuleError("multiplies by a parameter from the left")
    axes = max(len(shape_of(left)), len(shape_of(right)))
    one, other = (_lead(_read(flow, source), axes) for source in (left, right))
    _note_product(flow, node, one, other, (shape_of(left), shape_of(right)))
    return multiply(flow, one, other)


@rule("baddbmm")
def product_and_sum(flow: LabelFlow, node: Node) -> Tensor:
    """Input + batch1 @ batch2."""
    added, left, right = (node_of(given) for given in node.args[:3])
    made = multiply(flow, _read(flow, left), _read(flow, right))
    _note_product(flow, node, flow.of(left), flow.of(right), (shape_of(left), shape_of(right)))
    meet_operand(flow, node, flow.sets.canonical(made).expand(shape_of(node)), added)
    return flow.sets.canonical(made)


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


@dataclass(frozen=True)
class _Equation:
    """`left,right->result`, one letter for each axis."""

    left: str
    right: str
    result: str


@rule("einsum")
def einsum(flow: LabelFlow, node: Node) -> Tensor:
    """Two activations, or an activation and a held matrix; anything else stays whole."""
    text, operands = str(node.args[0]), node.args[1]
    if not isinstance(operands, list | tuple) or len(operands) != 2:
        raise NoRuleError("does not have two operands")
    one, other = node_of(operands[0]), node_of(operands[1])
    equation = _parsed(text)
    if flow.tensor(one) is not None:
        one, other = other, one
        equation = _Equation(equation.right, equation.left, equation.result)
    held = flow.tensor(other)
    if held is not None:
        return _by_matrix(flow, node, equation, (one, other, held))
    return _of_activations(flow, node, equation, (one, other))


def _parsed(text: str) -> _Equation:
    inputs, arrow, result = text.replace(" ", "").partition("->")
    left, comma, right = inputs.partition(",")
    letters = left + right + result
    if (
        not arrow
        or not comma
        or not letters.isalpha()
        or any(part.count(c) > 1 for part in (left, right) for c in part)
    ):
        raise NoRuleError(f"has the equation '{text}'")
    return _Equation(left, right, result)


def _by_matrix(flow: LabelFlow, node: Node, equation: _Equation, operands: tuple[Node, Node, Alias]) -> Tensor:
    """Like a linear: one letter of the matrix is summed, the other is made."""
    source, weight, alias = operands
    summed = [letter for letter in equation.right if letter in equation.left and letter not in equation.result]
    made = [letter for letter in equation.right if letter not in equation.left and letter in equation.result]
    if len(shape_of(weight)) != 2 or len(summed) != 1 or len(made) != 1:
        raise NoRuleError("has a weight that is not a plain matrix")
    channels = flow.along(source, equation.left.index(summed[0]))
    outputs, inputs = equation.right.index(made[0]), equation.right.index(summed[0])
    rows, columns = flow.matrix(alias, outputs, inputs)
    flow.meet(columns, channels, "its input cannot be cut")
    rows = flow.sets.canonical(rows)
    places = 1
    for letter, size in zip(equation.result, shape_of(node), strict=True):
        places *= 1 if letter == made[0] else size
    work = places / flow.batch
    place = equation.result.index(made[0])
    call = flow.contraction(node, weight, ((outputs,), (inputs,)), work)
    flow.contractions.append(replace(call, channels=(place,)))
    return _placed(rows, place, len(equation.result))


def _of_activations(flow: LabelFlow, node: Node, equation: _Equation, operands: tuple[Node, Node]) -> Tensor:
    batched = {*equation.left} & {*equation.right} & {*equation.result}
    vectors = [
        _by_letter(flow, source, letters, batched)
        for source, letters in zip(operands, (equation.left, equation.right), strict=True)
    ]
    for letter in {*vectors[0], *vectors[1]}:
        _settle_letter(flow, letter, equation, vectors)
    shared = {letter: flow.sets.canonical(labels) for vector in vectors for letter, labels in vector.items()}
    _note(flow, node, equation, operands, shared)
    passed = [letter for letter in equation.result if letter in shared]
    if len(passed) > 1:
        for letter in passed:
            flow.pin(shared[letter], "is multiplied along two axes")
        return torch.full((1,) * len(equation.result), UNTRACKED)
    if not passed:
        return torch.full((1,) * len(equation.result), UNTRACKED)
    return _placed(shared[passed[0]], equation.result.index(passed[0]), len(equation.result))


def _by_letter(flow: LabelFlow, source: Node, letters: str, batched: set[str]) -> dict[str, Tensor]:
    """The label of each index of the axis along which an operand's filters lie; of heads, where there are any."""
    labels = flow.of(source, [axis for axis, letter in enumerate(letters) if letter in batched])
    axes = varying(labels)
    if not axes and bool((labels != UNTRACKED).any()):
        flow.pin(labels, "is one filter spread over a product")
    return {letters[axis]: labels.reshape(-1) for axis in axes}


def _settle_letter(flow: LabelFlow, letter: str, equation: _Equation, vectors: list[dict[str, Tensor]]) -> None:
    in_both = letter in equation.left and letter in equation.right
    own = [vector[letter] for vector in vectors if letter in vector]
    if in_both and len(own) == 2:
        flow.meet(own[0], own[1], "is multiplied with something that cannot be cut")
    elif in_both:
        flow.pin(own[0], "is multiplied with something that cannot be cut")
    elif letter not in equation.result:
        flow.pin(own[0], "is summed across channels")


def _note(
    flow: LabelFlow, node: Node, equation: _Equation, operands: tuple[Node, Node], shared: dict[str, Tensor]
) -> None:
    sizes = dict(zip(equation.left + equation.right, (*shape_of(operands[0]), *shape_of(operands[1])), strict=True))
    axes = tuple(shared.get(letter, torch.full((size,), UNTRACKED)) for letter, size in sizes.items())
    flow.contractions.append(Contraction(node, None, work=1 / flow.batch, axes=axes))


def _placed(labels: Tensor, axis: int, axes: int) -> Tensor:
    return labels.reshape([-1 if position == axis else 1 for position in range(axes)])
