"""A model as the program that can be cut; or, where it cannot be followed, as layers that can only be read."""

from dataclasses import dataclass

from torch import nn

from pfa_gate.analysis.responses import hooked_layers
from pfa_gate.errors import TraceError
from pfa_gate.graph import Coupling, Layer, Program, inputs_of, record_model, trace_program
from pfa_gate.graph.labels import Residual
from pfa_gate.model import Batch


@dataclass(frozen=True)
class ModelGraph:
    """A model as a program, and which of its filters are cut together."""

    program: Program
    coupling: Coupling

    @classmethod
    def of(cls, model: nn.Module, example: Batch, residual: Residual = "project") -> "ModelGraph":
        """Record a model and follow its filters.

        Args:
            model: in evaluation mode.
            example: a batch, on the model's device.
            residual: how sums are cut, see `recipe.residual`.

        Raises:
            TraceError: the model cannot be followed.
        """
        program = record_model(model, *inputs_of(example))
        return cls(program, trace_program(program, residual))


@dataclass(frozen=True)
class Traced:
    """What tracing a model gave.

    Attributes:
        layers: every layer, in the order of the forward pass.
        graph: None where the model cannot be followed; its layers are read by hooks then, and nothing is cut.
        error: why it cannot be followed.
    """

    layers: tuple[Layer, ...]
    graph: ModelGraph | None = None
    error: TraceError | None = None

    @property
    def reason(self) -> str:
        """Why nothing can be cut; empty where the model can be followed."""
        return f"{self.error.fact} {self.error.remedy}".strip() if self.error else ""


def trace_model(model: nn.Module, example: Batch, residual: Residual = "project") -> Traced:
    """Trace a model; see `ModelGraph.of`."""
    try:
        graph = ModelGraph.of(model, example, residual)
    except TraceError as error:
        return Traced(tuple(hooked_layers(model)), error=error)
    return Traced(tuple(graph.coupling.layers), graph)
