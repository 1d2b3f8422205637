"""The memory layout in which a program's convolutions run fastest, and whether it may run in it.

On a CPU torch's convolutions take about two thirds of the time where the channels of a place lie side by side: in the
usual layout each call moves its input there and its output back. Values are the same but for rounding.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.utils import _pytree as pytree

from pfa_gate.graph.editing import shares_memory
from pfa_gate.graph.program import Program, operator_name, writes

_CONVOLUTIONS = ("conv2d", "conv_transpose2d")
_VIEWS = ("view", "_unsafe_view")
_BY_MEMORY = {"as_strided", "as_strided_", "view_as_complex", "view_as_real", "set_", "resize_", "view.dtype"}
# A view in one layout, and a copy in another.
_MAYBE_COPIES = {*_VIEWS, "reshape", "flatten", "unflatten", "ravel", "contiguous", "view_as", "reshape_as", "to"}


@dataclass(frozen=True)
class Layout:
    """How the inputs of a program are laid out in memory.

    Attributes:
        channels_last: whether images [N, C, H, W] have the channels of a place side by side.
        instead: what to call in place of operators that ask for the usual layout.
    """

    channels_last: bool = False
    instead: Mapping[Node, Callable[..., Any]] = field(default_factory=dict)

    def of(self, values: Any) -> Any:
        """Inputs, nested at will, in this layout."""
        return pytree.tree_map(_images_last, values) if self.channels_last else values


def fastest_layout(program: Program) -> Layout:
    """The layout in which a program runs fastest.

    Channels come last on a CPU, where there is a convolution over two axes and no operator depends on the layout.

    Args:
        program: of a model.

    Example:
        >>> from pfa_gate.graph import record_model
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten())
        >>> fastest_layout(record_model(net, (torch.zeros(2, 3, 4, 4),), {})).channels_last
        True
        >>> fastest_layout(record_model(net[1], (torch.zeros(2, 3, 4, 4),), {})).channels_last
        False
    """
    nodes = [node for node in program.graph.nodes if node.op == "call_function"]
    names = {node: operator_name(node) for node in nodes}
    wanted = program.device.type == "cpu" and any(name in _CONVOLUTIONS for name in names.values())
    if not wanted or any(_depends_on_layout(node) for node in nodes):
        return Layout()
    return Layout(channels_last=True, instead={node: _reshaped for node, name in names.items() if name in _VIEWS})


def _images_last(leaf: Any) -> Any:
    image = isinstance(leaf, Tensor) and leaf.ndim == 4 and leaf.is_floating_point()
    return leaf.contiguous(memory_format=torch.channels_last) if image else leaf


def _reshaped(value: Tensor, size: Sequence[int]) -> Tensor:
    return value.reshape(size)


def _depends_on_layout(node: Node) -> bool:
    """Whether an operator looks at memory, draws numbers in its order, or writes into what may be a copy by now."""
    name = str(node.target).removeprefix("aten.").removesuffix(".default")
    draws = torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ())
    return draws or name in _BY_MEMORY or (writes(node) and _may_copy(node.args[0]))


def _may_copy(value: Any) -> bool:
    """Whether one of the views through which a value is seen is none in every layout."""
    while isinstance(value, Node) and shares_memory(value):
        if operator_name(value) in _MAYBE_COPIES:
            return True
        value = value.args[0]
    return False
