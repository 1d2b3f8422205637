"""Operators that only move data: they run as themselves, on the labels instead of the numbers.

Along an axis that an operator leaves alone, labels that do not change need not be there more than once. So most labels
are as short as the axis of the filters, whatever the size of the batch and of the images.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.fx.node import map_arg

from pfa_gate.graph.labels import LabelFlow, Labels, NoRuleError, rule
from pfa_gate.graph.partition import varying
from pfa_gate.graph.program import argument, is_tensor, node_of, operator_name, shape_of
from pfa_gate.graph.rules.spread import start_along


@rule(
    "view reshape _unsafe_view permute transpose t unsqueeze squeeze slice select split split_with_sizes chunk cat",
    "concat stack expand flatten unflatten roll unbind repeat flip narrow pixel_shuffle pixel_unshuffle",
    "channel_shuffle movedim swapaxes expand_as view_as unfold hsplit tile numpy_T mT repeat_interleave",
    "broadcast_to T reshape_as tensor_split diagonal native_channel_shuffle unsafe_chunk unsafe_split",
    "moveaxis swapdims hstack vstack rot90 ravel squeeze_ unsqueeze_ transpose_",
)
def moved(flow: LabelFlow, node: Node) -> Labels:
    """The operator itself, applied to labels."""
    name = operator_name(node)
    if name in ("cat", "concat"):
        _start_beside(flow, node)
    for source in node.all_input_nodes:
        flow.start(source)
    if name in _JOINING:
        return _joined(flow, node)
    if name in _RESHAPING:
        source, shape = node_of(node.args[0]), shape_of(node)
        if math.prod(shape) != math.prod(shape_of(source)):
            raise NoRuleError("reads numbers as others of another size")
        return reshaped(flow.loose(source), shape_of(source), shape)
    if name in _SPREADING:
        labels = flow.loose(node_of(node.args[0]))
        return labels.reshape((1,) * (len(shape_of(node)) - labels.ndim) + tuple(labels.shape))
    return _as_itself(flow, node)


def _as_itself(flow: LabelFlow, node: Node) -> Labels:
    def operand(source: Node) -> Any:
        if not is_tensor(source):
            return _number(source)
        labels, shape = flow.loose(source), shape_of(source)
        own = _own_axes(node, len(shape))
        return labels.expand([size if axis in own else labels.shape[axis] for axis, size in enumerate(shape)])

    args, kwargs = map_arg((node.args, node.kwargs), operand)
    operation: Any = node.target
    result: Tensor | list[Tensor] | tuple[Tensor, ...] = operation(*args, **kwargs)
    return result if isinstance(result, Tensor) else list(result)


def _start_beside(flow: LabelFlow, node: Node) -> None:
    """What no filter made, put beside filters, such as zeros or a stored table, lies along the same axis as they do."""
    sources: Any = node.args[0]
    found = [flow.of(source) for source in sources]
    axes = {axis for labels in found for axis in varying(labels)}
    for source in sources if len(axes) == 1 else ():
        start_along(flow, node, source, min(axes))


def _joined(flow: LabelFlow, node: Node) -> Tensor:
    """Values beside each other: along other axes, each is as long as the longest of them."""
    given: Any = argument(node, 1, "dim", 0)
    every: Any = node.args[0]
    sources = [source for source in every if shape_of(source) != (0,)] or every  # such a one may stand beside any
    shapes = [shape_of(source) for source in sources]
    axis = given % len(shapes[0]) if operator_name(node) != "stack" else None
    labels = [flow.loose(source) for source in sources]
    longest = [max(sizes) for sizes in zip(*(each.shape for each in labels), strict=True)]
    parts = [
        each.expand([shape[place] if place == axis else size for place, size in enumerate(longest)])
        for each, shape in zip(labels, shapes, strict=True)
    ]
    return torch.cat(parts, axis) if axis is not None else torch.stack(parts, given)


def _number(source: Node) -> int:
    value = source.meta.get("val")
    if isinstance(value, int):
        return value
    raise NoRuleError("reads a value that is not a tensor")


_JOINING = frozenset(["cat", "concat", "stack"])
_SPREADING = frozenset(["expand", "expand_as", "broadcast_to"])
_RESHAPING = frozenset(
    "view reshape _unsafe_view view_as reshape_as flatten unflatten ravel squeeze squeeze_ unsqueeze unsqueeze_".split()
)
_PERMUTING = frozenset(
    "permute transpose transpose_ t movedim moveaxis swapaxes swapdims numpy_T mT T repeat tile".split()
)
# Where the axes stand along which an operator moves data: the place among its arguments, the name, and what is meant
# where none is given.
_AXES: dict[str, tuple[int, str, Any]] = {
    **dict.fromkeys(("slice", "unbind"), (1, "dim", 0)),
    **dict.fromkeys(("narrow", "select"), (1, "dim", 0)),
    **dict.fromkeys(
        ("split", "split_with_sizes", "chunk", "tensor_split", "unsafe_chunk", "unsafe_split"), (2, "dim", 0)
    ),
    "roll": (2, "dims", None),
    "repeat_interleave": (2, "dim", None),
    "flip": (1, "dims", None),
    "unfold": (1, "dimension", None),
}


def _own_axes(node: Node, count: int) -> set[int]:
    """The axes along which an operator moves data; all of them, where it is not known."""
    name = operator_name(node)
    if name in _PERMUTING:
        return set()
    given = argument(node, *_AXES[name]) if name in _AXES else None
    listed: list[Any] = list(given) if isinstance(given, list | tuple) else [given]
    if not listed or any(not isinstance(axis, int) for axis in listed):
        return set(range(count))
    return {axis % count for axis in listed} if count else set()


def reshaped(labels: Tensor, before: Sequence[int], after: Sequence[int]) -> Tensor:
    """Labels of a value of shape `before`, seen at the shape `after`.

    Axes that are split or merged among themselves are apart from all others; where nothing changes along them, size 1
    is enough.

    Example:
        >>> reshaped(torch.tensor([[[1, 2, 3, 4]]]), (8, 5, 4), (40, 2, 2)).tolist()
        [[[1, 2], [3, 4]]]
    """
    if 0 in before:
        return labels.expand(tuple(before)).reshape(tuple(after))
    whole: list[int] = []
    result: list[int] = []
    for old, new in _runs(before, after):
        alike = all(labels.shape[axis] == 1 for axis in old)
        whole += [1 if alike else before[axis] for axis in old]
        result += [1 if alike else after[axis] for axis in new]
    return labels.expand(whole).reshape(result)


def _runs(before: Sequence[int], after: Sequence[int]) -> list[tuple[range, range]]:
    """The axes of two shapes as runs of the same size, each as short as can be."""
    runs, old, new = [], 0, 0
    while old < len(before) or new < len(after):
        first, start = old, new
        old, new = min(old + 1, len(before)), min(new + 1, len(after))
        while (sizes := (math.prod(before[first:old]), math.prod(after[start:new])))[0] != sizes[1]:
            old, new = (old + 1, new) if sizes[0] < sizes[1] else (old, new + 1)
        runs.append((range(first, old), range(start, new)))
    return runs
