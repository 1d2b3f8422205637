"""From responses to spectra: one for each layer, and one for each group of filters that is cut as one."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pfa_gate.analysis.covariance import Moments, accumulate, merge, merge_all, subset
from pfa_gate.analysis.responses import Responses
from pfa_gate.analysis.spectrum import Spectrum, pooled, spectrum, spectrum_of_folds
from pfa_gate.errors import InactiveModelError, PFAGateError
from pfa_gate.graph import Group, Layer
from pfa_gate.graph.group import Indices
from pfa_gate.pipeline.sample_counts import UNKNOWN, SampleSupply, require_enough, short_layers

Mask = npt.NDArray[np.bool_]
Shards = tuple[Moments, ...]


@dataclass(frozen=True)
class Spectra:
    """What the probe said.

    Attributes:
        layers: layer name -> spectrum, for every layer that could be measured.
        groups: group name -> spectrum, for every group that may be cut.
        unmeasured: layer name -> why it has no spectrum.
        whole: group name -> why it is kept whole.
    """

    layers: Mapping[str, Spectrum]
    groups: Mapping[str, Spectrum]
    unmeasured: Mapping[str, str]
    whole: Mapping[str, str]

    @property
    def inactive(self) -> dict[str, Mask]:
        """For each group, bool [C]: the filters that never change on the probe."""
        return {name: each.inactive for name, each in self.groups.items()}


def responses(layers: Sequence[Layer], groups: Sequence[Group], stream: Iterable[Responses]) -> dict[str, Shards]:
    """Moments at every tap of these layers and groups, by node, from one pass over a stream of responses.

    Sums are read for their groups alone, of which no standard error is wanted; layers are kept in shards.
    """
    return accumulate(stream, *places(layers, groups))


def places(layers: Sequence[Layer], groups: Sequence[Group]) -> tuple[dict[str, str], set[str]]:
    """Each node that is read, with the name by which people know it; and those of which no jackknife is wanted."""
    sums = {tap.node: group.name for group in groups for tap in group.taps}
    calls = {tap.node: layer.name for layer in layers for tap in layer.taps}
    return sums | calls, set(sums) - set(calls)


def spectra(
    groups: Sequence[Group], layers: Sequence[Layer], moments: Mapping[str, Shards], supply: SampleSupply = UNKNOWN
) -> Spectra:
    """Spectra of the chosen layers and of the free groups that only these layers make.

    Raises:
        TooFewSamplesError: a layer that can be cut has as many filters as there are samples, or more; of several, the
            one that needs most is named.
        InactiveModelError: no filter of any layer responds.
    """
    whole = dict(_whole(groups, {layer.name for layer in layers}))
    short = list(short_layers([layer for layer in layers if layer.taps], moments, supply))
    require_enough(short, supply)
    unmeasured = {layer.name: layer.frozen or "" for layer in layers if not layer.taps}
    unmeasured |= {each.layer.name: each.fact for each in short}
    found = {layer.name: _layer_spectrum(layer, moments) for layer in layers if layer.name not in unmeasured}
    if found and not any(each.active for each in found.values()):
        raise InactiveModelError(
            "No filter of any layer responds to the probe.",
            remedy="Check that the checkpoint is trained and the probe is preprocessed as in training.",
        )
    cut = {group.name: _group_spectrum(group, moments) for group in groups if group.name not in whole}
    return Spectra(found, cut, unmeasured, whole)


def read_layers(layers: Sequence[Layer], moments: Mapping[str, Shards]) -> set[str]:
    """Names of the layers of which at least one sample was read at every tap."""
    full = {place for place, shards in moments.items() if any(shard.count for shard in shards)}
    return {layer.name for layer in layers if all(tap.node in full for tap in layer.taps)}


def _whole(groups: Sequence[Group], chosen: set[str]) -> Iterator[tuple[str, str]]:
    for group in groups:
        outside = [name for name in group.layers if name not in chosen]
        if group.frozen is not None:
            yield group.name, group.frozen
        elif outside:
            yield group.name, f"layer '{outside[0]}' is excluded"
        elif not group.taps:
            yield group.name, "its responses cannot be read in one place"


def _layer_spectrum(layer: Layer, moments: Mapping[str, Shards]) -> Spectrum:
    """All calls of a layer are samples of the same filters."""
    calls = [moments[tap.node] for tap in layer.taps]
    shards = calls[0]
    for other in calls[1:]:
        shards = tuple(merge(one, two) for one, two in zip(shards, other, strict=True))
    return spectrum_of_folds(shards)


def _group_spectrum(group: Group, moments: Mapping[str, Shards]) -> Spectrum:
    """Every tap counts alike; a tap that carries each filter several times counts as several."""
    found: list[Spectrum] = []
    for tap in group.taps:
        for places in _copies(tap.filters, group.width):
            together = subset(merge_all(moments[tap.node]), places)
            try:
                found.append(spectrum(together))
            except PFAGateError as error:
                error.at(f"group '{group.name}'")
                raise
    return pooled(found)


def _copies(filters: Indices, width: int) -> Iterator[Indices]:
    """Channels that hold filter 0, 1, … width - 1, as often as the tap has them all."""
    order = np.argsort(filters, kind="stable")
    order = order[filters[order] >= 0]
    times = len(order) // width
    table = order.reshape(width, times)
    return (table[:, copy] for copy in range(times))
