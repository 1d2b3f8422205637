"""The section `latency` as a type: how models are timed where a budget asks for it."""

from pydantic import Field

from pfa_gate.config.field_types import StrictSection


class LatencyConfig(StrictSection):
    """How models are timed, where a budget asks for `latency`."""

    batch: int = Field(
        default=1,
        ge=1,
        description="samples in one call, for which the budget is judged; one sample and a batch of the probe are "
        "timed beside it",
    )
    seconds: float = Field(
        default=60,
        gt=0,
        le=3600,
        description="most CPU seconds for it; it ends before, once the standard error of the ratio is below 1 %",
    )
