"""Accuracy back after surgery: in closed form from the unlabelled probe, or by the steps a user names."""

from pfa_gate.compress.recover.compensate import Repair, compensate
from pfa_gate.compress.recover.distill import Course, Distilled, distill
from pfa_gate.compress.recover.finetune import finetune
from pfa_gate.compress.recover.recalibrate import recalibrate

__all__ = ["Course", "Distilled", "Repair", "compensate", "distill", "finetune", "recalibrate"]
