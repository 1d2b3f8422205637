"""Sums, means, maxima and softmax: free along space, not along the axis of the filters.

PYTEST_DONT_REWRITE
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.graph.labels import LabelFlow, Labels, rule
from pfa_gate.graph.partition import varying
from pfa_gate.graph.program import operator_name, shape_of
from pfa_gate.graph.rules.elementwise import meeting
from pfa_gate.graph.rules.normalisation import is_statistic

_ACROSS = "is reduced across channels"


@rule(
    "mean sum amax amin softmax _softmax log_softmax _log_softmax linalg_vector_norm norm var std var_mean cumsum",
    "max min logsumexp argmax argmin prod any all median",
)
def reduced(flow: LabelFlow, node: Node) -> Labels:
    """Reduce over axes without filters; filters along a reduced axis stay."""
    source = node.args[0]
    assert isinstance(source, Node)
    if len(node.args) > 1 and isinstance(node.args[1], Node):
        return meeting(flow, node)  # max and min of two tensors
    labels, axes = flow.of(source), _axes(node, len(shape_of(source)))
    across = set(varying(labels)) & set(axes)
    if across and operator_name(node) == "mean" and is_statistic(node):
        flow.normalised.append(node)
        return _without(torch.zeros_like(labels), axes, len(shape_of(node)))
    if across:
        flow.pin(labels, _ACROSS)
    value = node.meta["val"]
    if isinstance(value, Tensor) and value.shape == source.meta["val"].shape:
        return labels
    parts = list(value) if isinstance(value, list | tuple) else [value]
    results = [_without(labels, axes, part.ndim) for part in parts]
    return results if isinstance(value, list | tuple) else results[0]


def _without(labels: Tensor, axes: Sequence[int], left: int) -> Tensor:
    for axis in axes:
        labels = labels.narrow(axis, 0, 1)
    if left == labels.ndim:
        return labels
    return labels.reshape([size for axis, size in enumerate(labels.shape) if axis not in axes])


def _axes(node: Node, count: int) -> list[int]:
    place = 2 if operator_name(node) in ("linalg_vector_norm", "norm") else 1
    given: Any = node.args[place] if len(node.args) > place else node.kwargs.get("dim")
    if given is None or (isinstance(given, list | tuple) and not given) or isinstance(given, bool):
        return list(range(count))
    return [axis % count for axis in ([given] if isinstance(given, int) else given)]
