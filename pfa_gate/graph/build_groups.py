"""From a finished trace to groups: labels that touch the same axes equally often are one group."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.graph.group import OTHER_GROUP, Axis, Coupling, Group, Indices, Layer, Slice, Tap, Volume
from pfa_gate.graph.labels import Contraction, LabelFlow, UntrackedCall
from pfa_gate.graph.partition import Cluster, Reasons, Touch, clusters_of, narrowed, varying
from pfa_gate.graph.program import operator_name, shape_of
from pfa_gate.graph.sizes import Sizes

_KINDS = {
    "linear": "linear",
    "addmm": "linear",
    "matmul": "linear",
    "mm": "linear",
    "einsum": "linear",
    "embedding": "embedding",
}


def coupling_of(flow: LabelFlow) -> Coupling:
    """Build the coupling from a finished trace."""
    return _GroupBuilder(flow).coupling()


@dataclass(frozen=True)
class _Carried:
    """The axis of a value's filters, their roots, and which clusters are there with all of theirs."""

    axis: int
    roots: Indices
    complete: frozenset[int]


class _GroupBuilder:
    def __init__(self, flow: LabelFlow) -> None:
        self.flow = flow
        self._carried: dict[Node, _Carried | None] = {}
        flow.close()
        self.touches = self._touches()
        self.clusters = clusters_of(self.touches, self._reasons())
        self.makers = [self._makers(cluster) for cluster in self.clusters.each]
        self.names = tuple(_numbered(makers[0] for makers in self.makers))

    def coupling(self) -> Coupling:
        return Coupling(
            groups=tuple(self._group(index) for index in range(len(self.names))),
            layers=tuple(self._layers()),
            unknown=tuple(sorted(self.flow.unknown)),
            volumes=tuple(self._sizes()),
            program=self.flow.program,
            scattered=tuple(node.name for node in self.flow.scattered),
            normalised=tuple(node.name for node in self.flow.normalised),
            labels={node.name: self._canonical(labels) for node, labels in self.flow.values.items()},
        )

    # --- labels as roots

    def _roots(self, labels: Tensor) -> Indices:
        roots: Indices = self.flow.sets.canonical(labels).numpy()
        return roots

    def _canonical(self, labels: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
        if isinstance(labels, list):
            return [narrowed(self.flow.sets.canonical(part)) for part in labels]
        return narrowed(self.flow.sets.canonical(labels))

    def _touches(self) -> list[Touch]:
        made = {(call.weight, call.outputs) for call in self.flow.contractions}
        read = {(call.weight, call.inputs) for call in self.flow.contractions if call.inputs != OTHER_GROUP}
        axes: list[tuple[str | None, int, Tensor]] = [
            (name, axis, labels) for name, pair in self.flow.matrices.items() for axis, labels in enumerate(pair)
        ]
        multiplied = len(axes)
        axes += self._aligned_axes()
        products = (call for call in self.flow.contractions if call.weight is None)
        axes += [(None, 0, axis) for call in products for axis in call.axes]
        every = self._roots(torch.cat([labels for _, _, labels in axes])) if axes else np.zeros(0, np.int64)
        roots = np.split(every, np.cumsum([len(labels) for _, _, labels in axes])[:-1]) if axes else []
        return [
            Touch(name, axis, own, (name, axis) in made, (name, axis) in read)
            if place < multiplied
            else Touch(name, axis, own)
            for place, ((name, axis, _), own) in enumerate(zip(axes, roots, strict=True))
        ]

    def _aligned_axes(self) -> Iterator[tuple[str, int, Tensor]]:
        for name, labels in self.flow.aligned.items():
            shape = self.flow.program.tensors[name].shape
            axes = varying(labels) or [axis for axis, size in enumerate(shape) if size == labels.numel() == 1][:1]
            for axis in axes:
                yield name, axis, labels.reshape(-1)

    def _reasons(self) -> Reasons:
        """Why roots cannot be cut; of several reasons, the first."""
        texts = {pin.reason: place for place, pin in reversed(list(enumerate(self.flow.pins)))}
        of = np.full(len(self.flow.sets), -1, np.int64)
        for pin in reversed(self.flow.pins):
            of[self._roots(pin.labels)] = texts[pin.reason]
        return Reasons([pin.reason for pin in self.flow.pins], of)

    # --- groups

    @cached_property
    def _calls(self) -> dict[str, list[Contraction]]:
        """The calls of each weight, in the order of the forward pass."""
        calls: dict[str, list[Contraction]] = {}
        for call in self.flow.contractions:
            if call.weight is not None:
                calls.setdefault(call.weight, []).append(call)
        return calls

    def _makers(self, cluster: Cluster) -> list[str]:
        weights = {touch.parameter for touch in cluster.touches if touch.makes}
        return [layer_of(weight) for weight in self._calls if weight in weights]

    def _group(self, index: int) -> Group:
        cluster = self.clusters.each[index]
        reading = {touch.parameter for touch in cluster.touches if touch.reads}
        slices = (
            Slice(touch.parameter, touch.axis, self.clusters.filters(index, touch.roots))
            for touch in cluster.touches
            if touch.parameter is not None
        )
        return Group(
            name=self.names[index],
            width=len(cluster.roots),
            layers=tuple(self.makers[index]),
            readers=tuple(layer_of(weight) for weight in self._calls if weight in reading),
            slices=tuple(slices),
            taps=tuple(self._taps(index)),
            labels=cluster.roots,
            frozen=cluster.frozen,
        )

    def _taps(self, index: int) -> list[Tap]:
        sums = [tap for node in self.flow.sums if (tap := self._tap(node, index)) is not None]
        if sums:
            return sums
        weights = {touch.parameter for touch in self.clusters.each[index].touches if touch.makes}
        nodes = [call.node for weight, calls in self._calls.items() if weight in weights for call in calls]
        return [tap for node in nodes if (tap := self._tap(node, index)) is not None]

    def _tap(self, node: Node, index: int) -> Tap | None:
        """A tap where the node carries every filter of the cluster."""
        if node not in self._carried:
            self._carried[node] = self._along_one_axis(self.flow.of(node))
        carried = self._carried[node]
        if carried is None or index not in carried.complete:
            return None
        return Tap(node.name, carried.axis, self.clusters.filters(index, carried.roots))

    def _along_one_axis(self, labels: Tensor) -> _Carried | None:
        axes = varying(labels)
        if len(axes) != 1:
            return None
        roots = self._roots(labels.reshape(-1))
        _, (counts,) = self.clusters.counts([np.unique(roots)])
        return _Carried(axes[0], roots, frozenset(np.flatnonzero(counts == self.clusters.widths).tolist()))

    # --- layers

    def _layers(self) -> Iterator[Layer]:
        owners: dict[str, list[int]] = {}
        for index, makers in enumerate(self.makers):
            for layer in dict.fromkeys(makers):
                owners.setdefault(layer, []).append(index)
        for weight, calls in self.flow.calls().items():
            groups = owners.get(layer_of(weight), [])
            reasons = [reason for index in groups if (reason := self.clusters.each[index].frozen) is not None]
            frozen = reasons[0] if reasons and len(reasons) == len(groups) else None
            frozen = next((call.reason for call in calls if isinstance(call, UntrackedCall)), frozen)
            yield self._layer(weight, calls, tuple(self.names[index] for index in groups), frozen)

    def _layer(
        self, weight: str, calls: Sequence[Contraction | UntrackedCall], groups: tuple[str, ...], frozen: str | None
    ) -> Layer:
        first = calls[0]
        filters = shape_of(first.node)[filter_axis(first.node)]
        own = np.arange(filters)
        return Layer(
            name=layer_of(weight),
            kind=_KINDS.get(operator_name(first.node), "convolution"),
            filters=filters,
            weight=weight,
            axis=first.outputs,
            taps=tuple(Tap(call.node.name, filter_axis(call.node), own) for call in calls),
            groups=groups,
            frozen=frozen if groups or frozen else "its filters are not followed",
        )

    # --- sizes

    def _sizes(self) -> Iterator[Volume]:
        touched: dict[str, dict[int, Axis]] = {}
        products: list[Axis] = []
        for touch, axis in zip(self.touches, self._lengths(), strict=True):
            if touch.parameter is None:
                products.append(axis)
            else:
                touched.setdefault(touch.parameter, {})[touch.axis] = axis
        free = {name for name, cluster in zip(self.names, self.clusters.each, strict=True) if cluster.frozen is None}
        return Sizes(self.flow, touched, products, free).volumes()

    def _lengths(self) -> Iterator[Axis]:
        """Of each touched axis, the indices that always stay, and those that each group brings."""
        fixed, counts = self.clusters.counts([touch.roots for touch in self.touches])
        shares = counts / self.clusters.widths
        for others, row, present in zip(fixed.tolist(), shares, counts > 0, strict=True):
            groups = np.flatnonzero(present).tolist()
            yield Axis(others, dict(zip((self.names[index] for index in groups), row[groups].tolist(), strict=True)))


def _numbered(names: Iterable[str]) -> Iterator[str]:
    """Names, told apart by a number where one comes again: `conv`, `conv#2`."""
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name}#{seen[name]}"


def layer_of(weight: str) -> str:
    """The layer a weight belongs to: its qualified name without the last part.

    Example:
        >>> layer_of("layer1.0.conv1.weight")
        'layer1.0.conv1'
    """
    owner, _, last = weight.rpartition(".")
    return owner if owner and last in ("weight", "weight_g", "weight_v") else weight


def filter_axis(node: Node) -> int:
    """The axis of a layer's output that holds its filters."""
    return 1 if operator_name(node).startswith("conv") else len(shape_of(node)) - 1
