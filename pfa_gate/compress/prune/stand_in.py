"""What is cut in the place of a model gives the same as the model does."""

import torch
from torch import nn

from pfa_gate.compress.prune.proof import TOLERANCE, difference, floating
from pfa_gate.errors import SurgeryError
from pfa_gate.graph.group import Coupling
from pfa_gate.model.batch import Inputs


def require_same(model: nn.Module, coupling: Coupling, inputs: Inputs) -> None:
    """Where the model computes its weights: the one that stores them, and is cut in its place, equals it.

    Raises:
        SurgeryError: it does not.
    """
    stored = coupling.program.stored
    if stored is None or stored is model:
        return
    error = difference(stored, model, inputs)
    if not error <= TOLERANCE[torch.float32]:
        raise SurgeryError(f"With its computed weights stored, the model is off by {error:.1e}.")


def require_unfused(model: nn.Module, coupling: Coupling, inputs: Inputs) -> None:
    """Where torch may fuse whole layers, and then leaves padded positions empty: its operators one by one do the same.

    A graph holds the operators one by one.

    Raises:
        SurgeryError: they do not.
    """
    if not any(isinstance(module, nn.TransformerEncoder) for module in model.modules()):
        return
    args, kwargs = inputs
    with torch.no_grad():
        pairs = zip(floating(coupling.program.run(args, kwargs)), floating(model(*args, **kwargs)), strict=True)
        alike = [one.shape == other.shape and torch.allclose(one, other, 1e-2, 1e-3) for one, other in pairs]
    if not all(alike):
        raise SurgeryError(
            "torch fuses the layers of nn.TransformerEncoder, and then gives other values at padded positions.",
            remedy="Build it with enable_nested_tensor=False.",
        )
