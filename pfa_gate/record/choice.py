"""What `selection: auto` tried, and which selection it kept, as plain data."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class SelectionTrial:
    """One selection: its filters were cut on a copy, which was compensated where the gate compensates.

    Attributes:
        name: of the selection.
        value: how far the answers of the copy are from the full model's.
        interval: 95 % interval of it; None where there is none.
    """

    name: str
    value: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class SelectionChoice:
    """A choice among selections.

    Attributes:
        trials: in the order in which they were tried.
        chosen: the name of the one whose answers are nearest.
        measure: divergence, in nats; output_error where the model is no classifier.
        samples: of the probe, which nothing else was measured on, fitted on, or judged by.
    """

    trials: tuple[SelectionTrial, ...]
    chosen: str
    measure: Literal["divergence", "output_error"]
    samples: int
