"""The whole cut, before anything is changed: which indices of each parameter and of each value of the graph stay."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.errors import SurgeryError
from pfa_gate.graph.group import OTHER_GROUP, Coupling, Group, Indices
from pfa_gate.graph.partition import varying
from pfa_gate.graph.program import concrete

AxisIndices = dict[str, dict[int, Indices]]


def plan(coupling: Coupling, keep: Mapping[str, npt.ArrayLike]) -> AxisIndices:
    """Indices that stay, for each axis of each parameter that loses any.

    Args:
        coupling: the model's coupling.
        keep: for each group to cut, the filters that stay; groups not named stay whole.

    Raises:
        SurgeryError: an unknown or frozen group, no filter left, or an index out of range or named twice.
    """
    gone: dict[tuple[str, int], npt.NDArray[np.bool_]] = {}
    for name, filters in keep.items():
        group = _free_group(coupling, name)
        removed = _removed(group, filters)
        for part in group.slices:
            lost = (part.filters != OTHER_GROUP) & removed[part.filters]
            place = (part.parameter, part.axis)
            gone[place] = gone.get(place, np.zeros(len(lost), bool)) | lost
    axis_indices: AxisIndices = {}
    for (parameter, axis), lost in gone.items():
        if lost.any():
            axis_indices.setdefault(parameter, {})[axis] = np.flatnonzero(~lost)
    return axis_indices


def removed_labels(coupling: Coupling, keep: Mapping[str, npt.ArrayLike]) -> Tensor:
    """Labels of all filters that go, int64 [n]."""
    gone = [group.labels[_removed(group, keep[name])] for name in keep for group in [_free_group(coupling, name)]]
    return torch.from_numpy(np.concatenate(gone)) if gone else torch.zeros(0, dtype=torch.int64)


def _free_group(coupling: Coupling, name: str) -> Group:
    try:
        group = coupling.group(name)
    except KeyError:
        names = ", ".join(each.name for each in coupling.free)
        raise SurgeryError(f"There is no group '{name}'.", remedy=f"Free groups: {names}.") from None
    if group.frozen is not None:
        raise SurgeryError(f"Group '{name}' cannot be cut: {group.frozen}.", remedy="Leave it out of the selection.")
    return group


def _removed(group: Group, filters: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    chosen = np.asarray(filters)
    if chosen.ndim != 1 or not len(chosen) or not np.issubdtype(chosen.dtype, np.integer):
        raise SurgeryError(f"Group '{group.name}' needs a non-empty list of filter indices.")
    if chosen.min() < 0 or chosen.max() >= group.width or len(np.unique(chosen)) != len(chosen):
        raise SurgeryError(f"Group '{group.name}' has filters 0 to {group.width - 1}, each to be named once.")
    removed = np.ones(group.width, bool)
    removed[chosen] = False
    return removed


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
