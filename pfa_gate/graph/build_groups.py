"""From a finished trace to groups: labels that touch the same axes equally often are one group."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor
from torch.fx import Node

from pfa_gate.graph.group import OTHER_GROUP, Coupling, Group, Indices, Layer, Slice, Tap, Volume
from pfa_gate.graph.labels import Contraction, LabelFlow, UntrackedCall
from pfa_gate.graph.partition import UNTRACKED, narrowed, varying
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


@dataclass(frozen=True)
class _Touch:
    """An axis of a parameter, or of a product of activations, and the root of each of its indices."""

    parameter: str | None
    axis: int
    roots: Indices
    makes: bool = False
    reads: bool = False


@dataclass(frozen=True)
class _Cluster:
    """Roots that touch the same axes equally often: the filters of one group, in order."""

    roots: Indices
    touches: tuple[_Touch, ...]
    frozen: str | None

    def filters(self, roots: Indices) -> Indices:
        """The filter of each root, -1 for those of other groups."""
        places = np.searchsorted(self.roots, roots).clip(max=len(self.roots) - 1)
        return np.where(self.roots[places] == roots, places, OTHER_GROUP)


def coupling_of(flow: LabelFlow) -> Coupling:
    """Build the coupling from a finished trace."""
    return _GroupBuilder(flow).coupling()


class _GroupBuilder:
    def __init__(self, flow: LabelFlow) -> None:
        self.flow = flow
        self._carried: dict[Node, tuple[int, Indices] | None] = {}  # the axis of a node's filters, and their roots
        for name, labels in flow.aligned.items():
            flow.aligned[name] = flow.boxed(labels)

    def coupling(self) -> Coupling:
        named = dict(self._named())
        groups = tuple(self._group(name, cluster) for name, cluster in named.items())
        return Coupling(
            groups=groups,
            layers=tuple(self._layers(named)),
            unknown=tuple(sorted(self.flow.unknown)),
            volumes=tuple(self._sizes(named)),
            program=self.flow.program,
            scattered=tuple(node.name for node in self.flow.scattered),
            normalised=tuple(node.name for node in self.flow.normalised),
            labels={node.name: self._canonical(labels) for node, labels in self.flow.values.items()},
        )

    # --- labels as roots

    def _roots(self, labels: Tensor) -> Indices:
        roots: Indices = self.flow.sets.canonical(labels).numpy().astype(np.int64)
        return roots

    def _canonical(self, labels: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
        if isinstance(labels, list):
            return [narrowed(self.flow.sets.canonical(part)) for part in labels]
        return narrowed(self.flow.sets.canonical(labels))

    @cached_property
    def _touches(self) -> list[_Touch]:
        made = {(call.weight, call.outputs) for call in self.flow.contractions}
        read = {(call.weight, call.inputs) for call in self.flow.contractions if call.inputs != OTHER_GROUP}
        touches = [
            _Touch(name, axis, self._roots(labels), (name, axis) in made, (name, axis) in read)
            for name, pair in self.flow.matrices.items()
            for axis, labels in enumerate(pair)
        ]
        touches += [_Touch(name, axis, self._roots(labels)) for name, axis, labels in self._aligned_axes()]
        products = (call for call in self.flow.contractions if call.weight is None)
        touches += [_Touch(None, 0, self._roots(axis)) for call in products for axis in call.axes]
        return touches

    def _aligned_axes(self) -> Iterator[tuple[str, int, Tensor]]:
        for name, labels in self.flow.aligned.items():
            shape = self.flow.program.tensors[name].shape
            axes = varying(labels) or [axis for axis, size in enumerate(shape) if size == labels.numel() == 1][:1]
            for axis in axes:
                yield name, axis, labels.reshape(-1)

    @cached_property
    def _frozen(self) -> dict[int, str]:
        reasons: dict[int, str] = {}
        for pin in self.flow.pins:
            for root in np.unique(self._roots(pin.labels)).tolist():
                reasons.setdefault(root, pin.reason)
        return reasons

    # --- clusters

    def _clusters(self) -> list[_Cluster]:
        signature = self._signatures()
        together: dict[tuple[object, ...], list[int]] = {}
        for root in sorted(signature):
            together.setdefault((*signature[root], self._frozen.get(root)), []).append(root)
        clusters = [self._cluster(key, roots) for key, roots in together.items()]
        return sorted(
            (cluster for cluster in clusters if cluster is not None), key=lambda cluster: int(cluster.roots[0])
        )

    def _signatures(self) -> dict[int, list[tuple[int, int]]]:
        """For each root, which touches it takes part in, and how often."""
        signatures: dict[int, list[tuple[int, int]]] = {}
        for index, touch in enumerate(self._touches):
            roots, counts = np.unique(touch.roots, return_counts=True)
            for root, count in zip(roots.tolist(), counts.tolist(), strict=True):
                if root != UNTRACKED:
                    signatures.setdefault(root, []).append((index, count))
        return signatures

    def _cluster(self, key: tuple[object, ...], roots: list[int]) -> _Cluster | None:
        *entries, frozen = key
        touches = tuple(self._touches[entry[0]] for entry in entries if isinstance(entry, tuple))
        if not any(touch.makes for touch in touches):
            return None  # columns that read something that is no filter of this network
        return _Cluster(np.array(roots), touches, frozen if isinstance(frozen, str) else None)

    def _named(self) -> Iterator[tuple[str, _Cluster]]:
        seen: dict[str, int] = {}
        for cluster in self._clusters():
            name = self._makers(cluster)[0]
            seen[name] = seen.get(name, 0) + 1
            yield (name if seen[name] == 1 else f"{name}#{seen[name]}"), cluster

    # --- groups

    @cached_property
    def _calls(self) -> dict[str, list[Contraction]]:
        """The calls of each weight, in the order of the forward pass."""
        calls: dict[str, list[Contraction]] = {}
        for call in self.flow.contractions:
            if call.weight is not None:
                calls.setdefault(call.weight, []).append(call)
        return calls

    def _makers(self, cluster: _Cluster) -> list[str]:
        weights = {touch.parameter for touch in cluster.touches if touch.makes}
        return [layer_of(weight) for weight in self._calls if weight in weights]

    def _group(self, name: str, cluster: _Cluster) -> Group:
        reading = {touch.parameter for touch in cluster.touches if touch.reads}
        slices = (
            Slice(touch.parameter, touch.axis, cluster.filters(touch.roots))
            for touch in cluster.touches
            if touch.parameter is not None
        )
        return Group(
            name=name,
            width=len(cluster.roots),
            layers=tuple(self._makers(cluster)),
            readers=tuple(layer_of(weight) for weight in self._calls if weight in reading),
            slices=tuple(slices),
            taps=tuple(self._taps(cluster)),
            labels=cluster.roots,
            frozen=cluster.frozen,
        )

    def _taps(self, cluster: _Cluster) -> list[Tap]:
        sums = [tap for node in self.flow.sums if (tap := self._tap(node, cluster)) is not None]
        if sums:
            return sums
        weights = {touch.parameter for touch in cluster.touches if touch.makes}
        nodes = [call.node for weight, calls in self._calls.items() if weight in weights for call in calls]
        return [tap for node in nodes if (tap := self._tap(node, cluster)) is not None]

    def _tap(self, node: Node, cluster: _Cluster) -> Tap | None:
        """A tap where the node carries every filter of the cluster."""
        if node not in self._carried:
            self._carried[node] = self._along_one_axis(self.flow.of(node))
        carried = self._carried[node]
        if carried is None:
            return None
        axis, roots = carried
        filters = cluster.filters(roots)
        complete = len(np.unique(filters[filters != OTHER_GROUP])) == len(cluster.roots)
        return Tap(node.name, axis, filters) if complete else None

    def _along_one_axis(self, labels: Tensor) -> tuple[int, Indices] | None:
        axes = varying(labels)
        return (axes[0], self._roots(labels.reshape(-1))) if len(axes) == 1 else None

    # --- layers

    def _layers(self, named: Mapping[str, _Cluster]) -> Iterator[Layer]:
        for weight, calls in self.flow.calls().items():
            owners = [(name, cluster) for name, cluster in named.items() if layer_of(weight) in self._makers(cluster)]
            reasons = [cluster.frozen for _, cluster in owners if cluster.frozen is not None]
            frozen = reasons[0] if reasons and len(reasons) == len(owners) else None
            frozen = next((call.reason for call in calls if isinstance(call, UntrackedCall)), frozen)
            yield self._layer(weight, calls, tuple(name for name, _ in owners), frozen)

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

    def _sizes(self, named: Mapping[str, _Cluster]) -> Iterator[Volume]:
        owner = {int(root): (name, len(cluster.roots)) for name, cluster in named.items() for root in cluster.roots}
        touched: dict[str, dict[int, Indices]] = {}
        for touch in self._touches:
            if touch.parameter is not None:
                touched.setdefault(touch.parameter, {})[touch.axis] = touch.roots
        free = {name for name, cluster in named.items() if cluster.frozen is None}
        return Sizes(self.flow, touched, owner, free).volumes()


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
