"""Where each rule would cut a layer's spectrum, read off the record: marks for a picture, nothing is cut by them."""

from itertools import accumulate

from pfa_gate.record import LayerRecord
from pfa_gate.redundancy import kept_by_energy, kept_by_kl


def kl_cut(layer: LayerRecord) -> int | None:
    """Filters that the strategy `kl` would keep of a layer by itself; None where it was not measured.

    Example:
        >>> kl_cut(LayerRecord("stem", "Conv2d", 16, kl_ratio=0.5, inactive=0))
        8
    """
    if layer.kl_ratio is None:
        return None
    return kept_by_kl(layer.filters, layer.filters - (layer.inactive or 0), min(1.0, max(0.0, layer.kl_ratio)))


def energy_cut(layer: LayerRecord, energy: float | None) -> int | None:
    """Filters that carry a share of a layer's energy; None where it was not measured, or without a share.

    Example:
        >>> energy_cut(LayerRecord("stem", "Conv2d", 3, inactive=0, eigenvalues=(0.6, 0.3, 0.1)), 0.9)
        2
    """
    if energy is None or not layer.eigenvalues:
        return None
    return kept_by_energy(list(accumulate(layer.eigenvalues)), layer.filters - (layer.inactive or 0), energy)
