"""The section of the evaluation as a type; what it and the budgets ask of each other is in `scoring`.

PYTEST_DONT_REWRITE
"""

from typing import Any

from pydantic import ConfigDict, Field

from pfa_gate.config.metrics import SHARES, Direction
from pfa_gate.config.section import Data, Metric, StrictSection

_DIRECTION: Any = {
    "if": {"properties": {"metric": {"enum": [*SHARES]}}},
    "then": {"properties": {"direction": {"const": "higher"}}},
    "else": {"required": ["direction"], "not": {"required": ["allow_chance"]}},
}


class EvaluationConfig(StrictSection):
    """How the full and the compressed model are scored."""

    model_config = ConfigDict(json_schema_extra=_DIRECTION)

    data: Data = Field(
        description="as for `probe`, with labels; all of it is used", examples=["example_project.data:test"]
    )
    metric: Metric = Field(
        default="accuracy", description="`accuracy`, `top5`, or a callable(model, batches) that returns a float"
    )
    direction: Direction | None = Field(
        default=None,
        description="which way is better; a callable must say, `accuracy` and `top5` are `higher`",
    )
    allow_chance: bool = Field(
        default=False, description="judge drops although the full model is no better than chance"
    )

    @property
    def lower(self) -> bool:
        """Whether a lower score is better."""
        return self.direction == "lower"

    @property
    def share(self) -> bool:
        """Whether the score is a share, whose changes are told in percentage points."""
        return self.metric in SHARES
