"""Accuracy back after surgery: in closed form from the unlabelled probe, or by the steps a user names."""

from pfa_gate.recovery.compensate import Repair, compensate

__all__ = ["Repair", "compensate"]
