"""Which filters can only be cut together, which cannot be cut, and why.

The model is recorded and its ATen graph runs on integer label tensors instead of numbers; union-find over
the labels gives the groups. There is no list of layer types and no list of architectures.
"""

from pfa_gate.graph.follow import record_model
from pfa_gate.graph.group import Axis, Coupling, Footprint, Group, Layer, Slice, Tap, Volume
from pfa_gate.graph.program import Program
from pfa_gate.graph.propagate import inputs_of, trace, trace_program

__all__ = [
    "Axis",
    "Coupling",
    "Footprint",
    "Group",
    "Layer",
    "Program",
    "Slice",
    "Tap",
    "Volume",
    "inputs_of",
    "record_model",
    "trace",
    "trace_program",
]
