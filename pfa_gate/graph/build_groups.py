"""From a finished trace to groups: labels that touch the same axes equally often are one group."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.graph.group import Axis, Coupling, Group, Indices, Layer, Slice, Tap, Volume
from pfa_gate.graph.labels import Contraction, LabelFlow, UntrackedCall
from pfa_gate.graph.partition import Cluster, Clusters, Reasons, Touch, clusters_of, narrowed, varying
from pfa_gate.graph.program import operator_name, shape_of
from pfa_gate.graph.sizes import Sizes

_KINDS = {
    "linear": "linear",
    "addmm": "linear",
    "matmul": "linear",
    "mm": "linear",
    **dict.fromkeys(("einsum", "bmm", "baddbmm", "_grouped_mm"), "linear"),
    "embedding": "embedding",
    **dict.fromkeys(("getitem", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell"), "recurrent"),  # one value of several
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
        found = clusters_of(self.touches, self._reasons())
        # Rows of a weight of which only other parts are read make nothing.
        makers = [(cluster, self._makers(cluster)) for cluster in found.each]
        self.clusters = Clusters([cluster for cluster, layers in makers if layers], found.size)
        self.makers = [layers for _, layers in makers if layers]
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
        return labels

    def _touches(self) -> list[Touch]:
        made = {(call.weight, axis) for call in self.flow.contractions for axis in call.outputs}
        read = {(call.weight, axis) for call in self.flow.contractions for axis in call.inputs}
        axes: list[tuple[str | None, int, Tensor]] = list(self._matrix_axes())
        multiplied = len(axes)
        axes += self._aligned_axes()
        axes += [(None, 0, axis) for call in self.flow.contractions for axis in call.axes]
        every = self._roots(torch.cat([labels for _, _, labels in axes])) if axes else np.zeros(0, np.int64)
        roots = np.split(every, np.cumsum([len(labels) for _, _, labels in axes])[:-1]) if axes else []
        return [
            Touch(name, axis, own, (name, axis) in made, (name, axis) in read)
            if place < multiplied
            else Touch(name, axis, own)
            for place, ((name, axis, _), own) in enumerate(zip(axes, roots, strict=True))
        ]

    def _matrix_axes(self) -> Iterator[tuple[str, int, Tensor]]:
        for name, sides in self.flow.matrices.items():
            for axes, labels in sorted(sides.items()):
                for place in [0] if len(axes) == 1 else varying(labels):
                    yield name, axes[place], labels.reshape(-1)

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
        """The calls of each layer, in the order of the forward pass."""
        calls: dict[str, list[Contraction]] = {}
        for call in self.flow.contractions:
            if call.layer is not None:
                calls.setdefault(call.layer, []).append(call)
        return calls

    def _makers(self, cluster: Cluster) -> list[str]:
        weights = {touch.parameter for touch in cluster.touches if touch.makes}
        return [
            layer for layer, calls in self._calls.items() if any(self._makes(each, cluster, weights) for each in calls)
        ]

    def _makes(self, call: Contraction, cluster: Cluster, weights: set[str | None]) -> bool:
        """Of a part of a weight, whether these filters are among its own."""
        if call.weight not in weights:
            return False
        return not call.axes or bool(np.isin(self._roots(call.axes[0]), cluster.roots).any())

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
            readers=tuple(
                layer for layer, calls in self._calls.items() if any(each.weight in reading for each in calls)
            ),
            slices=tuple(slices),
            taps=tuple(self._taps(index)),
            labels=cluster.roots,
            frozen=cluster.frozen,
        )

    def _taps(self, index: int) -> list[Tap]:
        sums = [tap for node in self.flow.sums if (tap := self._tap(node, index)) is not None]
        if sums:
            return sums
        nodes = dict.fromkeys(call.node for layer in self.makers[index] for call in self._calls[layer])
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
        for layer, calls in self.flow.calls().items():
            groups = owners.get(layer, [])
            reasons = [reason for index in groups if (reason := self.clusters.each[index].frozen) is not None]
            frozen = reasons[0] if reasons and len(reasons) == len(groups) else None
            frozen = next((call.reason for call in calls if isinstance(call, UntrackedCall)), frozen)
            yield self._layer(layer, calls, tuple(self.names[index] for index in groups), frozen)

    def _layer(
        self, name: str, calls: Sequence[Contraction | UntrackedCall], groups: tuple[str, ...], frozen: str | None
    ) -> Layer:
        first = calls[0]
        axis = self._made_axis(first)
        filters = shape_of(first.node)[_filter_axis(first, axis)]
        own = np.arange(filters)
        distinct = {call.node: call for call in calls}.values()
        return Layer(
            name=name,
            kind=_KINDS.get(operator_name(first.node), "convolution"),
            filters=filters,
            weight=str(first.weight),
            axis=axis,
            taps=tuple(Tap(call.node.name, _filter_axis(call, axis), own) for call in distinct),
            groups=groups,
            frozen=frozen if groups or frozen else "its filters are not followed",
            rows=np.array(first.rows) if first.rows else np.arange(filters) % self._size(str(first.weight), axis),
        )

    def _made_axis(self, call: Contraction | UntrackedCall) -> int:
        """The axis of a weight along which a layer's filters are kept apart."""
        labels = self.flow.matrices.get(str(call.weight), {}).get(tuple(sorted(call.outputs)))
        apart = [] if labels is None or len(call.outputs) == 1 else varying(labels)
        return sorted(call.outputs)[apart[0]] if apart else call.outputs[-1]

    def _size(self, weight: str, axis: int) -> int:
        return int(self.flow.program.tensors[weight].shape[axis])

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
        alike: dict[bytes, Axis] = {}  # a layer's biases and statistics have the axis of its filters
        for others, row in zip(fixed.tolist(), counts, strict=True):
            key = others.to_bytes(8) + row.tobytes()
            if key not in alike:
                groups = np.flatnonzero(row).tolist()
                shares = (row[groups] / self.clusters.widths[groups]).tolist()
                alike[key] = Axis(others, dict(zip((self.names[index] for index in groups), shares, strict=True)))
            yield alike[key]


def _numbered(names: Iterable[str]) -> Iterator[str]:
    """Names, told apart by a number where one comes again: `conv`, `conv#2`."""
    seen: dict[str, int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        yield name if seen[name] == 1 else f"{name}#{seen[name]}"


def _filter_axis(call: Contraction | UntrackedCall, axis: int) -> int:
    """The axis of a layer's output that holds its filters; `axis` is theirs in the weight."""
    if call.channels:
        return call.channels[call.outputs.index(axis)]
    return 1 if operator_name(call.node).startswith("conv") else len(shape_of(call.node)) - 1
