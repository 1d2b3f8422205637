"""Limits against measurements: one finding for each declared budget.

What could not be measured is never kept. Neither torch nor NumPy is imported.
"""

from pfa_gate.budget.answers import AnswerPair, Answers, ClassAnswers, Estimated
from pfa_gate.budget.baseline_limits import Baseline, BaselineLayer, Context
from pfa_gate.budget.finding import Finding, LayerFinding, Outcome
from pfa_gate.budget.judge import judge
from pfa_gate.budget.latency import LatencyMeasure
from pfa_gate.budget.measurements import (
    Exactness,
    LayerMeasure,
    Measurements,
    QuantizedMeasure,
    Scored,
    layer_values,
    observed_values,
)
from pfa_gate.budget.parity import Flip, Machine, Parity
from pfa_gate.budget.rules import PlaceOf
from pfa_gate.budget.sizes import PartSize, Size

__all__ = [
    "AnswerPair",
    "Answers",
    "Baseline",
    "BaselineLayer",
    "ClassAnswers",
    "Context",
    "Estimated",
    "Exactness",
    "Finding",
    "Flip",
    "LatencyMeasure",
    "LayerFinding",
    "LayerMeasure",
    "Machine",
    "Measurements",
    "Outcome",
    "Parity",
    "PartSize",
    "PlaceOf",
    "QuantizedMeasure",
    "Scored",
    "Size",
    "judge",
    "layer_values",
    "observed_values",
]
