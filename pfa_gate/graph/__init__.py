"""Which filters live or die together, which cannot be touched, and why.

The model is exported once and its ATen graph runs on integer label tensors instead of numbers; union-find over
the labels gives the groups. There is no list of layer types and no list of architectures.
"""

from typing import Any

from torch import Tensor, nn

from pfa_gate.graph import rules as _rules  # noqa: F401  registers every operator's rule
from pfa_gate.graph.build_groups import coupling_of
from pfa_gate.graph.export import export_model
from pfa_gate.graph.group import Axis, Coupling, Footprint, Group, Layer, Slice, Tap, Volume
from pfa_gate.graph.labels import Residual
from pfa_gate.graph.program import Program
from pfa_gate.graph.propagate import propagate_labels

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
    "export_model",
    "inputs_of",
    "trace",
    "trace_program",
]


def trace(model: nn.Module, example: Any, residual: Residual = "project") -> Coupling:
    """Follow the filters of `model` through its forward pass; the model is left as it was.

    Args:
        model: any module that torch.export accepts; traced in eval mode.
        example: a batch of inputs: a tensor, a tuple of positional inputs, or a mapping of keyword inputs.
        residual: at a sum, `project` cuts all that feed it alike (paper, App. C.3); `pad` lets each be cut freely
            and scatters what is left of it back to full width (App. C.2).

    Raises:
        TraceError: the model cannot be exported.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> [(group.name, group.width, group.frozen) for group in trace(net, torch.zeros(2, 4)).groups]
        [('0', 8, None), ('2', 2, "it feeds the model's output")]
    """
    return trace_program(export_model(model, *inputs_of(example)), residual)


def trace_program(program: Program, residual: Residual = "project") -> Coupling:
    """The coupling of a model that is exported already."""
    return coupling_of(propagate_labels(program, residual))


def inputs_of(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword inputs of an example batch."""
    if isinstance(example, Tensor):
        return (example,), {}
    if isinstance(example, dict):
        return (), dict(example)
    if hasattr(example, "args") and hasattr(example, "kwargs"):
        return tuple(example.args), dict(example.kwargs)
    return tuple(example), {}
