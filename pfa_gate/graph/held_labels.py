"""Labels of the tensors that a model holds: what is known of their filters, which of these are one, and which stay."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.graph.partition import UNTRACKED, Partition, narrowed, varying
from pfa_gate.graph.program import Alias, Program


class NoRuleError(Exception):
    """An operator meets labels in a way its rule does not cover; what it touches is pinned."""


@dataclass(frozen=True)
class Pin:
    """Labels that must stay, and why."""

    labels: Tensor
    reason: str


@dataclass
class HeldLabels:
    """The labels of held tensors, and the sets of all labels.

    Attributes:
        program: the model.
        sets: which labels are one filter.
        matrices: tensors that are multiplied by, and the labels of their first two axes.
        aligned: tensors that are used elementwise, and their labels, broadcastable to their shape.
        pins: labels that must stay.
    """

    program: Program
    sets: Partition = field(default_factory=Partition)
    matrices: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    aligned: dict[str, Tensor] = field(default_factory=dict)
    pins: list[Pin] = field(default_factory=list)

    # --- held tensors

    def tensor(self, node: object) -> Alias | None:
        """What held tensor a node stands for, if any."""
        return self.program.aliases.get(node) if isinstance(node, Node) else None

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
            self.meet(self.of_tensor(alias), labels, "meets a tensor that is shared with uncut filters")
        else:
            self.aligned[alias.name] = labels.permute([alias.axes.index(axis) for axis in range(labels.ndim)])

    def of_tensor(self, alias: Alias) -> Tensor:
        """Labels of a held tensor that is used elementwise, narrowed; the axes are those of the node."""
        held = self.aligned.get(alias.name)
        if held is None:
            return torch.zeros((1,) * len(alias.axes), dtype=torch.int64)
        return narrowed(self.sets.canonical(held).permute(alias.axes))

    def pin_held(self, name: str, reason: str) -> None:
        """Never cut an index of a held tensor."""
        if name in self.matrices:
            self._pin_matrix(name, reason)
        elif name in self.aligned:
            self.pin(self.sets.canonical(self.aligned[name]), reason)
        else:
            self.aligned[name] = torch.zeros((1,) * self.program.tensors[name].ndim, dtype=torch.int64)

    def _pin_matrix(self, name: str, reason: str) -> None:
        for labels in self.matrices[name]:
            self.pin(self.sets.canonical(labels), reason)

    # --- all labels

    def meet(self, one: Tensor, other: Tensor, reason: str) -> None:
        """Join labels at the same place; a label that meets something always present is pinned."""
        lonely = self.sets.join(one, other)
        if len(lonely):
            self.pin(lonely, reason)

    def pin(self, labels: Tensor, reason: str) -> None:
        """Never cut these filters."""
        tracked = torch.unique(labels[labels != UNTRACKED])
        if len(tracked):
            self.pins.append(Pin(tracked, reason))

    def merge(self, labels: Tensor, axes: Sequence[int]) -> Tensor:
        """Make the labels along `axes` one set each, so that they are cut together or not at all; the rest stays apart.

        Labels that share a place with something always present are pinned.
        """
        moved = labels.movedim(list(axes), list(range(len(axes)))).flatten(0, len(axes) - 1)
        strongest = moved.amax(0, keepdim=True)
        self.meet(moved, strongest.expand_as(moved), "shares an index with something that cannot be cut")
        # What is always present beside them stays as they do: it goes by their label, so that one axis is left.
        return narrowed(self.sets.canonical(labels.amax(list(axes), keepdim=True)))

    def boxed(self, labels: Tensor, preferred: Collection[int] = ()) -> Tensor:
        """Labels that change along one axis only: that with the most sets, of those that are preferred if any are."""
        labels = narrowed(self.sets.canonical(labels))
        axes = varying(labels)
        if len(axes) > 1:
            candidates = [axis for axis in axes if axis in preferred] or axes
            apart = max(candidates, key=lambda axis: (_distinct(labels, axis), axis))
            labels = self.merge(labels, [axis for axis in axes if axis != apart])
        return labels


def _distinct(labels: Tensor, axis: int) -> int:
    return len(torch.unique(labels.movedim(axis, 0).flatten(1).amax(1)))
