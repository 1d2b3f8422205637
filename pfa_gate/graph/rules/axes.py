"""Operators along axes: they move, pad, pool or reduce data.

Those that only move data run as themselves, on the labels instead of the numbers. Sums, means, maxima and softmax are
free along space, and not along the axis of the filters.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.graph.labels import LabelFlow, Labels, NoRuleError, rule
from pfa_gate.graph.partition import varying
from pfa_gate.graph.program import is_tensor, node_of, operator_name, shape_of
from pfa_gate.graph.rules.elementwise import meeting
from pfa_gate.graph.rules.spread import MADE

_CONTIGUOUS = {"view": torch.ops.aten.reshape.default, "_unsafe_view": torch.ops.aten.reshape.default}


@rule(
    "view reshape _unsafe_view permute transpose t unsqueeze squeeze slice select split split_with_sizes chunk cat",
    "concat stack expand flatten unflatten roll unbind repeat flip narrow pixel_shuffle pixel_unshuffle",
    "channel_shuffle movedim swapaxes expand_as view_as unfold hsplit tile numpy_T mT repeat_interleave",
    "broadcast_to T reshape_as tensor_split diagonal native_channel_shuffle",
)
def moved(flow: LabelFlow, node: Node) -> Labels:
    """The operator itself, applied to labels."""
    for source in node.all_input_nodes:
        flow.start(source)
    if operator_name(node) in ("cat", "concat"):
        _label_constants(flow, node)
    args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda source: _operand(flow, source))
    operation: Any = _CONTIGUOUS.get(operator_name(node), node.target)
    result: Tensor | list[Tensor] | tuple[Tensor, ...] = operation(*args, **kwargs)
    return result if isinstance(result, Tensor) else list(result)


def _label_constants(flow: LabelFlow, node: Node) -> None:
    """Constants put beside filters, as zeros before a causal convolution, go with those they stand beside."""
    sources: Any = node.args[0]
    given: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    axis = given % len(shape_of(node))
    beside = [flow.of(source) for source in sources if _distinct_along_another(flow.of(source), axis)]
    for source in sources if beside else ():
        alone = source.op == "call_function" and operator_name(source) in MADE and list(source.users) == [node]
        if alone and len(shape_of(source)) == beside[0].ndim:
            flow.settle(source, beside[0])


def _distinct_along_another(labels: Tensor, axis: int) -> bool:
    axes = varying(labels)
    return len(axes) == 1 and axes[0] != axis


def _operand(flow: LabelFlow, source: Node) -> Any:
    if is_tensor(source):
        return flow.loose(source).expand(shape_of(source)).contiguous()
    value = source.meta.get("val")
    if isinstance(value, int):
        return value
    raise NoRuleError("reads a value that is not a tensor")


@rule("getitem")
def item(flow: LabelFlow, node: Node) -> Tensor | None:
    """One of the several values of an operator."""
    source, index = node.args
    labels = flow.values.get(source)  # type: ignore[arg-type]
    return labels[index] if isinstance(labels, list) else None  # type: ignore[index]


@rule("pad", "constant_pad_nd")
def padded(flow: LabelFlow, node: Node) -> Tensor:
    """Padding in space keeps the labels; a padded channel axis gets fresh ones: zeros that can be left out."""
    amounts: Any = node.args[1]
    labels, shape = flow.of(node_of(node.args[0])), shape_of(node)
    widths = _by_axis([_number(amount) for amount in amounts], len(shape))
    if not any(before or after for axis, (before, after) in widths.items() if axis in varying(labels)):
        return _spread(labels, shape)
    axis = varying(labels)[0]
    _require_zeros(node, widths[axis])
    return _with_zeros(flow, labels, axis, widths[axis])


def _number(amount: Any) -> Any:
    return amount.meta["val"] if isinstance(amount, Node) else amount


def _require_zeros(node: Node, width: tuple[int, int]) -> None:
    mode, value = _padding_mode(node)
    if mode != "constant" or value not in (None, 0, 0.0) or min(width) < 0:
        raise NoRuleError("pads or crops the channels with something other than zeros")


def _padding_mode(node: Node) -> tuple[Any, Any]:
    if operator_name(node) == "constant_pad_nd":
        return "constant", node.args[2] if len(node.args) > 2 else 0
    mode = node.args[2] if len(node.args) > 2 else node.kwargs.get("mode", "constant")
    return mode, node.args[3] if len(node.args) > 3 else node.kwargs.get("value")


def _with_zeros(flow: LabelFlow, labels: Tensor, axis: int, width: tuple[int, int]) -> Tensor:
    def zeros(count: int) -> Tensor:
        shape = [count if position == axis else 1 for position in range(labels.ndim)]
        return flow.sets.fresh(count).reshape(shape)

    return torch.cat([zeros(width[0]), labels, zeros(width[1])], axis)


def _by_axis(amounts: list[int], axes: int) -> dict[int, tuple[int, int]]:
    return {
        axes - 1 - position: (amounts[2 * position], amounts[2 * position + 1]) for position in range(len(amounts) // 2)
    }


def _spread(labels: Tensor, shape: tuple[int, ...]) -> Tensor:
    axes = varying(labels)
    return labels.expand([size if axis in axes else 1 for axis, size in enumerate(shape)])


@rule(
    "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d",
    "adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d _adaptive_avg_pool2d max_pool2d_with_indices",
    "lp_pool2d upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_bilinear2d upsample_bicubic2d",
    "upsample_linear1d upsample_trilinear3d _upsample_nearest_exact2d reflection_pad1d reflection_pad2d",
    "replication_pad1d replication_pad2d",
)
def spatial(flow: LabelFlow, node: Node) -> Labels:
    """Pooling and resizing: filters stay where they are, space changes around them."""
    source = node_of(node.args[0])
    labels, before = flow.of(source), shape_of(source)
    value = node.meta["val"]
    outputs = list(value) if isinstance(value, list | tuple) else [value]
    for axis in varying(labels):
        if outputs[0].shape[axis] != before[axis]:
            raise NoRuleError("resizes the axis that holds the filters")
    several = isinstance(value, list | tuple)
    return [labels.expand(_like(labels, part)) for part in outputs] if several else labels


def _like(labels: Tensor, part: Tensor) -> list[int]:
    return [size if axis in varying(labels) else 1 for axis, size in enumerate(part.shape)]


@rule("index")
def indexed(flow: LabelFlow, node: Node) -> Tensor:
    """Advanced indexing along axes without filters; the axis of the filters stays where its own rule puts it."""
    source = node_of(node.args[0])
    given: Any = node.args[1]
    labels = flow.of(source)
    axes = [axis for axis, index in enumerate(given) if index is not None]
    if set(axes) & set(varying(labels)):
        raise NoRuleError("picks filters by a computed index")
    flow.start(source)
    zeros = [None if index is None else torch.zeros(shape_of(index), dtype=torch.int64) for index in given]
    picked: Tensor = torch.ops.aten.index.Tensor(flow.full(source).contiguous(), zeros)
    return picked


@rule("index_select")
def index_selected(flow: LabelFlow, node: Node) -> Tensor:
    """Rows chosen by index: free along other axes than that of the filters."""
    source, index = node_of(node.args[0]), node_of(node.args[2])
    axis: Any = node.args[1]
    labels = flow.of(source)
    if axis % labels.ndim not in varying(labels):
        return labels
    chosen = flow.program.constants.get(index)
    if chosen is None and flow.tensor(index) is not None:
        chosen = flow.program.tensors[flow.tensor(index).name]  # type: ignore[union-attr]
    if chosen is None or math.prod(chosen.shape) == 0:
        raise NoRuleError("picks filters by a computed index")
    return flow.full(source).index_select(axis, chosen)


_ROOTS = ("rsqrt", "sqrt", "pow", "reciprocal")


_PASSING = ("to", "_to_copy", "float", "type_as")


def divides(node: Node) -> bool:
    """Whether a statistic is used only to divide by: mean of squares, plus a constant, under a root or a fraction.

    That is how RMSNorm and global response normalisation look once they are written out.
    """
    users = list(node.users)
    if not users:
        return False
    return all(_divides_by(node, user) for user in users)


def _divides_by(node: Node, user: Node) -> bool:
    name = operator_name(user) if user.op == "call_function" else ""
    if name in _ROOTS:
        return True
    if name == "div":
        return user.args[1] is node and user.args[0] is not node
    if name in _PASSING or (name in ("add", "clamp", "clamp_min") and user.all_input_nodes == [node]):
        return divides(user)
    return False


def is_statistic(node: Node) -> bool:
    """Whether a mean over channels is the statistic of a normalisation that is written out."""
    source = node.args[0]
    if not isinstance(source, Node) or source.op != "call_function":
        return False
    made = operator_name(source)
    squares = made in ("square", "linalg_vector_norm", "norm") or (made == "pow" and source.args[1] == 2)
    products = made == "mul" and len(source.all_input_nodes) == 1
    return (squares or products) and divides(node)


_ACROSS = "is reduced across channels"


@rule(
    "mean sum amax amin softmax _softmax log_softmax _log_softmax linalg_vector_norm norm var std var_mean cumsum",
    "max min logsumexp argmax argmin prod any all median",
)
def reduced(flow: LabelFlow, node: Node) -> Labels:
    """Reduce over axes without filters; filters along a reduced axis stay."""
    source = node_of(node.args[0])
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
    position = 2 if operator_name(node) in ("linalg_vector_norm", "norm") else 1
    given: Any = node.args[position] if len(node.args) > position else node.kwargs.get("dim")
    if given is None or (isinstance(given, list | tuple) and not given) or isinstance(given, bool):
        return list(range(count))
    return [axis % count for axis in ([given] if isinstance(given, int) else given)]
