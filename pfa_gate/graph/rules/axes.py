"""Operators along axes: they pad, pool or reduce data.

Sums, means, maxima and softmax are free along space, and not along the axis of the filters.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.graph.labels import LabelFlow, Labels, NoRuleError, rule
from pfa_gate.graph.partition import aligned, narrowed, varying
from pfa_gate.graph.program import argument, is_tensor, node_of, operator_name, shape_of
from pfa_gate.graph.rules.elementwise import meeting
from pfa_gate.graph.silent import is_silent


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
    source, shape = node_of(node.args[0]), shape_of(node)
    widths = _by_axis([_number(amount) for amount in amounts], len(shape))
    wide = {axis for axis, (before, after) in widths.items() if before or after}
    labels = flow.apart_from(source, wide)
    if not wide & set(varying(labels)):
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


@rule("tril triu")
def triangular(flow: LabelFlow, node: Node) -> Tensor:
    """A triangle of the last two axes, such as a causal mask: free where the filters lie along neither."""
    source = node_of(node.args[0])
    axes = {len(shape_of(source)) - 1, len(shape_of(source)) - 2}
    labels = flow.apart_from(source, axes)
    if axes & set(varying(labels)):
        raise NoRuleError("cuts a triangle out of the filters")
    return labels


@rule(
    "fft_fft fft_ifft fft_rfft fft_irfft fft_hfft fft_ihfft fft_fft2 fft_ifft2 fft_rfft2 fft_irfft2 fft_fftn",
    "fft_ifftn fft_rfftn fft_irfftn fft_fftshift fft_ifftshift",
)
def transformed(flow: LabelFlow, node: Node) -> Tensor:
    """A Fourier transform: each filter by itself, along space and time."""
    source = node_of(node.args[0])
    count = len(shape_of(source))
    axes = [axis % count for axis in _transformed_axes(node, count)]
    labels = flow.apart_from(source, axes)
    if set(axes) & set(varying(labels)):
        raise NoRuleError("transforms the axis of the filters")
    return labels


def _transformed_axes(node: Node, count: int) -> Sequence[int]:
    name = operator_name(node)
    shifts = name.endswith("shift")
    given: Any = argument(node, 1 if shifts else 2, "dim")
    if given is not None:
        return [given] if isinstance(given, int) else given
    if name.endswith("2"):
        return (-2, -1)
    return range(count) if shifts or name.endswith("n") else (-1,)


@rule("view_as_real view_as_complex")
def paired(flow: LabelFlow, node: Node) -> Tensor:
    """Complex numbers as pairs along a new last axis, and back."""
    source = node_of(node.args[0])
    labels = flow.loose(source)
    if operator_name(node) == "view_as_real":
        return labels[..., None]
    if labels.ndim - 1 in varying(labels):
        labels = flow.merge(labels, [labels.ndim - 1])  # the two parts of a number go together
    return labels[..., 0]


_ACROSS = "is reduced across channels"
_NORMS = ("linalg_vector_norm", "linalg_norm", "norm")
_SUMS = ("sum", *_NORMS)
_STATISTICS = (*_SUMS, "mean", "var", "std", "var_mean", "std_mean", "amax", "amin", "aminmax", "max", "min")


@rule(
    "mean sum amax amin softmax _softmax log_softmax _log_softmax linalg_vector_norm norm var std var_mean std_mean",
    "aminmax linalg_norm cumsum cumprod max min logsumexp argmax argmin prod any all median",
)
def reduced(flow: LabelFlow, node: Node) -> Labels:
    """Reduce over axes without filters; over the axis of the filters, a sum or a statistic ends them, as a layer does.

    A filter that is zero where it is silent adds nothing to a sum. Every other statistic over channels is a
    normalisation: it is taken over the channels that are left.
    """
    source = node_of(node.args[0])
    if len(node.args) > 1 and isinstance(node.args[1], Node):
        return meeting(flow, node)  # max and min of two tensors
    axes = _axes(node, len(shape_of(source)))
    labels = flow.apart_from(source, axes, strictly=operator_name(node) not in _STATISTICS)
    if set(varying(labels)) & set(axes):
        if _ends_filters(flow, node, source):
            labels = torch.zeros_like(labels)
        else:
            flow.pin(labels, _ACROSS)
    value = node.meta["val"]
    if isinstance(value, Tensor) and value.shape == source.meta["val"].shape:
        return labels
    parts = list(value) if isinstance(value, list | tuple) else [value]
    results = [_without(labels, axes, part.ndim) for part in parts]
    return results if isinstance(value, list | tuple) else results[0]


def _ends_filters(flow: LabelFlow, node: Node, source: Node) -> bool:
    """Whether a reduction across channels goes on without those that are cut; a statistic is noted."""
    name = operator_name(node)
    if name in _SUMS and is_silent(flow, source) and _power(node) >= 0:
        return True
    if name not in _STATISTICS or node in flow.near_output or _which_is_read(node):
        return False
    flow.normalised.append(node)
    return True


@rule("cosine_similarity")
def similar(flow: LabelFlow, node: Node) -> Tensor:
    """Sums of products over an axis: over that of the filters, exact where these are silent in both operands."""
    sources = [node_of(given) for given in node.args[:2]]
    count = max(len(shape_of(source)) for source in sources)
    axis = argument(node, 2, "dim", 1) % count
    one, other = (
        labels.reshape((1,) * (count - labels.ndim) + tuple(labels.shape)) for labels in map(flow.of, sources)
    )
    flow.meet(one, other, "is compared with something that cannot be cut")
    labels = narrowed(torch.maximum(*aligned(flow.sets.canonical(one), flow.sets.canonical(other))))
    if axis in varying(labels):
        if not all(is_silent(flow, source) for source in sources):
            flow.pin(labels, _ACROSS)
        labels = torch.zeros_like(labels)
    return _without(labels, [axis], count - 1)


def _power(node: Node) -> float:
    """The power of a norm; below 0 of what is no sum: the smallest, or a norm of a matrix."""
    name = operator_name(node)
    given = 1 if name == "sum" else argument(node, 1, "p" if name == "norm" else "ord")
    matrix = name == "linalg_norm" and given is not None and len(_axes(node, 2)) > 1
    return -1.0 if matrix or isinstance(given, str) else 2.0 if given is None else float(given)


def _which_is_read(node: Node) -> bool:
    """Whether it is read which channel is the largest or smallest, and not how large alone."""
    several = operator_name(node) in ("max", "min") and not is_tensor(node)
    return several and any(user.users and user.args[1] == 1 for user in node.users)


def _without(labels: Tensor, axes: Sequence[int], left: int) -> Tensor:
    for axis in axes:
        labels = labels.narrow(axis, 0, 1)
    if left == labels.ndim:
        return labels
    return labels.reshape([size for axis, size in enumerate(labels.shape) if axis not in axes])


def _axes(node: Node, count: int) -> list[int]:
    position = 2 if operator_name(node) in _NORMS else 1
    given: Any = node.args[position] if len(node.args) > position else node.kwargs.get("dim")
    if given is None or (isinstance(given, list | tuple) and not given) or isinstance(given, bool):
        return list(range(count))
    return [axis % count for axis in ([given] if isinstance(given, int) else given)]
