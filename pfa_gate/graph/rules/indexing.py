"""Operators that read or write by index: free along axes without filters."""

import math
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.graph.labels import MOST_LABELS, LabelFlow, NoRuleError, rule
from pfa_gate.graph.partition import UNTRACKED, aligned, narrowed, varying
from pfa_gate.graph.program import argument, node_of, operator_name, shape_of
from pfa_gate.graph.rules.elementwise import joined, meet_operand
from pfa_gate.graph.silent import note_written

_COMPUTED = "picks filters by a computed index"


@rule("index")
def indexed(flow: LabelFlow, node: Node) -> Tensor:
    """Advanced indexing along axes without filters; the axis of the filters stays where its own rule puts it."""
    source = node_of(node.args[0])
    given: Any = node.args[1]
    axes = [axis for axis, index in enumerate(given) if index is not None]
    _start_table(flow, source, axes)
    labels = flow.apart_from(source, axes)
    if set(axes) & set(varying(labels)):
        raise NoRuleError(_COMPUTED)
    zeros = [None if index is None else torch.zeros(shape_of(index), dtype=torch.int64) for index in given]
    picked: Tensor = torch.ops.aten.index.Tensor(labels.expand(shape_of(source)).contiguous(), zeros)
    return picked


def _start_table(flow: LabelFlow, source: Node, axes: Collection[int]) -> None:
    """A held table that is looked up by computed indices stays whole along their axes, and starts labels along others.

    Too large a table is left whole, as everywhere.
    """
    alias, shape = flow.tensor(source), [1 if axis in axes else size for axis, size in enumerate(shape_of(source))]
    if alias is None or alias.name in flow.aligned:
        return
    if alias.name in flow.matrices or not source.meta["val"].is_floating_point() or math.prod(shape) > MOST_LABELS:
        flow.start(source)
    else:
        flow.adopt(alias, flow.sets.fresh(math.prod(shape)).reshape(shape))


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
        raise NoRuleError(_COMPUTED)
    return flow.full(source).index_select(axis, chosen)


@rule("gather take_along_dim")
def gathered(flow: LabelFlow, node: Node) -> Tensor:
    """Values picked by an index for each place: one that is spread over the filters is as wide as they are."""
    first, second = (node.args[1], node.args[2]) if operator_name(node) == "gather" else (node.args[2], node.args[1])
    source, index, axis = node_of(node.args[0]), node_of(second), first
    if axis is None:
        raise NoRuleError("picks from all axes at once")
    return _met(flow, node, [source, index], axis)


@rule(
    "scatter scatter_ scatter_add scatter_add_ scatter_reduce scatter_reduce_ index_add index_add_ index_copy",
    "index_copy_ index_fill index_fill_",
)
def scattered(flow: LabelFlow, node: Node) -> Tensor:
    """Values put at the places of an index, along an axis without filters."""
    sources = [node.args[0], *node.args[3:4]]
    if operator_name(node).startswith("scatter"):
        sources.append(node.args[2])  # its index is as wide as the values; others have one axis
    labels = _met(flow, node, [source for source in sources if isinstance(source, Node)], node.args[1])
    note_written(flow, node)
    return labels


def _met(flow: LabelFlow, node: Node, sources: list[Node], axis: Any) -> Tensor:
    for source in sources:
        if len(shape_of(source)) > 1:
            flow.apart_from(source, [axis % len(shape_of(node))])
    labels = joined(flow, node, sources)
    if axis % labels.ndim in varying(narrowed(labels)):
        raise NoRuleError(_COMPUTED)
    sizes = {shape_of(source)[each] for source in sources for each in varying(narrowed(labels)) if shape_of(source)}
    if len(sizes) > 1:
        raise NoRuleError("reads some of the filters alone")
    return labels


@rule("index_put index_put_")
def put(flow: LabelFlow, node: Node) -> Tensor:
    """Values put at indices of axes without filters; or one number, wherever a mask of the same shape says."""
    source, value = node_of(node.args[0]), node_of(node.args[2])
    given: Any = node.args[1]
    indices = [axis for axis, index in enumerate(given) if index is not None]
    labels = flow.apart_from(source, indices)
    mask = given[0]
    if len(given) == 1 and shape_of(mask) == shape_of(source) and shape_of(value) in ((), (1,)):
        labels = joined(flow, node, [source, mask])
    else:
        if set(indices) & set(varying(labels)):
            raise NoRuleError(_COMPUTED)
        zeros = [None if index is None else torch.zeros(shape_of(index), dtype=torch.int64) for index in given]
        picked = torch.ops.aten.index.Tensor(flow.full(source).contiguous(), zeros)
        meet_operand(flow, node, picked, value)
    note_written(flow, node)
    return flow.sets.canonical(labels)


@rule("slice_scatter select_scatter")
def put_beside(flow: LabelFlow, node: Node) -> Tensor:
    """Values put in the place of a slice, along an axis without filters."""
    source, value = node_of(node.args[0]), node_of(node.args[1])
    axis = argument(node, 2, "dim", 0) % len(shape_of(node))
    labels, put = flow.of(source), flow.of(value)
    put = put.unsqueeze(axis) if operator_name(node) == "select_scatter" else put
    if axis in varying(labels) or axis in varying(put):
        raise NoRuleError("puts some of the filters alone in the place of others")
    flow.meet(labels, put, "meets a value whose filters cannot be cut")
    return flow.sets.canonical(torch.maximum(*aligned(labels, put)))


@rule("grid_sampler grid_sampler_2d grid_sampler_3d")
def sampled(flow: LabelFlow, node: Node) -> Tensor:
    """Each filter is read at the same places."""
    source, grid = node_of(node.args[0]), node_of(node.args[1])
    flow.pin_value(grid, "says where others are read")
    if varying(flow.of(source)) not in ([], [1]):
        raise NoRuleError("resizes the axis that holds the filters")
    return flow.of(source)


@rule("affine_grid_generator")
def placed(flow: LabelFlow, node: Node) -> Tensor:
    """Places computed from six numbers, which are no filters."""
    flow.pin_value(node.args[0], "says where others are read")
    return torch.full((1,) * len(shape_of(node)), UNTRACKED)


@rule("max_unpool2d max_unpool3d")
def unpooled(flow: LabelFlow, node: Node) -> Tensor:
    """Each filter goes to the places at which its own maxima were."""
    labels, places = (flow.of(node_of(given)) for given in node.args[:2])
    if varying(labels) not in ([], [1]):
        raise NoRuleError("resizes the axis that holds the filters")
    flow.meet(labels, places, "its places cannot be cut")
    return flow.sets.canonical(labels)


@rule("im2col")
def patches(flow: LabelFlow, node: Node) -> Tensor:
    """[N, C, H, W] to [N, C k k, L]: a filter's whole window goes with it."""
    source, kernel = node_of(node.args[0]), node.args[1]
    if len(shape_of(source)) != 4:
        raise NoRuleError("has no batch")
    return flow.along(source, 1).repeat_interleave(math.prod(kernel)).reshape(1, -1, 1)  # type: ignore[arg-type]


@rule("col2im")
def overlaid(flow: LabelFlow, node: Node) -> Tensor:
    """[N, C k k, L] to [N, C, H, W]: the window of each filter is one."""
    source, kernel = node_of(node.args[0]), node.args[2]
    if len(shape_of(source)) != 3:
        raise NoRuleError("has no batch")
    windows = flow.along(source, 1).reshape(-1, math.prod(kernel))  # type: ignore[arg-type]
    flow.meet(windows, windows[:, :1].expand_as(windows), "shares a window with something that cannot be cut")
    return flow.sets.canonical(windows[:, 0]).reshape(1, -1, 1, 1)
