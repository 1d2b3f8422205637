"""What recovery did, as plain data: step by step, and layer by layer where a step has layers.

PYTEST_DONT_REWRITE
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class RepairRecord:
    """What compensation did to one layer.

    Attributes:
        layer: its name.
        before, after: held-out squared error of what it makes, as a share of the variance of what it should make;
            None where it was not measured.
        ridge: added to its normal equations, relative to their mean diagonal; None where it was left alone.
        rows: patches it was solved on.
        reason: why it was left alone, or None.
    """

    layer: str
    before: float | None
    after: float | None
    ridge: float | None
    rows: int
    reason: str | None = None


@dataclass(frozen=True)
class RecoveryStep:
    """One step from the cut to the model that is delivered.

    Attributes:
        step: cut, then the steps of pfa.yaml in their order.
        accuracy: the metric after it; None without an evaluation.
        seconds: that it took.
        detail: what it did, in one line.
        repairs: layer by layer in forward order, where the step is compensate.
    """

    step: str
    accuracy: float | None
    seconds: float
    detail: str = ""
    repairs: tuple[RepairRecord, ...] = field(default=(), metadata={"later": True})
