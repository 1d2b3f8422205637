"""From responses to spectra, for each layer and each group that is cut as one; an error where samples are too few."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pfa_gate.analysis.covariance import Moments, accumulate, merge, merge_all, subset
from pfa_gate.analysis.responses import Responses
from pfa_gate.analysis.spectrum import Spectrum, pooled, spectrum, spectrum_of_folds
from pfa_gate.budget.wording import listed, plural
from pfa_gate.config import GateConfig
from pfa_gate.errors import InactiveModelError, PFAGateError, TooFewSamplesError
from pfa_gate.graph import Group, Layer
from pfa_gate.graph.group import Indices
from pfa_gate.model import Subject

Mask = npt.NDArray[np.bool_]
Shards = tuple[Moments, ...]


@dataclass(frozen=True)
class SampleSupply:
    """What the probe gives, and what it might.

    Attributes:
        samples: that were read.
        most: that the data has; None where nobody knows.
        positions: of each map that are samples of their own; None where maps are pooled.
        setting: how positions are asked for.
        held_out: samples of the probe that only answers are judged on.
    """

    samples: int
    most: int | None = None
    positions: int | None = None
    setting: str = "probe.positions: {}"
    held_out: int = 0

    @classmethod
    def of(cls, config: GateConfig, subject: Subject) -> "SampleSupply":
        """That of a gate whose probe has been read."""
        wanted, probe = config.probe.samples, subject.probe
        held_out = sum(each.samples for each in (subject.held_out, subject.apart) if each is not None)
        found = probe.samples + held_out
        ended = wanted is None or found < wanted
        return cls(probe.samples, found if ended else probe.total, config.probe.positions, held_out=held_out)

    def with_held_out(self, needed: int) -> int:
        """How many samples the probe must exceed so that more than this many are left of it."""
        return needed if not self.held_out else -(-needed * (self.samples + self.held_out) // max(1, self.samples))


UNKNOWN_SUPPLY = SampleSupply(0)


@dataclass(frozen=True)
class Short:
    """A layer with as many filters as responses, or more.

    Attributes:
        layer: with its filters.
        responses: that it gave.
        samples: of which they are.
    """

    layer: Layer
    responses: int
    samples: int

    @property
    def needed(self) -> int:
        """More samples than this would do, each with as many responses as now."""
        return self.layer.filters * self.samples // self.responses if self.responses else self.layer.filters

    @property
    def fact(self) -> str:
        """What is the case, in one sentence."""
        given = f"{self.responses:,} samples"
        if self.responses != self.samples:
            given = f"{self.responses:,} responses of {plural(self.samples, 'sample')}"
        return f"There are {given} for {self.layer.filters:,} filters; their covariance cannot have full rank."


def short_layers(layers: Sequence[Layer], moments: Mapping[str, Shards], supply: SampleSupply) -> Iterator[Short]:
    """The layers with too few responses, those that cannot be cut too."""
    for layer in layers:
        responses = sum(shard.count for tap in layer.taps for shard in moments[tap.node])
        if responses <= layer.filters:
            yield Short(layer, responses, supply.samples or responses)


def require_enough(short: Sequence[Short], supply: SampleSupply) -> None:
    """Refuse where a layer that can be cut has too few: one error names the layer that needs most.

    Raises:
        TooFewSamplesError: there is such a layer.
    """
    free = [each for each in short if each.layer.frozen is None]
    if not free:
        return
    worst = max(free, key=lambda each: each.needed)
    others = [f"'{each.layer.name}'" for each in free if each is not worst]
    more = f" {plural(len(others), 'more layer')} {_HAVE[len(others) > 1]} too few: {listed(others)}." if others else ""
    raise TooFewSamplesError(
        worst.fact + more, remedy=_remedy(worst, free, supply), where=(f"layer '{worst.layer.name}'",)
    )


_HAVE = ("has", "have")


def _remedy(worst: Short, short: Sequence[Short], supply: SampleSupply) -> str:
    ways = [*_positions(worst, supply), f"exclude the layer{'s' if len(short) > 1 else ''}"]
    needed = supply.with_held_out(worst.needed)
    part = f", as answers are judged on {supply.held_out:,} of them" if supply.held_out else ""
    if supply.most is None or supply.most > needed:
        said = ", ".join([f"Raise probe.samples above {needed:,}{part}", *ways[:-1]])
        return f"{said}, or {ways[-1]}."
    said = ", ".join(["give more data", *ways[:-1]])
    return f"The data has {supply.most:,} samples{part}, and more than {needed:,} are needed: {said}, or {ways[-1]}."


def _positions(worst: Short, supply: SampleSupply) -> Iterator[str]:
    """More positions of each map, where the layer has maps that were not read whole."""
    if worst.layer.kind != "convolution" or not worst.samples:
        return
    ample = 16
    while ample * worst.samples < 10 * worst.layer.filters:
        ample *= 2
    if supply.positions is None:
        yield f"take positions of each map as samples ({supply.setting.format(ample)})"
    elif worst.responses >= supply.positions * worst.samples:
        yield f"take more positions of each map ({supply.setting.format(ample)})"


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
    groups: Sequence[Group],
    layers: Sequence[Layer],
    moments: Mapping[str, Shards],
    supply: SampleSupply = UNKNOWN_SUPPLY,
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
    known = {layer.taps[0].node: found[layer.name] for layer in layers if layer.name in found and len(layer.taps) == 1}
    cut = {group.name: _group_spectrum(group, moments, known) for group in groups if group.name not in whole}
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


def _group_spectrum(group: Group, moments: Mapping[str, Shards], known: Mapping[str, Spectrum]) -> Spectrum:
    """Every tap counts alike; a tap that carries each filter several times counts as several.

    `known` are the spectra of all filters of some nodes, which need not be taken again.
    """
    found: list[Spectrum] = []
    for tap in group.taps:
        for places in _copies(tap.filters, group.width):
            if tap.node in known and np.array_equal(places, np.arange(known[tap.node].filters)):
                found.append(known[tap.node])
                continue
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
