"""What a forward pass of one sample holds in memory, and what its energy was worked out from, as plain data."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LiveRecord:
    """An operator and bytes: all that are live while it runs, or those of a tensor that it made.

    Attributes:
        operator: torch's name, such as conv2d; `input` for an input of the model.
        layer: the module that ran it; empty for the model itself.
        bytes: of activations.
    """

    operator: str
    layer: str
    bytes: int

    @property
    def name(self) -> str:
        """Operator and module in words.

        Example:
            >>> LiveRecord("relu", "stem.2", 64).name, LiveRecord("input", "", 64).name
            ('relu of stem.2', 'input')
        """
        return f"{self.operator} of {self.layer}" if self.layer else self.operator


@dataclass(frozen=True)
class MemoryRecord:
    """The memory of one model's activations along its operators.

    Attributes:
        operators: how many there are, views apart.
        at: the place of the peak among them, from 0.
        peak: the operator at which most bytes are live; None where there is no operator.
        alive: what is live there, largest first; at most 20.
        unlisted: how many more are live there.
        curve: most bytes that are live in each of at most 200 stretches of the program, equally long but for the last.
        names: of each stretch, the operator at which they are, and its module.
        moved: bytes of activations that operators read and write.
        samples: of the pass; 1 unless the model takes no sample alone.
    """

    operators: int
    at: int
    peak: LiveRecord | None
    alive: tuple[LiveRecord, ...]
    unlisted: int
    curve: tuple[int, ...]
    names: tuple[str, ...]
    moved: int
    samples: int = 1


@dataclass(frozen=True)
class DemandsRecord:
    """What one sample takes of memory and energy, of both models.

    Attributes:
        full: memory of the full model; None where it could not be followed.
        compressed: of the compressed one; None where there is none, or where it could not be followed.
        mac: picojoules of a multiply-accumulate, by the table of pfa.yaml; None without one.
        byte: picojoules of a byte that is moved; None without one.
    """

    full: MemoryRecord | None
    compressed: MemoryRecord | None = None
    mac: float | None = None
    byte: float | None = None
