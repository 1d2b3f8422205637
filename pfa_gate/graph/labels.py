"""Labels flow through the program: every value carries, for each of its elements, whose filter it is.

Operators that only move data run as themselves on the labels; elementwise operators join labels that meet;
convolutions, linears and products end the labels of their input and start those of their output; an operator
without a rule pins what it touches, which is never wrong, only less compressed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.graph.partition import UNTRACKED, Partition, aligned, narrowed, varying
from pfa_gate.graph.program import Alias, Program, shape_of

Labels = Tensor | list[Tensor]
Residual = Literal["project", "pad"]
MOST_LABELS = 2_000_000  # a moved table larger than this is left whole


class NoRuleError(Exception):
    """An operator meets labels in a way its rule does not cover; what it touches is pinned."""


@dataclass(frozen=True)
class Contraction:
    """A product that ends labels and starts new ones: one call of a layer, or of two activations.

    Attributes:
        node: the call in the graph.
        weight: the tensor's name, or None for a product of two activations.
        outputs, inputs: the weight's axes of filters made and filters read.
        work: multiply-adds of one sample for one element of the weight (or of the product's own volume).
        axes: for a product of two activations, the label vectors whose lengths multiply to its volume.
    """

    node: Node
    weight: str | None
    outputs: int = 0
    inputs: int = 1
    work: float = 0.0
    axes: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class UntrackedCall:
    """One call of a layer whose filters are not followed: it is measured and never cut.

    Attributes:
        node: the call in the graph.
        weight: the tensor's name.
        outputs: the weight's axis of filters made.
        reason: why they are not followed.
    """

    node: Node
    weight: str
    outputs: int
    reason: str


@dataclass(frozen=True)
class Pin:
    """Labels that must stay, and why."""

    labels: Tensor
    reason: str


@dataclass
class LabelFlow:
    """The state of one trace: rules write it, and `build_groups` reads it afterwards."""

    program: Program
    sets: Partition = field(default_factory=Partition)
    values: dict[Node, Labels] = field(default_factory=dict)
    matrices: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    aligned: dict[str, Tensor] = field(default_factory=dict)
    pins: list[Pin] = field(default_factory=list)
    unknown: dict[str, int] = field(default_factory=dict)
    contractions: list[Contraction] = field(default_factory=list)
    untracked: list[UntrackedCall] = field(default_factory=list)
    sums: list[Node] = field(default_factory=list)
    normalised: list[Node] = field(default_factory=list)
    near_attention: frozenset[Node] = frozenset()
    near_output: frozenset[Node] = frozenset()
    residual: Residual = "project"
    scattered: list[Node] = field(default_factory=list)

    # --- reading

    def of(self, node: Node) -> Tensor:
        """Labels of a value, narrowed: each axis has size 1 or its full size."""
        if node in self.program.aliases:
            return self._of_tensor(self.program.aliases[node])
        labels = self.values.get(node)
        if labels is None:
            return torch.zeros((1,) * len(shape_of(node)), dtype=torch.int64)
        if isinstance(labels, list):
            raise NoRuleError("reads several values at once")
        return narrowed(self.sets.canonical(labels))

    def full(self, node: Node) -> Tensor:
        """Labels of a value at its full shape."""
        return self.of(node).expand(shape_of(node))

    def along(self, node: Node, axis: int) -> Tensor:
        """The label of each index of one axis, [size].

        Raises:
            NoRuleError: the labels change along another axis.
        """
        labels, shape = self.of(node), shape_of(node)
        axis %= len(shape)
        if any(other != axis for other in varying(labels)):
            raise NoRuleError("reads filters that lie along another axis")
        return labels.reshape(-1).expand(shape[axis])

    def calls(self) -> dict[str, list[Contraction | UntrackedCall]]:
        """The calls of each weight, followed or not, in the order of the forward pass."""
        order = {node: position for position, node in enumerate(self.program.nodes)}
        every: list[Contraction | UntrackedCall] = [*self.contractions, *self.untracked]
        by_weight: dict[str, list[Contraction | UntrackedCall]] = {}
        for call in sorted(every, key=lambda call: order[call.node]):
            if call.weight is not None:
                by_weight.setdefault(call.weight, []).append(call)
        return by_weight

    def tensor(self, node: object) -> Alias | None:
        """What held tensor a node stands for, if any."""
        return self.program.aliases.get(node) if isinstance(node, Node) else None

    # --- held tensors

    def held(self, node: object, fault: str = "has a weight that is computed from the input") -> Alias:
        """What held tensor a node stands for.

        Raises:
            NoRuleError: it stands for none; the error says `fault` of the operator.
        """
        alias = self.tensor(node)
        if alias is None:
            raise NoRuleError(fault)
        return alias

    def matrix(self, alias: Alias, outputs: int, inputs: int) -> tuple[Tensor, Tensor]:
        """Labels of a weight's filters made and read; the axes are those of the node, not of the tensor.

        Raises:
            NoRuleError: the tensor is already used elementwise.
        """
        if alias.name in self.aligned:
            raise NoRuleError("its weight is used elementwise too")
        shape = self.program.tensors[alias.name].shape
        if alias.name not in self.matrices:
            self.matrices[alias.name] = (self.sets.fresh(shape[0]), self.sets.fresh(shape[1]))
        rows = self.matrices[alias.name]
        return rows[alias.axes[outputs]], rows[alias.axes[inputs]]

    def adopt(self, alias: Alias, labels: Tensor) -> None:
        """A tensor used elementwise takes the labels of what it meets; `labels` is [node's shape], broadcastable."""
        labels = narrowed(labels.expand([self.program.tensors[alias.name].shape[axis] for axis in alias.axes]))
        if alias.name in self.matrices:
            self._pin_matrix(alias.name, "its weight is used elementwise too")
            self.pin(labels, "meets a weight matrix elementwise")
        elif alias.name in self.aligned:
            self.meet(self._of_tensor(alias), labels, "meets a tensor that is shared with uncut filters")
        else:
            self.aligned[alias.name] = labels.permute([alias.axes.index(axis) for axis in range(labels.ndim)])

    def start(self, node: Node) -> None:
        """A tensor that is moved before it meets anything starts labels of its own, one for each element."""
        alias = self.tensor(node)
        if alias is None or alias.name in self.aligned:
            return
        tensor = self.program.tensors[alias.name]
        if alias.name in self.matrices or not tensor.is_floating_point() or tensor.numel() > MOST_LABELS:
            self.pin_value(node, "is a weight that is moved")
        else:
            self.aligned[alias.name] = self.sets.fresh(tensor.numel()).reshape(tensor.shape)

    def adopt_vector(self, node: object, labels: Tensor) -> None:
        """A 1-d tensor, such as a bias or a running mean, follows `labels` [size]."""
        if node is None:
            return
        alias = self.tensor(node)
        if alias is not None and len(alias.axes) == 1:
            self.adopt(alias, labels)
        else:
            self.pin(labels, "meets a computed bias")
            self.pin_value(node, "is a computed bias")

    def _of_tensor(self, alias: Alias) -> Tensor:
        held = self.aligned.get(alias.name)
        if held is None:
            return torch.zeros((1,) * len(alias.axes), dtype=torch.int64)
        return narrowed(self.sets.canonical(held).permute(alias.axes))

    # --- writing

    def meet(self, one: Tensor, other: Tensor, reason: str) -> None:
        """Join labels at the same place; a label that meets something always present is pinned."""
        self.sets.join(one, other)
        one, other = aligned(self.sets.canonical(one), self.sets.canonical(other))
        lonely = ((one == UNTRACKED) != (other == UNTRACKED)).nonzero(as_tuple=True)
        if len(lonely[0]):
            self.pin(torch.maximum(one, other)[lonely], reason)

    def pin(self, labels: Tensor, reason: str) -> None:
        """Never cut these filters."""
        tracked = torch.unique(labels[labels != UNTRACKED])
        if len(tracked):
            self.pins.append(Pin(tracked, reason))

    def pin_value(self, node: object, reason: str) -> None:
        """Never cut a filter of a value, or an index of a held tensor."""
        if not isinstance(node, Node):
            return
        alias = self.tensor(node)
        if alias is not None:
            self._pin_held(alias.name, reason)
            return
        labels = self.values.get(node)
        for part in labels if isinstance(labels, list) else [labels]:
            if part is not None:
                self.pin(self.sets.canonical(part), reason)

    def _pin_held(self, name: str, reason: str) -> None:
        if name in self.matrices:
            self._pin_matrix(name, reason)
        elif name in self.aligned:
            self.pin(self.sets.canonical(self.aligned[name]), reason)
        else:
            self.aligned[name] = torch.zeros((1,) * self.program.tensors[name].ndim, dtype=torch.int64)

    def _pin_matrix(self, name: str, reason: str) -> None:
        for labels in self.matrices[name]:
            self.pin(self.sets.canonical(labels), reason)

    def merge(self, labels: Tensor, axes: Sequence[int]) -> Tensor:
        """Make the labels along `axes` one set each, so that they are cut together or not at all; the rest stays apart.

        Labels that share a place with something always present are pinned.
        """
        moved = labels.movedim(list(axes), list(range(len(axes)))).flatten(0, len(axes) - 1)
        strongest = moved.amax(0, keepdim=True)
        self.meet(moved, strongest.expand_as(moved), "shares an index with something that cannot be cut")
        return narrowed(self.sets.canonical(labels))

    def settle(self, node: Node, labels: Labels) -> None:
        """Store a node's labels such that what survives of it is always a box: one axis keeps its filters apart."""
        if isinstance(labels, list):
            self.values[node] = [self.boxed(part, node in self.near_attention) for part in labels]
            return
        shape = shape_of(node)
        self.values[node] = self.boxed(
            labels.expand(shape) if labels.ndim != len(shape) else labels, node in self.near_attention
        )

    def boxed(self, labels: Tensor, heads: bool = False) -> Tensor:
        """Labels that change along one axis only: that with the most sets; for attention, the axis of the heads."""
        labels = narrowed(self.sets.canonical(labels))
        axes = varying(labels)
        if len(axes) > 1:
            # A head stays whole: the width of a head is the last axis and is never the one kept apart.
            candidates = [axis for axis in axes if axis != labels.ndim - 1] if heads else axes
            apart = max(candidates, key=lambda axis: (_distinct(labels, axis), axis))
            labels = self.merge(labels, [axis for axis in axes if axis != apart])
        return labels


def _distinct(labels: Tensor, axis: int) -> int:
    return len(torch.unique(labels.movedim(axis, 0).flatten(1).amax(1)))


Rule = Callable[[LabelFlow, Node], Labels | None]
AnyRule = TypeVar("AnyRule", bound=Rule)
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[AnyRule], AnyRule]:
    """Register a function as the rule of these operators; a string may hold several names."""

    def register(function: AnyRule) -> AnyRule:
        RULES.update(dict.fromkeys(" ".join(names).split(), function))
        return function

    return register
