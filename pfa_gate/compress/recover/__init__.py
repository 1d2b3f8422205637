"""Accuracy back after pruning: in closed form from the unlabelled probe, or by the steps a user names."""

from pfa_gate.compress.recover.compensate import compensate
from pfa_gate.compress.recover.constraint import Constraint
from pfa_gate.compress.recover.distill import DistillResult, DistillSettings, distill
from pfa_gate.compress.recover.forecast import CompensateSettings, Forecast
from pfa_gate.compress.recover.recalibrate import recalibrate

__all__ = [
    "CompensateSettings",
    "Constraint",
    "DistillResult",
    "DistillSettings",
    "Forecast",
    "compensate",
    "distill",
    "recalibrate",
]
