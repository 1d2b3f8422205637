"""How large a model is, and what one sample takes."""

from dataclasses import dataclass, field

from pfa_gate.config.budgets import DEMANDS, SIZES

_LATER = {"later": True}  # of a record's key that there was not always


@dataclass(frozen=True)
class Size:
    """Parameters (count), bytes of the stored weights, and what one sample takes.

    Attributes:
        macs: multiply-accumulates.
        memory: most bytes of activations that are live at once; None where they were not followed.
        energy: picojoules, by the table of pfa.yaml; None without one.
    """

    parameters: int
    bytes: int
    macs: int
    memory: int | None = field(default=None, metadata=_LATER)
    energy: float | None = field(default=None, metadata=_LATER)


@dataclass(frozen=True)
class PartSize:
    """Size of a compressed model; `macs` is None where they could not be counted."""

    parameters: int
    bytes: int
    macs: int | None
    memory: int | None = None
    energy: float | None = None


def known_sizes(size: Size | PartSize, prefix: str = "") -> dict[str, float]:
    """What is known of a model's size, by the key of its budget.

    Example:
        >>> known_sizes(PartSize(9, 36, None, memory=64), "compressed.")
        {'compressed.parameters': 9, 'compressed.bytes': 36, 'compressed.memory': 64}
    """
    known = {key: getattr(size, key) for key in (*SIZES, *DEMANDS)}
    return {f"{prefix}{key}": value for key, value in known.items() if value is not None}
