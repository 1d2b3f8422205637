"""What recovery did, as plain data: step by step, and layer by layer where a step has layers.

PYTEST_DONT_REWRITE
"""

from dataclasses import dataclass, field

from pfa_gate.compress.repair import Repair


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
    repairs: tuple[Repair, ...] = field(default=(), metadata={"later": True})
