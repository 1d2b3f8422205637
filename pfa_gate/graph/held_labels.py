"""Labels of the tensors that a model holds: what is known of their filters, which of these are one, and which stay."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from math import prod

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.graph.partition import UNTRACKED, Partition, narrowed, varying
from pfa_gate.graph.program import Alias, Program

Axes = tuple[int, ...]


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
        matrices: tensors that are multiplied by, and the labels of the axes along which filters are made or read.
        whole: those of them that must stay, and why.
        aligned: tensors that are used elementwise, and their labels, broadcastable to their shape.
        pins: labels that must stay.
    """

    program: Program
    sets: Partition = field(default_factory=Partition)
    matrices: dict[str, dict[Axes, Tensor]] = field(default_factory=dict)
    whole: dict[str, str] = field(default_factory=dict)
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

    def matrix(self, alias: Alias, outputs: int | Axes, inputs: int | Axes) -> tuple[Tensor, Tensor]:
        """Labels of a weight's filters made and read; the axes are those of the node, not of the tensor.

        Raises:
            NoRuleError: the tensor is used in another way already.
        """
        if alias.name in self.aligned:
            raise NoRuleError("its weight is used elementwise too")
        return self._side(alias, outputs), self._side(alias, inputs)

    def _side(self, alias: Alias, node_axes: int | Axes) -> Tensor:
        given = (node_axes,) if isinstance(node_axes, int) else node_axes
        axes = tuple(alias.axes[axis] for axis in given)
        order = tuple(sorted(axes))
        sides = self.matrices.setdefault(alias.name, {})
        if -1 in axes or any(set(axes) & set(other) for other in sides if other != order):
            raise NoRuleError("its weight is used in another way too")
        if order not in sides:
            shape = [self.program.tensors[alias.name].shape[axis] for axis in order]
            sides[order] = self.sets.fresh(prod(shape)).reshape(shape)
            if alias.name in self.whole:
                self.pin(sides[order], self.whole[alias.name])
        labels = sides[order]
        for place, axis in enumerate(order):
            if axis in alias.parts:
                labels = labels.index_select(place, torch.tensor(alias.parts[axis]))
        return labels.permute([order.index(axis) for axis in axes])

    def adopt(self, alias: Alias, labels: Tensor) -> None:
        """A tensor used elementwise takes the labels of what it meets; `labels` is [node's shape], broadcastable."""
        labels = narrowed(labels.expand(self._shape(alias)))
        if alias.name in self.matrices:
            self._pin_matrix(alias.name, "its weight is used elementwise too")
            self.pin(labels, "meets a weight matrix elementwise")
        elif alias.name in self.aligned:
            self.meet(self.of_tensor(alias), labels, "meets a tensor that is shared with uncut filters")
        elif alias.whole:
            self.aligned[alias.name] = labels.permute([alias.axes.index(axis) for axis in range(labels.ndim)])
        else:
            self._adopt_part(alias, self.boxed(labels))

    def _adopt_part(self, alias: Alias, labels: Tensor) -> None:
        """Along the axis of the filters, indices that are not in the part have labels of their own; the rest is cut."""
        tensor = self.program.tensors[alias.name]
        if not varying(labels):
            self.pin(labels, "is spread over a part of a tensor")
            self.aligned[alias.name] = torch.zeros((1,) * tensor.ndim, dtype=torch.int64)
            return
        axis = alias.axes[varying(labels)[0]]
        shape = [-1 if other == axis else 1 for other in range(tensor.ndim)]
        own = self.sets.fresh(tensor.shape[axis]) if axis in alias.parts else labels
        self.aligned[alias.name] = own.reshape(shape)
        self.sets.join(self.of_tensor(alias), labels)

    def begin(self, alias: Alias) -> None:
        """A tensor that is moved before it meets anything has a label for each element of the part that is read.

        What is not in the part is cut like what is: nothing reads it here.
        """
        shape = self._shape(alias)
        own = self.sets.fresh(prod(shape)).reshape(shape)
        kept = [axis for axis in alias.axes if axis >= 0]
        tensor = self.program.tensors[alias.name]
        own = own.reshape([size for size, axis in zip(shape, alias.axes, strict=True) if axis >= 0])
        own = own.permute([kept.index(axis) for axis in sorted(kept)])
        for axis in range(tensor.ndim):
            if axis not in kept:
                own = own.unsqueeze(axis)
            elif axis in alias.parts:
                places = torch.zeros(tensor.shape[axis], dtype=torch.int64)
                places[torch.tensor(alias.parts[axis])] = torch.arange(len(alias.parts[axis]))
                own = own.index_select(axis, places)
        self.aligned[alias.name] = own

    def of_tensor(self, alias: Alias) -> Tensor:
        """Labels of a held tensor that is used elementwise, narrowed; the axes are those of the node."""
        held = self.aligned.get(alias.name)
        if held is None:
            return torch.zeros((1,) * len(alias.axes), dtype=torch.int64)
        for axis, indices in alias.parts.items():
            if held.shape[axis] > 1:
                held = held.index_select(axis, torch.tensor(indices))
        kept = [axis for axis in alias.axes if axis >= 0]
        held = held.permute([*kept, *(axis for axis in range(held.ndim) if axis not in kept)])
        held = held.reshape(held.shape[: len(kept)])
        for place, axis in enumerate(alias.axes):
            held = held.unsqueeze(place) if axis < 0 else held
        return narrowed(self.sets.canonical(held))

    def _shape(self, alias: Alias) -> list[int]:
        """The shape of a node that stands for a held tensor."""
        shape = self.program.tensors[alias.name].shape
        return [1 if axis < 0 else len(alias.parts.get(axis, range(shape[axis]))) for axis in alias.axes]

    def pin_held(self, name: str, reason: str) -> None:
        """Never cut an index of a held tensor."""
        if name in self.matrices:
            self._pin_matrix(name, reason)
        elif name in self.aligned:
            self.pin(self.sets.canonical(self.aligned[name]), reason)
        else:
            self.aligned[name] = torch.zeros((1,) * self.program.tensors[name].ndim, dtype=torch.int64)

    def _pin_matrix(self, name: str, reason: str) -> None:
        self.whole.setdefault(name, reason)
        for labels in self.matrices[name].values():
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

    def stays(self, labels: Tensor) -> bool:
        """Whether none of these filters can be cut, as is known by now."""
        tracked = torch.unique(self.sets.canonical(labels))
        pinned = [self.sets.canonical(pin.labels) for pin in self.pins]
        return bool(torch.isin(tracked[tracked != UNTRACKED], torch.cat([torch.zeros(0), *pinned]).long()).all())

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
