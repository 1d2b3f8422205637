"""The layers that mix a group's filters, and where each filter lies in their weights."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from pfa_gate.graph import Group, Slice
from pfa_gate.graph.calls import Call
from pfa_gate.graph.group import OTHER_GROUP


def readers(every: Iterable[Call], group: Group) -> Iterable[tuple[Call, Slice]]:
    """Of all calls those that mix the group's filters; a depthwise convolution keeps them apart, others read on."""
    parts = {(part.parameter, part.axis): part for part in group.slices}
    for call in every:
        part = parts.get((call.weight, call.inputs))
        if part is not None and call.geometry is not None and call.geometry.transposed and call.groups > 1:
            continue
        if part is not None and call.readable:
            yield call, part


def columns_of(part: Slice, columns: int) -> Tensor:
    """The columns of each filter in the matrix of a layer that reads them; a filter has as many as any other.

    Args:
        part: the axis of the layer's weight along which the filters lie.
        columns: of the layer's matrix, from `matrix_of`.

    Returns:
        int64 [C, columns of a filter].

    Example:
        >>> columns_of(Slice("weight", 1, np.array([0, 0, 1, 1])), columns=8).tolist()
        [[0, 4, 1, 5], [2, 6, 3, 7]]
    """
    order = np.argsort(part.filters, kind="stable")[int((part.filters == OTHER_GROUP).sum()) :]
    channels = torch.from_numpy(order).reshape(int(part.filters.max()) + 1, -1)
    return (channels[:, :, None] + torch.arange(columns // len(part.filters)) * len(part.filters)).flatten(1)
