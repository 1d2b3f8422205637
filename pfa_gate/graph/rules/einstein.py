"""einsum of two operands: each letter is an axis; it is shared, summed, or passed on."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.graph.labels import Contraction, LabelFlow, NoRuleError, rule
from pfa_gate.graph.partition import UNTRACKED, varying
from pfa_gate.graph.program import Alias, node_of, shape_of


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
    work = places / flow.program.batch
    flow.contractions.append(Contraction(node, alias.name, alias.axes[outputs], alias.axes[inputs], work))
    return _placed(rows, equation.result.index(made[0]), len(equation.result))


def _of_activations(flow: LabelFlow, node: Node, equation: _Equation, operands: tuple[Node, Node]) -> Tensor:
    vectors = [
        _by_letter(flow, source, letters)
        for source, letters in zip(operands, (equation.left, equation.right), strict=True)
    ]
    for letter in {*vectors[0], *vectors[1]}:
        _settle_letter(flow, letter, equation, vectors)
    shared = {letter: flow.sets.canonical(labels) for found in vectors for letter, labels in found.items()}
    _note(flow, node, equation, operands, shared)
    passed = [letter for letter in equation.result if letter in shared]
    if len(passed) > 1:
        for letter in passed:
            flow.pin(shared[letter], "is multiplied along two axes")
        return torch.full((1,) * len(equation.result), UNTRACKED)
    if not passed:
        return torch.full((1,) * len(equation.result), UNTRACKED)
    return _placed(shared[passed[0]], equation.result.index(passed[0]), len(equation.result))


def _by_letter(flow: LabelFlow, source: Node, letters: str) -> dict[str, Tensor]:
    """The label of each index of the axis along which an operand's filters lie."""
    labels = flow.of(source)
    axes = varying(labels)
    if not axes and bool((labels != UNTRACKED).any()):
        flow.pin(labels, "is one filter spread over a product")
    return {letters[axis]: labels.reshape(-1) for axis in axes}


def _settle_letter(flow: LabelFlow, letter: str, equation: _Equation, vectors: list[dict[str, Tensor]]) -> None:
    in_both = letter in equation.left and letter in equation.right
    here = [found[letter] for found in vectors if letter in found]
    if in_both and len(here) == 2:
        flow.meet(here[0], here[1], "is multiplied with something that cannot be cut")
    elif in_both:
        flow.pin(here[0], "is multiplied with something that cannot be cut")
    elif letter not in equation.result:
        flow.pin(here[0], "is summed across channels")


def _note(
    flow: LabelFlow, node: Node, equation: _Equation, operands: tuple[Node, Node], shared: dict[str, Tensor]
) -> None:
    sizes = dict(zip(equation.left + equation.right, (*shape_of(operands[0]), *shape_of(operands[1])), strict=True))
    axes = tuple(shared.get(letter, torch.full((size,), UNTRACKED)) for letter, size in sizes.items())
    flow.contractions.append(Contraction(node, None, work=1 / flow.program.batch, axes=axes))


def _placed(labels: Tensor, axis: int, axes: int) -> Tensor:
    return labels.reshape([-1 if place == axis else 1 for place in range(axes)])
