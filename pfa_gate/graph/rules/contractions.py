"""Products letter by letter: einsum, and products with held tensors of three axes or more, such as those of experts.

A letter is summed, passed on, made by a held tensor, or shared by both operands as heads and experts are. What a held
tensor makes is the same place of each expert: hidden units of all experts are cut alike, and no expert goes.
"""

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.graph.labels import Contraction, LabelFlow, NoRuleError, UntrackedCall, rule
from pfa_gate.graph.partition import UNTRACKED, varying
from pfa_gate.graph.program import node_of, shape_of

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_INPUT_FIXED = "its input cannot be cut"
_OTHER_FIXED = "is multiplied with something that cannot be cut"
_SUMMED = "is summed across channels"
_MIXES = "mixes another axis than that of the filters"


@dataclass(frozen=True)
class Equation:
    """`left,right->result`, one letter for each axis.

    Example:
        >>> Equation.parsed("...d,dk->...k", ((2, 5, 4), (4, 6)))
        Equation(left='abd', right='dk', result='abk')
    """

    left: str
    right: str
    result: str

    @classmethod
    def parsed(cls, text: str, shapes: tuple[tuple[int, ...], ...]) -> "Equation":
        """An equation of one operand or two; dots and a result that is left out become letters.

        Raises:
            NoRuleError: an operand has a letter twice, or a letter has several sizes.
        """
        inputs, arrow, result = text.replace(" ", "").partition("->")
        parts = inputs.split(",")
        if not arrow:
            once = sorted(letter for letter in set(inputs) - set(",.") if inputs.count(letter) == 1)
            result = ("..." if "..." in inputs else "") + "".join(once)
        spare = "".join(letter for letter in _LETTERS if letter not in text)
        dots = [len(shape) - len(part.replace("...", "")) for part, shape in zip(parts, shapes, strict=True)]
        most = max([0, *(count for part, count in zip(parts, dots, strict=True) if "..." in part)])
        written = [
            part.replace("...", spare[most - count : most] if count else "")
            for part, count in zip(parts, dots, strict=True)
        ]
        found = cls(written[0], written[1] if len(written) > 1 else "", result.replace("...", spare[:most]))
        axes = (zip(part, shape, strict=True) for part, shape in zip(written, shapes, strict=True))
        sizes = {pair for each in axes for pair in each}
        twice = any(part.count(letter) > 1 for part in (*written, found.result) for letter in part)
        if twice or len(sizes) > len({letter for letter, _ in sizes}):
            raise NoRuleError(f"has the equation '{text}'")
        return found

    @property
    def turned(self) -> "Equation":
        """The operands in the other order."""
        return Equation(self.right, self.left, self.result)


@rule("einsum")
def einsum(flow: LabelFlow, node: Node) -> Tensor:
    """One operand, two, or more that are activations."""
    operands: Any = node.args[1]
    sources = [node_of(each) for each in operands]
    if len(sources) > 2:
        return _of_many(flow, str(node.args[0]), sources)
    equation = Equation.parsed(str(node.args[0]), tuple(shape_of(source) for source in sources))
    if len(sources) == 1:
        return _of_one(flow, sources[0], equation)
    one, other = sources
    if flow.tensor(one) is not None:
        one, other, equation = other, one, equation.turned
    if flow.tensor(other) is not None:
        return by_held(flow, node, equation, one, other)
    return _of_activations(flow, node, equation, (one, other))


def _of_one(flow: LabelFlow, source: Node, equation: Equation) -> Tensor:
    """Axes moved, or summed where no filters lie."""
    kept = [axis for axis, letter in enumerate(equation.left) if letter in equation.result]
    labels = flow.of(source, kept)
    if set(varying(labels)) - set(kept):
        flow.pin(labels, _SUMMED)
        return torch.full((1,) * len(equation.result), UNTRACKED)
    return (
        labels.permute([*kept, *(axis for axis in range(labels.ndim) if axis not in kept)])
        .reshape([labels.shape[axis] for axis in kept])
        .permute([[equation.left[axis] for axis in kept].index(letter) for letter in equation.result])
    )


# --- a held tensor


def by_held(flow: LabelFlow, node: Node, equation: Equation, source: Node, weight: Node) -> Tensor:
    """Like a linear layer: letters of the weight are summed, or made.

    Args:
        flow: the trace.
        node: the product.
        equation: its right operand is the weight.
        source: the other operand.
        weight: that is held.
    """
    summed = [letter for letter in equation.right if letter in equation.left and letter not in equation.result]
    made = [letter for letter in equation.right if letter not in equation.left and letter in equation.result]
    labels = flow.apart_from(source, [axis for axis, letter in enumerate(equation.left) if letter not in summed])
    apart = [equation.left[axis] for axis in varying(labels)]
    if any(letter not in summed for letter in apart):
        return _along_another_letter(flow, node, equation, labels, (source, weight))
    if not summed or not made:
        raise NoRuleError("has a weight that is not a plain matrix")
    return _made(flow, node, equation, labels, (weight, "".join(summed), "".join(made)))


def _made(flow: LabelFlow, node: Node, equation: Equation, labels: Tensor, held: tuple[Node, str, str]) -> Tensor:
    weight, summed, made = held
    inputs, outputs = (tuple(equation.right.index(letter) for letter in letters) for letters in (summed, made))
    rows, columns = flow.matrix(flow.held(weight), outputs, inputs)
    flow.meet(columns, _restricted(labels, equation.left, summed), _INPUT_FIXED)
    channels = tuple(equation.result.index(letter) for letter in made)
    call = flow.contraction(node, weight, (outputs, inputs), _work(flow, node, equation, weight, summed))
    flow.contractions.append(replace(call, channels=channels))
    return _placed(flow.sets.canonical(rows), made, equation.result)


def _work(flow: LabelFlow, node: Node, equation: Equation, weight: Node, summed: str) -> float:
    """Multiply-adds of one sample for each element of the weight."""
    sizes = dict(zip(equation.right, shape_of(weight), strict=True))
    return prod(shape_of(node)) * prod(sizes[letter] for letter in summed) / prod(sizes.values()) / flow.batch


def _restricted(labels: Tensor, letters: str, kept: str) -> Tensor:
    """Labels along these letters, of an operand whose labels change along no other."""
    line = labels.permute([*map(letters.index, kept), *(axis for axis, each in enumerate(letters) if each not in kept)])
    return line.reshape(line.shape[: len(kept)])


def _placed(labels: Tensor, letters: str, result: str) -> Tensor:
    """Labels along these letters, as labels of the result."""
    order = [letter for letter in result if letter in letters]
    turned = labels.permute([letters.index(letter) for letter in order])
    sizes = dict(zip(order, turned.shape, strict=True))
    return turned.reshape([sizes.get(letter, 1) for letter in result])


def _along_another_letter(
    flow: LabelFlow, node: Node, equation: Equation, labels: Tensor, operands: tuple[Node, Node]
) -> Tensor:
    """Filters along a letter that is not summed pass; what the weight has along it, as for heads, goes with them."""
    (letter,) = (equation.left[axis] for axis in varying(labels))
    line = labels.reshape(-1)
    if letter in equation.right:
        flow.adopt(flow.held(operands[1]), _placed(line, letter, equation.right))
    else:
        flow.pin_value(operands[1], _MIXES)
    _note_whole(flow, node, equation, {letter: line}, operands)
    if letter not in equation.result:
        flow.pin(line, _SUMMED)
        return torch.full((1,) * len(equation.result), UNTRACKED)
    return _placed(flow.sets.canonical(line), letter, equation.result)


def _note_whole(
    flow: LabelFlow, node: Node, equation: Equation, known: dict[str, Tensor], operands: tuple[Node, Node]
) -> None:
    """The layer is measured; its work shrinks with what passes through it."""
    alias = flow.held(operands[1])
    made = [letter for letter in equation.right if letter in equation.result and letter not in known]
    axis = alias.axes[equation.right.index(made[-1])] if made else -1
    if axis >= 0:
        channels = (equation.result.index(made[-1]),)
        flow.untracked.append(UntrackedCall(node, alias.name, (axis,), flow.layer_name(alias), _MIXES, channels))
    _note(flow, node, equation, operands, known)


# --- two activations


def _of_activations(flow: LabelFlow, node: Node, equation: Equation, operands: tuple[Node, Node]) -> Tensor:
    batched = {*equation.left} & {*equation.right} & {*equation.result}
    vectors = [
        _by_letter(flow, source, letters, batched)
        for source, letters in zip(operands, (equation.left, equation.right), strict=True)
    ]
    for letter in {*vectors[0], *vectors[1]}:
        _settle_letter(flow, letter, equation, vectors)
    shared = {letter: flow.sets.canonical(labels) for vector in vectors for letter, labels in vector.items()}
    _note(flow, node, equation, operands, shared)
    return _passed(flow, shared, equation.result)


def _passed(flow: LabelFlow, shared: dict[str, Tensor], result: str) -> Tensor:
    """The labels of a product: of several letters that pass on, those of most filters do; the others stay."""
    passed = [letter for letter in result if letter in shared]
    passed = [letter for letter in passed if not flow.stays(shared[letter])] if len(passed) > 1 else passed
    if not passed:
        return torch.full((1,) * len(result), UNTRACKED)
    most = max(passed, key=lambda letter: (len(torch.unique(shared[letter])), letter))
    for letter in passed:
        if letter != most:
            flow.pin(shared[letter], "is multiplied along two axes")
    return _placed(shared[most], most, result)


def _of_many(flow: LabelFlow, text: str, sources: list[Node]) -> Tensor:
    """Three operands or more, such as those that feed the state of Mamba; none of them held."""
    inputs, arrow, result = text.replace(" ", "").partition("->")
    letters = inputs.split(",")
    repeated = any(len({*part}) < len(part) for part in letters)
    if not arrow or "." in text or repeated or any(flow.tensor(source) is not None for source in sources):
        raise NoRuleError("has more than two operands, with dots, a letter twice, or a weight")
    batched = {letter for letter in result if inputs.count(letter) > 1}
    vectors = [_by_letter(flow, source, part, batched) for source, part in zip(sources, letters, strict=True)]
    for letter in {letter for vector in vectors for letter in vector}:
        own = [vector[letter] for vector in vectors if letter in vector]
        if len(own) < inputs.count(letter):
            flow.pin(torch.cat(own), _OTHER_FIXED)
        elif len(own) == 1 and letter not in result:
            flow.pin(own[0], _SUMMED)
        for other in own[1:]:
            flow.meet(own[0], other, _OTHER_FIXED)
    return _passed(flow, {key: flow.sets.canonical(line) for vector in vectors for key, line in vector.items()}, result)


def _by_letter(flow: LabelFlow, source: Node, letters: str, batched: set[str]) -> dict[str, Tensor]:
    """The label of each index of the axis along which an operand's filters lie; of heads, where there are any."""
    labels = flow.of(source, [axis for axis, letter in enumerate(letters) if letter in batched])
    axes = varying(labels)
    if not axes and bool((labels != UNTRACKED).any()):
        flow.pin(labels, "is one filter spread over a product")
    return {letters[axis]: labels.reshape(-1) for axis in axes}


def _settle_letter(flow: LabelFlow, letter: str, equation: Equation, vectors: list[dict[str, Tensor]]) -> None:
    in_both = letter in equation.left and letter in equation.right
    own = [vector[letter] for vector in vectors if letter in vector]
    if in_both and len(own) == 2:
        flow.meet(own[0], own[1], _OTHER_FIXED)
    elif in_both:
        flow.pin(own[0], _OTHER_FIXED)
    elif letter not in equation.result:
        flow.pin(own[0], _SUMMED)


def _note(
    flow: LabelFlow, node: Node, equation: Equation, operands: tuple[Node, Node], shared: dict[str, Tensor]
) -> None:
    if not any(letter in equation.right and letter not in equation.result for letter in equation.left):
        return  # nothing is added up
    sizes = dict(zip(equation.left + equation.right, (*shape_of(operands[0]), *shape_of(operands[1])), strict=True))
    axes = tuple(shared.get(letter, torch.full((size,), UNTRACKED)) for letter, size in sizes.items())
    flow.contractions.append(Contraction(node, None, work=1 / flow.batch, axes=axes))
