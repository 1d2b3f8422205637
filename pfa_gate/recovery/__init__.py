"""Accuracy back after surgery: in closed form from the unlabelled probe, or by the steps a user names."""

from pfa_gate.recovery.compensate import Repair, compensate
from pfa_gate.recovery.distill import Course, Distilled, distill
from pfa_gate.recovery.finetune import finetune
from pfa_gate.recovery.recalibrate import recalibrate

__all__ = ["Course", "Distilled", "Repair", "compensate", "distill", "finetune", "recalibrate"]
