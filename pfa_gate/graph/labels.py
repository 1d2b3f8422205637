"""Labels flow through the program: every value carries, for each of its elements, whose filter it is.

Operators that only move data run as themselves on the labels; elementwise operators join labels that meet;
convolutions, linears and products end the labels of their input and start those of their output; an operator
without a rule pins what it touches, which is never wrong, only less compressed.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.graph.group import layer_of
from pfa_gate.graph.held_labels import Axes, HeldLabels, NoRuleError, Pin
from pfa_gate.graph.partition import narrowed, varying
from pfa_gate.graph.program import Alias, shape_of

__all__ = ["RULES", "Contraction", "LabelFlow", "Labels", "NoRuleError", "Pin", "Residual", "UntrackedCall", "rule"]

Labels = Tensor | list[Tensor]
Residual = Literal["project", "pad"]
MOST_LABELS = 2_000_000  # a moved table larger than this is left whole


@dataclass(frozen=True)
class Contraction:
    """A product that ends labels and starts new ones: one call of a layer, or of two activations.

    Attributes:
        node: the call in the graph.
        weight: the tensor's name, or None for a product of two activations.
        outputs, inputs: the weight's axes of filters made and filters read.
        work: multiply-adds of one sample for one element of the weight (or of the product's own volume).
        axes: for a product of two activations, or with a part of a weight, the label vectors whose lengths multiply
            to its volume; of a part, first those of the filters made.
        layer: the name of the layer; None for a product of two activations.
        channels: the axes of the value along which the filters made lie; none where the operator tells.
        rows: the indices of the weight's axis of filters that are in the part; none: all, in order.
    """

    node: Node
    weight: str | None
    outputs: Axes = (0,)
    inputs: Axes = (1,)
    work: float = 0.0
    axes: tuple[Tensor, ...] = ()
    layer: str | None = None
    channels: Axes = ()
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class UntrackedCall:
    """One call of a layer whose filters are not followed: it is measured and never cut.

    Attributes:
        node: the call in the graph.
        weight: the tensor's name.
        outputs: the weight's axis of filters made.
        layer: its name.
        reason: why they are not followed.
        channels, rows: as of a `Contraction`.
    """

    node: Node
    weight: str
    outputs: Axes
    layer: str
    reason: str
    channels: Axes = ()
    rows: tuple[int, ...] = ()


@dataclass
class LabelFlow(HeldLabels):
    """The state of one trace: rules write it, and `build_groups` reads it afterwards."""

    values: dict[Node, Labels] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    contractions: list[Contraction] = field(default_factory=list)
    untracked: list[UntrackedCall] = field(default_factory=list)
    sums: list[Node] = field(default_factory=list)
    normalised: list[Node] = field(default_factory=list)
    silent: set[Node] = field(default_factory=set)
    near_attention: frozenset[Node] = frozenset()
    near_output: frozenset[Node] = frozenset()
    residual: Residual = "project"
    scattered: list[Node] = field(default_factory=list)
    layer_names: dict[tuple[Any, ...], str] = field(default_factory=dict)
    _versions: dict[Node, int] = field(default_factory=dict)  # of the sets, when a value's labels were stored

    # --- reading

    @cached_property
    def batch(self) -> int:
        """Samples in the example."""
        return self.program.batch

    @cached_property
    def order(self) -> dict[Node, int]:
        """The place of each operator in the forward pass."""
        return {node: position for position, node in enumerate(self.program.nodes)}

    def loose(self, node: Node) -> Tensor:
        """Labels of a value, narrowed: each axis has size 1 or its full size.

        They may change along several axes, as those of heads and of the channels in each head do.
        """
        if node in self.program.aliases:
            return self.of_tensor(self.program.aliases[node])
        labels = self.values.get(node)
        if labels is None:
            return torch.zeros((1,) * len(shape_of(node)), dtype=torch.int64)
        if isinstance(labels, list):
            raise NoRuleError("reads several values at once")
        if self._versions.get(node) != self.sets.version:
            roots = self.sets.canonical(labels)
            if roots is not labels:
                self.values[node] = labels = narrowed(roots)
            self._versions[node] = self.sets.version
        return labels

    def of(self, node: Node, preferred: Collection[int] | None = None) -> Tensor:
        """Labels of a value, narrowed, such that what survives of it is a box: one axis keeps its filters apart.

        Args:
            node: the value.
            preferred: if filters lie along one of these axes, it is the one.
        """
        labels = self.loose(node)
        if len(varying(labels)) > 1:
            if preferred is None:  # a head stays whole: its width, the last axis, is not kept apart if there are heads
                preferred = range(labels.ndim - 1 if node in self.near_attention else labels.ndim)
            labels = self.boxed(labels, preferred)
            if node in self.values:
                self._store(node, labels)
        return labels

    def apart_from(self, node: Node, axes: Collection[int], *, strictly: bool = True) -> Tensor:
        """Labels of a value for an operator that reads along some axes: all as they are, if they change along others.

        Args:
            node: the value.
            axes: along which the operator reads.
            strictly: where labels change along these axes and others, keep them apart along others.
        """
        labels = self.loose(node)
        if not set(varying(labels)) & set(axes):
            return labels
        return self.of(node, [axis for axis in range(labels.ndim) if axis not in axes] if strictly else None)

    def full(self, node: Node) -> Tensor:
        """Labels of a value at its full shape."""
        return self.of(node).expand(shape_of(node))

    def along(self, node: Node, axis: int) -> Tensor:
        """The label of each index of one axis, [size].

        Raises:
            NoRuleError: the labels change along another axis.
        """
        shape = shape_of(node)
        axis %= len(shape)
        labels = self.of(node, (axis,))
        if any(other != axis for other in varying(labels)):
            raise NoRuleError("reads filters that lie along another axis")
        return labels.reshape(-1).expand(shape[axis])

    def calls(self) -> dict[str, list[Contraction | UntrackedCall]]:
        """The calls of each layer, followed or not, in the order of the forward pass."""
        every: list[Contraction | UntrackedCall] = [*self.contractions, *self.untracked]
        by_layer: dict[str, list[Contraction | UntrackedCall]] = {}
        for call in sorted(every, key=lambda call: self.order[call.node]):
            if call.layer is not None:
                by_layer.setdefault(call.layer, []).append(call)
        return by_layer

    # --- held tensors

    def start(self, node: Node) -> None:
        """A tensor that is moved before it meets anything starts labels of its own, one for each element.

        A constant that is one number everywhere, such as zeros, waits for what it meets.
        """
        alias = self.tensor(node)
        if alias is None or alias.name in self.aligned:
            return
        tensor = self.program.tensors[alias.name]
        if alias.name in self.program.folded and tensor.numel() > 1 and bool((tensor == tensor.flatten()[0]).all()):
            return
        integers = not (tensor.is_floating_point() or tensor.is_complex())
        if alias.name in self.matrices or integers or tensor.numel() > MOST_LABELS:
            self.pin_value(node, "is a weight that is moved")
        else:
            self.begin(alias)

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

    def contraction(self, node: Node, weight: Node, axes: tuple[Axes, Axes], work: float) -> Contraction:
        """A call that multiplies by a held tensor or a part of it; the axes of filters made and read are the node's."""
        alias = self.held(weight)
        outputs, inputs = (tuple(alias.axes[axis] for axis in each) for each in axes)
        made = Contraction(node, alias.name, outputs, inputs, work, layer=self.layer_name(alias))
        if not alias.parts:
            return made
        sides = self.matrix(alias, *axes)
        rest = prod(size for axis, size in enumerate(shape_of(weight)) if axis not in (*axes[0], *axes[1]))
        vectors = tuple(side.reshape(-1) for side in sides)
        return replace(made, work=work * rest, axes=vectors, rows=alias.parts.get(outputs[0], ()))

    def layer_name(self, alias: Alias) -> str:
        """What a weight's layer is called; where several parts of it are layers, the later ones have a number too."""
        key = (alias.name, *sorted(alias.parts.items()))
        if key not in self.layer_names:
            number, base = 1, layer_of(alias.name)
            name = base
            while name in self.layer_names.values():
                number += 1
                name = f"{base}_{number}"
            self.layer_names[key] = name
        return self.layer_names[key]

    # --- writing

    def pin_value(self, node: object, reason: str) -> None:
        """Never cut a filter of a value, or an index of a held tensor."""
        if not isinstance(node, Node):
            return
        alias = self.tensor(node)
        if alias is not None:
            self.pin_held(alias.name, reason)
            return
        labels = self.values.get(node)
        for part in labels if isinstance(labels, list) else [labels]:
            if part is not None:
                self.pin(self.sets.canonical(part), reason)

    def settle(self, node: Node, labels: Labels) -> None:
        """Store a node's labels."""
        if isinstance(labels, list):
            self.values[node] = [narrowed(self.sets.canonical(part)) for part in labels]
            return
        shape = shape_of(node)
        labels = labels.expand(shape) if labels.ndim != len(shape) else labels
        self._store(node, labels)

    def _store(self, node: Node, labels: Tensor) -> None:
        self.values[node], self._versions[node] = narrowed(self.sets.canonical(labels)), self.sets.version

    def close(self) -> None:
        """At the end of the trace: whatever is cut, a box is left of every value and of every held tensor."""
        self.refresh()
        for node, labels in self.values.items():
            if isinstance(labels, Tensor) and len(varying(labels)) > 1:
                self.of(node)
        for name, roots in zip(self.aligned, self.sets.canonical_each(list(self.aligned.values())), strict=True):
            labels = narrowed(roots)
            self.aligned[name] = self.boxed(labels) if len(varying(labels)) > 1 else labels
        for sides in self.matrices.values():
            sides.update({axes: self.boxed(labels) for axes, labels in sides.items() if len(axes) > 1})
        self.refresh()

    def refresh(self) -> None:
        """Labels of values as roots, narrowed."""
        nodes = [node for node, labels in self.values.items() if isinstance(labels, Tensor)]
        stored = [self.values[node] for node in nodes]
        for node, labels, roots in zip(nodes, stored, self.sets.canonical_each(stored), strict=True):  # type: ignore[arg-type]
            self.values[node] = labels if roots is labels else narrowed(roots)
            self._versions[node] = self.sets.version


Rule = Callable[[LabelFlow, Node], Labels | None]
AnyRule = TypeVar("AnyRule", bound=Rule)
RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[AnyRule], AnyRule]:
    """Register a function as the rule of these operators; a string may hold several names."""

    def register(function: AnyRule) -> AnyRule:
        RULES.update(dict.fromkeys(" ".join(names).split(), function))
        return function

    return register
