"""Whether the probe gives more responses than any layer has filters, and what to do where it does not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pfa_gate.analysis.covariance import Moments
from pfa_gate.budget.wording import listed, plural
from pfa_gate.config import GateConfig
from pfa_gate.errors import TooFewSamplesError
from pfa_gate.graph import Layer
from pfa_gate.model import Batches

Shards = tuple[Moments, ...]


@dataclass(frozen=True)
class SampleSupply:
    """What the probe gives, and what it might.

    Attributes:
        samples: that were read.
        most: that the data has; None where nobody knows.
        positions: of each map that are samples of their own; None where maps are pooled.
        setting: how positions are asked for.
    """

    samples: int
    most: int | None = None
    positions: int | None = None
    setting: str = "probe.positions: {}"

    @classmethod
    def of(cls, config: GateConfig, probe: Batches) -> "SampleSupply":
        """That of a gate whose probe has been read."""
        wanted = config.probe.samples
        ended = wanted is None or probe.samples < wanted
        return cls(probe.samples, probe.samples if ended else probe.total, config.probe.positions)


UNKNOWN = SampleSupply(0)


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
        told = f"{self.responses:,} samples"
        if self.responses != self.samples:
            told = f"{self.responses:,} responses of {plural(self.samples, 'sample')}"
        return f"There are {told} for {self.layer.filters:,} filters; their covariance cannot have full rank."


def short_layers(layers: Sequence[Layer], moments: Mapping[str, Shards], supply: SampleSupply) -> Iterator[Short]:
    """The layers with too few responses, those that cannot be cut too."""
    for layer in layers:
        responses = sum(shard.count for tap in layer.taps for shard in moments[tap.node])
        if responses <= layer.filters:
            yield Short(layer, responses, supply.samples or responses)


def require_enough(short: Sequence[Short], supply: SampleSupply) -> None:
    """Refuse where a layer that can be cut has too few: the one that needs most is told of, once for all.

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
    if supply.most is None or supply.most > worst.needed:
        said = ", ".join([f"Raise probe.samples above {worst.needed:,}", *ways[:-1]])
        return f"{said}, or {ways[-1]}."
    said = ", ".join(["give more data", *ways[:-1]])
    return f"The data has {supply.most:,} samples, and more than {worst.needed:,} are needed: {said}, or {ways[-1]}."


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
