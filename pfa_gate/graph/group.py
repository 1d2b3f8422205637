"""The result of a trace: groups of filters that can only be cut together, and what a network of them costs."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from pfa_gate.graph.program import Program

Indices = npt.NDArray[np.int64]
OTHER_GROUP = -1  # a row of a shared parameter that belongs to another group, or to none


class Slice(NamedTuple):
    """One axis of one parameter that a group runs along: `filters[i]` is the filter of index i, or -1."""

    parameter: str
    axis: int
    filters: Indices


class Tap(NamedTuple):
    """A place in the graph where a group's responses are read; `filters[i]` is the filter of channel i, or -1."""

    node: str
    axis: int
    filters: Indices


@dataclass(frozen=True)
class Group:
    """Filters of one or more layers that can only be cut together.

    Attributes:
        name: the first layer that makes these filters.
        width: how many filters there are.
        layers: every layer that makes them, in the order of the forward pass.
        readers: every layer that reads them.
        slices: each parameter axis they run along.
        taps: where their responses are read: the sums they end in, or else each layer's output.
        labels: the label of each filter in the graph.
        frozen: why they cannot be cut, or None.
    """

    name: str
    width: int
    layers: tuple[str, ...]
    readers: tuple[str, ...]
    slices: tuple[Slice, ...] = field(repr=False)
    taps: tuple[Tap, ...] = field(repr=False)
    labels: Indices = field(repr=False)
    frozen: str | None = None

    @property
    def parameters(self) -> dict[str, tuple[int, Indices]]:
        """For each parameter (axis, the filter of each of its indices, -1 for none of these).

        A parameter that the group meets along two axes is listed by its first; `slices` has both.
        """
        return {part.parameter: (part.axis, part.filters) for part in reversed(self.slices)}


class Footprint(NamedTuple):
    """Size of a network: parameters (elements), bytes (stored weights), macs (multiply-adds of one sample)."""

    parameters: int
    bytes: int
    macs: int


@dataclass(frozen=True)
class Axis:
    """The length of one axis: `fixed` indices, and `shares[group]` for each filter the group keeps."""

    fixed: int
    shares: Mapping[str, float]

    def length(self, counts: Mapping[str, int]) -> float:
        """Indices that are left when each group keeps `keep[group]` filters."""
        return self.fixed + sum(share * counts[group] for group, share in self.shares.items())


@dataclass(frozen=True)
class Volume:
    """A product of axis lengths, times a weight for parameters, bytes or multiply-adds.

    Attributes:
        axes: the lengths.
        parameters, bytes, macs: of one element.
        once_cut: counts only where one of these groups is cut; none: always.
        until_cut: counts no more where in each of these sets a group is cut; none: always.
        name: of the stored tensor that it is of; empty for any other.
    """

    axes: tuple[Axis, ...]
    parameters: int = 0
    bytes: int = 0
    macs: float = 0.0
    once_cut: frozenset[str] = frozenset()
    until_cut: tuple[frozenset[str], ...] = ()
    name: str = ""

    def size(self, counts: Mapping[str, int], cut: Collection[str] = ()) -> float:
        """Elements left when each group keeps so many filters, and these groups are cut."""
        if self.once_cut and self.once_cut.isdisjoint(cut):
            return 0.0
        if self.until_cut and not any(groups.isdisjoint(cut) for groups in self.until_cut):
            return 0.0
        result = 1.0
        for axis in self.axes:
            result *= axis.length(counts)
        return result


@dataclass(frozen=True)
class Layer:
    """One convolution, linear or embedding of the model, as it is called in the graph.

    Attributes:
        name: the module's qualified name.
        kind: `convolution`, `linear` or `embedding`.
        filters: how many it has.
        weight, axis: its weight's name, and the axis of the weight along which its filters lie.
        taps: one for each call; `filters` there are the layer's own.
        groups: the groups its filters belong to; one, unless they are read apart.
        frozen: why it cannot be cut, or None.
        rows: where each of its filters lies along that axis; several may lie at one place, as in blocks that are cut
            alike.
    """

    name: str
    kind: str
    filters: int
    weight: str = field(repr=False)
    axis: int = field(repr=False)
    taps: tuple[Tap, ...] = field(repr=False)
    groups: tuple[str, ...] = ()
    frozen: str | None = None
    rows: Indices | None = field(default=None, repr=False, compare=False)

    def kept(self, left: Indices) -> Indices:
        """The filters that are left where these indices of the weight's axis are."""
        rows = np.arange(self.filters) if self.rows is None else self.rows
        return np.flatnonzero(np.isin(rows, left))


@dataclass(frozen=True)
class Coupling:
    """Which filters of a model can only be cut together, which cannot be cut, and why.

    Attributes:
        groups: in the order in which the forward pass makes them.
        layers: every convolution, linear and embedding that is called, in that order.
        unknown: operators met without a rule that covers them; what they touch is whole.
        volumes: the terms of the footprint.
        program: of the model.
        labels: for each value of its graph, by node name, whose filter each element is.
        normalised: nodes that normalise across filters that may be cut.
        scattered: sums into which what is left of each operand is scattered at full width (`residual: pad`).
    """

    groups: tuple[Group, ...]
    layers: tuple[Layer, ...]
    unknown: tuple[str, ...]
    volumes: tuple[Volume, ...] = field(repr=False)
    program: Program = field(repr=False)
    labels: Mapping[str, Tensor | list[Tensor]] = field(repr=False)
    normalised: tuple[str, ...] = field(repr=False, default=())
    scattered: tuple[str, ...] = field(repr=False, default=())

    def group(self, name: str) -> Group:
        """The group called `name`.

        Raises:
            KeyError: there is none.
        """
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(name)

    @property
    def free(self) -> tuple[Group, ...]:
        """The groups that can be cut."""
        return tuple(group for group in self.groups if group.frozen is None)

    def footprint(self, counts: Mapping[str, int] | None = None) -> Footprint:
        """Exact size of the network when each group keeps `keep[group]` filters; groups not named stay whole."""
        full = {group.name: group.width for group in self.groups}
        widths = full | dict(counts or {})
        cut = {name for name, width in full.items() if widths[name] < width}
        sizes = [(volume, volume.size(widths, cut)) for volume in self.volumes]
        return Footprint(
            parameters=round(sum(volume.parameters * size for volume, size in sizes)),
            bytes=round(sum(volume.bytes * size for volume, size in sizes)),
            macs=round(sum(volume.macs * size for volume, size in sizes)),
        )


def layer_of(weight: str) -> str:
    """The layer a weight belongs to: its qualified name without the last part.

    Example:
        >>> layer_of("layer1.0.conv1.weight")
        'layer1.0.conv1'
    """
    owner, _, last = weight.rpartition(".")
    return owner if owner and last in ("weight", "weight_g", "weight_v") else weight
