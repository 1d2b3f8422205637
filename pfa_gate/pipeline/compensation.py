"""Compensation where a gate's model runs."""

from torch import nn

from pfa_gate.compress.prune import AxisIndices
from pfa_gate.compress.recover.compensate import compensate
from pfa_gate.compress.repair import Repair
from pfa_gate.graph import Program
from pfa_gate.model import Subject
from pfa_gate.model.device import CPU, placed


def mend(
    subject: Subject, full: Program, smaller: nn.Module, axis_indices: AxisIndices, seed: int
) -> tuple[nn.Module, tuple[Repair, ...]]:
    """Compensate on the subject's probe and device.

    Args:
        subject: the full model and its probe.
        full: its program.
        smaller: the compressed model; it is not changed.
        axis_indices: what pruning left of each parameter.
        seed: of the positions drawn.

    Returns:
        A new model, on the CPU, and what was done to each layer.
    """
    there, here = full.on(subject.device), placed(smaller, subject.device)
    mended, repairs = compensate(there, here, axis_indices, subject.probe, seed)
    return placed(mended, CPU), repairs
