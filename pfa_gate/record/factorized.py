"""The factorized layers as plain data: the ranks, how they were found, and what stays one layer and why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pfa_gate.record.smaller_model import Exact


@dataclass(frozen=True)
class FactorizedLayer:
    """A layer that became two.

    Attributes:
        name: of the layer.
        kind: convolution or linear.
        rank: how many values lie between the two.
        columns: what each output read: channels times taps.
        filters: that it has.
        parameters: of its weight before, and of the two now.
        macs: of one sample before, and now.
        energy: share of its outputs' energy that the rank keeps: by their spectrum where ranks were found by energy,
            else by the weights and what the layer read before it was solved; None where the ranks were given.
        lost: share of what the layer, solved freely, makes that its rank loses, on what it read when it was solved.
    """

    name: str
    kind: str
    rank: int
    columns: int
    filters: int
    parameters: tuple[int, int]
    macs: tuple[int, int]
    energy: float | None
    lost: float


@dataclass(frozen=True)
class FactorizedRecord:
    """The layers of low rank.

    Attributes:
        way: how ranks were found: energy, parameters, macs or ranks.
        target: the share of the energy, or the size of the whole model; None where the ranks were given.
        layers: those that became two, in forward order.
        whole: layer that stays one -> why, in forward order.
        exact: the proof that the model equals the one with the products; None where no layer became two.
        tolerance: of the proof.
        chosen: whether pfa.yaml names the layers.
    """

    way: Literal["energy", "parameters", "macs", "ranks"]
    target: float | None
    layers: tuple[FactorizedLayer, ...] = ()
    whole: Mapping[str, str] = field(default_factory=dict)
    exact: Exact | None = None
    tolerance: float | None = None
    chosen: bool = True

    @property
    def ranks(self) -> dict[str, int]:
        """Layer -> its rank.

        Example:
            >>> layer = FactorizedLayer("fc", "linear", 2, 8, 8, (64, 32), (64, 32), 0.98, 0.01)
            >>> FactorizedRecord("ranks", None, (layer,)).ranks
            {'fc': 2}
        """
        return {layer.name: layer.rank for layer in self.layers}
