"""What is left of every value of the graph once some filters are gone."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.compress.prune.cut import removed_labels
from pfa_gate.errors import SurgeryError
from pfa_gate.graph.group import Coupling
from pfa_gate.graph.partition import varying
from pfa_gate.graph.program import concrete


class RemainingValues:
    """What is left of every value of the graph once some labels are gone."""

    def __init__(self, coupling: Coupling, keep: Mapping[str, Any]) -> None:
        self._labels = coupling.labels
        self._gone = removed_labels(coupling, keep)

    def of(self, node: Node, part: int | None = None) -> tuple[int, Tensor] | None:
        """(axis, bool [size]: which of its indices stay) for a value that loses any, else None.

        Raises:
            SurgeryError: nothing at all is left of the value.
        """
        labels: Any = self._labels.get(node.name)
        if isinstance(labels, list):
            labels = labels[part or 0]
        if labels is None:
            return None
        gone = torch.isin(labels, self._gone)
        if not bool(gone.any()):
            return None
        axes = varying(labels)
        if len(axes) != 1 or bool(gone.all()):
            raise SurgeryError(f"Nothing is left of the value '{node.name}'.")
        return axes[0], ~gone.reshape(-1)

    def shape(self, node: Node, part: int | None = None) -> list[int]:
        """The value's new shape; the batch is that of the example."""
        value = node.meta["val"] if part is None else node.meta["val"][part]
        sizes = [concrete(size) for size in value.shape]
        left = self.of(node, part)
        if left is not None:
            sizes[left[0]] = int(left[1].sum())
        return sizes


def operand(node: Node, index: int = 0) -> Node:
    """The node that gives an argument of an operator.

    Raises:
        SurgeryError: the argument is a number, a list or missing.
    """
    found = node.args[index] if len(node.args) > index else None
    if not isinstance(found, Node):
        raise SurgeryError(f"Argument {index} of '{node.name}' is not a value of the graph.")
    return found
