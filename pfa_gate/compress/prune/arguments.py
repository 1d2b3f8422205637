"""What is left of every value of the graph, and how operators whose arguments hold shapes follow it."""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.compress.prune.cut import removed_labels
from pfa_gate.errors import SurgeryError
from pfa_gate.graph.group import Coupling
from pfa_gate.graph.partition import varying
from pfa_gate.graph.program import BatchSize, argument, operator_name, shape_of, sizes_of

aten = torch.ops.aten


class RemainingValues:
    """What is left of every value of the graph once some labels are gone."""

    def __init__(self, coupling: Coupling, keep: Mapping[str, Any]) -> None:
        self._labels = coupling.labels
        self._gone = removed_labels(coupling, keep)

    def of(self, node: Node, part: int | None = None) -> tuple[int, Tensor] | None:
        """(axis, bool [size]: which of its indices stay) for a value that loses any, else None.

        A part of a value, such as a slice, may lose all of them.

        Raises:
            SurgeryError: the value is one filter, which goes.
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
        if len(axes) != 1:
            raise SurgeryError(f"Nothing is left of the value '{node.name}'.")
        return axes[0], ~gone.reshape(-1)

    def shape(self, node: Node, part: int | None = None) -> list[int]:
        """The value's new shape; the batch is that of the example."""
        value = node.meta["val"] if part is None else node.meta["val"][part]
        sizes = list(value.shape)
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


def stored(node: Node, name: str, tensor: Tensor) -> Node:
    """A tensor that belongs to the graph's module without being one of its weights."""
    module = node.graph.owning_module
    if module is None:
        raise SurgeryError(f"The graph of '{node.name}' belongs to no module.")
    module.register_buffer(name, tensor, persistent=False)
    return node.graph.get_attr(name)


Rewrite = Callable[[Node, Node, RemainingValues], None]


def rewrite_node(node: Node, source: Node, remaining: RemainingValues) -> None:
    """Change the arguments of one operator of the copy (`node`) after what is left in the full program (`source`)."""
    change = _REWRITES.get(operator_name(node))
    if change is not None:
        change(node, source, remaining)


def _resized(given: Sequence[Any], new: Sequence[int], old: Sequence[Any]) -> list[Any]:
    """Shape arguments at the new sizes; `old` are the sizes before, symbolic where they depend on the batch.

    Written numbers become the new size. A product of the batch and something cut becomes -1, which leaves it to the
    operator; a -1 that stood there already is then written out, if it does not depend on the batch too.
    """
    changed = [isinstance(each, Node) and size != before for each, size, before in zip(given, new, old, strict=True)]
    result: list[Any] = []
    for each, size, before, lost in zip(given, new, old, changed, strict=True):
        written = isinstance(each, int) and (each != -1 or (any(changed) and not isinstance(before, BatchSize)))
        result.append(-1 if lost else size if written else each)
    if sum(isinstance(each, int) and each == -1 for each in result) > 1:
        raise SurgeryError("Two sizes of one reshape depend on the batch.")
    return result


def _view(node: Node, source: Node, remaining: RemainingValues) -> None:
    if remaining.of(source) is None and all(remaining.of(each) is None for each in source.all_input_nodes):
        return
    given: Any = node.args[1]
    new = remaining.shape(source)
    node.update_arg(1, _resized(given, new, sizes_of(source)))
    if operator_name(node) in ("view", "_unsafe_view"):
        node.target = aten.reshape.default


def _expand(node: Node, source: Node, remaining: RemainingValues) -> None:
    given: Any = node.args[1]
    new, old = remaining.shape(source), shape_of(source)
    if new != list(old):
        node.update_arg(1, [_size(node, *each) for each in zip(given, new, old, strict=True)])


def _size(node: Node, given: Any, new: int, old: int) -> Any:
    """A size that an operator is given, written or computed from the batch, as it is now."""
    if new == old or given == -1:
        return given
    if not isinstance(given, Node):
        return new
    with node.graph.inserting_before(node):
        scaled = node.graph.call_function(operator.mul, (given, new))
        return node.graph.call_function(operator.floordiv, (scaled, old))


def _repeat(node: Node, source: Node, remaining: RemainingValues) -> None:
    """A value that is repeated along the axis of filters is repeated as often as there are filters left."""
    parent, after = operand(source), remaining.of(source)
    times: Any = node.args[1]
    if after is None:
        return
    axis = after[0] - len(shape_of(source)) + len(times)
    before = (1,) * (len(times) - len(shape_of(parent))) + shape_of(parent)
    if before[axis] == 1:
        new = _size(node, times[axis], remaining.shape(source)[after[0]], shape_of(source)[after[0]])
        node.update_arg(1, [*times[:axis], new, *times[axis + 1 :]])


def _made(node: Node, source: Node, remaining: RemainingValues) -> None:
    """A constant that is made beside filters is as wide as what is left of them."""
    if remaining.of(source) is None:
        return
    place = 1 if operator_name(source).startswith("new_") else 0
    given: Any = node.args[place]
    new, old = remaining.shape(source), shape_of(source)
    node.update_arg(place, [_size(node, *each) for each in zip(given, new, old, strict=True)])


def _unflatten(node: Node, source: Node, remaining: RemainingValues) -> None:
    axis: Any = node.args[1]
    sizes: Any = node.args[2]
    parent = operand(source)
    axis %= len(shape_of(parent))
    new, old = remaining.shape(source), sizes_of(source)
    window = slice(axis, axis + len(sizes))
    node.update_arg(2, _resized(sizes, new[window], old[window]))


def _split(node: Node, source: Node, remaining: RemainingValues) -> None:
    axis: Any = node.args[2] if len(node.args) > 2 else node.kwargs.get("dim", 0)
    parent = operand(source)
    left = remaining.of(parent)
    if left is None or left[0] != axis % len(shape_of(parent)):
        return
    count = len(source.meta["val"])
    sizes = [remaining.shape(source, part)[left[0]] for part in range(count)]
    node.target = aten.split_with_sizes.default
    node.args, node.kwargs = (node.args[0], sizes, left[0]), {}


def _slice(node: Node, source: Node, remaining: RemainingValues) -> None:
    """A slice, roll or selection along the axis that lost indices becomes the same selection among those left.

    What is left of neighbours are neighbours, so a slice stays a slice, into which may be written.
    """
    parent = operand(source)
    left = remaining.of(parent)
    if left is None:
        return
    axis, stays = left
    shape = shape_of(parent)
    if not _moves_along(source, axis, len(shape)):
        return
    indices = torch.arange(len(stays)).reshape([-1 if each == axis else 1 for each in range(len(shape))]).expand(shape)
    args = torch.fx.node.map_arg(source.args[1:], _hint)
    moved: Any = source.target(indices, *args, **source.kwargs)  # type: ignore[operator]
    after = remaining.of(source)
    length = moved.shape[axis]
    line = moved.movedim(axis, 0).reshape(length, moved.numel() // max(length, 1))[:, :1].reshape(-1)
    line = line if after is None else line[after[1]]
    rank = stays.cumsum(0) - 1
    index = torch.as_tensor(rank[line])
    start = int(index[0]) if len(index) else 0
    if operator_name(source) in ("slice", "narrow") and torch.equal(index, torch.arange(start, start + len(index))):
        node.target = aten.slice.Tensor
        node.args, node.kwargs = (node.args[0], axis, start, start + len(index)), {}
        return
    _index_select(node, axis, index)


def _select(node: Node, source: Node, remaining: RemainingValues) -> None:
    """One index of the axis that lost some has another place now."""
    parent = operand(source)
    left, axis, index = remaining.of(parent), argument(source, 1, "dim", 0), argument(source, 2, "index", 0)
    if left is None or left[0] != axis % len(shape_of(parent)):
        return
    if not bool(left[1][index]):
        raise SurgeryError(f"Nothing is left of the value '{source.name}'.")
    node.args, node.kwargs = (node.args[0], axis, int(left[1][: index % len(left[1])].sum())), {}


def _hint(node: Node) -> Any:
    return node.meta.get("val")


def _moves_along(source: Node, axis: int, axes: int) -> bool:
    given: Any = source.args[2] if operator_name(source) == "roll" else source.args[1] if len(source.args) > 1 else 0
    listed = given if isinstance(given, list | tuple) else [given]
    return any(each % axes == axis for each in listed)


def _index_select(node: Node, axis: int, index: Tensor) -> None:
    with node.graph.inserting_before(node):
        index_node = stored(node, f"index_{node.name}", index)
    node.target = aten.index_select.default
    node.args, node.kwargs = (node.args[0], axis, index_node), {}


def _pad(node: Node, source: Node, remaining: RemainingValues) -> None:
    left = remaining.of(source)
    if left is None:
        return
    axis, stays = left
    amounts: Any = list(node.args[1])  # type: ignore[arg-type]
    place = 2 * (len(shape_of(source)) - 1 - axis)
    if place + 1 >= len(amounts):
        return
    before, after = amounts[place], amounts[place + 1]
    amounts[place] = int(stays[:before].sum())
    amounts[place + 1] = int(stays[len(stays) - after :].sum()) if after else 0
    node.update_arg(1, amounts)


def _convolution(node: Node, source: Node, remaining: RemainingValues) -> None:
    parent = operand(source)
    groups: Any = source.args[6] if len(source.args) > 6 else source.kwargs.get("groups", 1)
    channels = shape_of(parent)[1]
    if groups == channels and groups > 1:
        node.update_arg(6, remaining.shape(parent)[1])


def _normalised_shape(node: Node, source: Node, remaining: RemainingValues) -> None:
    shape: Any = source.args[1]
    node.update_arg(1, remaining.shape(source)[-len(shape) :])


def _group_norm(node: Node, source: Node, remaining: RemainingValues) -> None:
    """Where every channel was a group of its own, every one that is left is."""
    parent = operand(source)
    if source.args[1] == shape_of(parent)[1]:
        node.update_arg(1, remaining.shape(parent)[1])


def _attention(node: Node, source: Node, remaining: RemainingValues) -> None:
    """The scale of the full model stays: it belongs to the function, not to the width."""
    query = operand(source)
    scale = source.args[6] if len(source.args) > 6 else source.kwargs.get("scale")
    if scale is None and remaining.of(query) is not None:
        node.kwargs = {**node.kwargs, "scale": shape_of(query)[-1] ** -0.5}


_REWRITES: dict[str, Rewrite] = {
    **dict.fromkeys(("view", "_unsafe_view", "reshape"), _view),
    **dict.fromkeys(("expand", "broadcast_to"), _expand),
    **dict.fromkeys(("split", "split_with_sizes", "chunk", "tensor_split", "unsafe_split", "unsafe_chunk"), _split),
    **dict.fromkeys(("slice", "narrow", "roll", "index_select"), _slice),
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _convolution),
    **dict.fromkeys(("layer_norm", "rms_norm"), _normalised_shape),
    **dict.fromkeys("new_zeros new_ones new_full new_empty zeros ones full empty".split(), _made),
    **dict.fromkeys(("repeat", "tile"), _repeat),
    "group_norm": _group_norm,
    "select": _select,
    "unflatten": _unflatten,
    "scaled_dot_product_attention": _attention,
}
