"""The calls of layers in a program: which weight meets which input, by what geometry, and what follows the output."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.graph import Program
from pfa_gate.graph.program import argument, node_of, operator_name, shape_of

LINEAR = ("linear",)
CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")


@dataclass(frozen=True)
class Geometry:
    """How a convolution walks over its input, one number for each spatial axis.

    Attributes:
        kernel, stride, padding, dilation: as in torch.nn; padding is that of the low end.
        transposed: whether it is a transposed convolution.

    Example:
        >>> Geometry((3, 3), (1, 1), (1, 1), (1, 1)).taps
        9
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool = False

    @property
    def taps(self) -> int:
        """Inputs of one channel that meet in one output."""
        taps = 1
        for size in self.kernel:
            taps *= size
        return taps


@dataclass(frozen=True)
class Call:
    """One call of a layer that reads filters and makes others.

    Attributes:
        node: the call in the graph.
        source: the input it reads.
        weight, bias: qualified names; bias is None where there is none.
        geometry: of a convolution; None for a linear layer, which reads the last axis.
        groups: blocks of filters that read apart from each other.
        fault: why its weights cannot be set anew, or None.
        readable: whether `matrix_of` its weight is what it multiplies by, and no other call does.
    """

    node: Node
    source: Node
    weight: str
    bias: str | None
    geometry: Geometry | None
    groups: int = 1
    fault: str | None = None
    readable: bool = True

    @property
    def layer(self) -> str:
        """The layer's qualified name."""
        return self.weight.removesuffix(".weight")

    @property
    def outputs(self) -> int:
        """The axis of the weight along which its filters lie; within one group where it is transposed."""
        return 1 if self.geometry is not None and self.geometry.transposed else 0

    @property
    def inputs(self) -> int:
        """The axis of the weight along which the channels lie that it reads."""
        return 1 - self.outputs

    @property
    def channels(self) -> int:
        """The axis of the output that holds its filters."""
        return 1 if self.geometry is not None else len(shape_of(self.node)) - 1


def calls(program: Program) -> tuple[Call, ...]:
    """Every convolution and linear of a program that multiplies by a weight of the model, in order of execution.

    Example:
        >>> import torch
        >>> from pfa_gate.graph import record_model
        >>> program = record_model(torch.nn.Conv2d(3, 8, 3, padding=1), (torch.zeros(2, 3, 4, 4),), {})
        >>> [(call.weight, call.geometry.padding, call.groups) for call in calls(program)]
        [('weight', (1, 1), 1)]
    """
    return tuple(_calls(program))


def _calls(program: Program) -> Iterator[Call]:
    every = [call for node in program.nodes if (call := _call(program, node)) is not None]
    times: dict[str, int] = {}
    for call in every:
        times[call.weight] = times.get(call.weight, 0) + 1
    for call in every:
        count = times[call.weight]
        shared = replace(call, fault=call.fault or f"its weight is used {count} times", readable=False)
        yield shared if count > 1 else call


def _call(program: Program, node: Node) -> Call | None:
    kind = operator_name(node)
    if kind in LINEAR:
        return _named(program, node, (node.args[0], node.args[1], argument(node, 2, "bias")), None)
    if kind in CONVOLUTIONS or kind in TRANSPOSED:
        operands = (node.args[0], node.args[1], argument(node, 2, "bias"))
        return _named(program, node, operands, _geometry(node, kind))
    if kind == "addmm":
        return _named(program, node, (node.args[1], node.args[2], node.args[0]), None)
    if kind in ("matmul", "mm"):
        return _named(program, node, (node.args[0], node.args[1], None), None)
    return None


def _named(program: Program, node: Node, operands: tuple[Any, Any, Any], geometry: Geometry | None) -> Call | None:
    source, weight, bias = operands
    alias = program.aliases.get(weight)
    if alias is None or not isinstance(source, Node) or len(alias.axes) < 2:
        return None
    held = program.aliases.get(bias) if isinstance(bias, Node) else None
    stored, straight = program.state, tuple(range(len(alias.axes)))
    product = geometry is None and operator_name(node) not in LINEAR
    faults = {
        "its weight is computed from others": alias.name not in stored,
        "its weight is moved before it is used": alias.axes != straight or weight in program.constants,
        "its bias is computed": bias is not None and (held is None or held.name not in stored),
        "it is a product that is not a linear layer": product,
    }
    return Call(
        node,
        source,
        alias.name,
        held.name if held else None,
        geometry,
        groups=_groups(node) if geometry is not None else 1,
        fault=next((fault for fault, applies in faults.items() if applies), None),
        readable=alias.whole and alias.axes == ((1, 0) if product else straight),
    )


def _groups(node: Node) -> int:
    groups: int = argument(node, 6, "groups", 1)
    return groups


def _geometry(node: Node, kind: str) -> Geometry:
    kernel = shape_of(node_of(node.args[1]))[2:]
    axes = len(kernel)
    transposed = kind in TRANSPOSED
    stride = _each(argument(node, 3, "stride", 1), axes)
    dilation = _each(argument(node, 7 if transposed else 5, "dilation", 1), axes)
    padding = argument(node, 4, "padding", 0)
    if padding == "valid":
        padding = 0
    if padding == "same":  # torch puts the odd one at the high end
        return Geometry(
            kernel, stride, tuple(d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True)), dilation
        )
    return Geometry(kernel, stride, _each(padding, axes), dilation, transposed)


def _each(value: Any, axes: int) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * axes if len(values) == 1 else values


def matrix_of(call: Call, weight: Tensor) -> Tensor:
    """A layer's weight as one matrix for each group, [groups, taps x channels, filters]; taps come first.

    Example:
        >>> import torch
        >>> linear = Call(None, None, "weight", None, None)
        >>> matrix_of(linear, torch.zeros(5, 3)).shape
        torch.Size([1, 3, 5])
    """
    split = weight.reshape(call.groups, weight.shape[0] // call.groups, weight.shape[1], -1)
    return split.permute((0, 3, 2, 1) if call.outputs == 0 else (0, 3, 1, 2)).flatten(1, 2)


def weight_of(call: Call, matrix: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The inverse of `matrix_of`: a matrix for each group as a weight of `shape`."""
    channels = shape[1] if call.outputs == 0 else shape[0] // call.groups
    split = matrix.reshape(call.groups, -1, channels, matrix.shape[2])
    return split.permute((0, 3, 2, 1) if call.outputs == 0 else (0, 2, 3, 1)).reshape(shape)


_PASSING = {"dropout", "dropout_", "clone", "contiguous", "detach", "alias", "feature_dropout"}
_RECTIFIERS = {"relu", "relu_"}


@dataclass(frozen=True)
class Epilogue:
    """From a layer's output to the sum and the rectifier it ends in.

    Attributes:
        scale, shift: float64 [filters]; what follows the layer multiplies and adds.
        mean, weight: names of the running mean and the weight of the batch norm that follows directly, or None.
        added: the other operand of the residual sum, or None where there is none.
        rectified: whether nothing but a rectifier reads what comes of it.
    """

    scale: Tensor
    shift: Tensor
    mean: str | None = None
    weight: str | None = None
    added: Node | None = None
    rectified: bool = False


def epilogue_of(program: Program, call: Call) -> Epilogue:
    """Follow a layer's output through batch norm and dropout to a sum, and to the rectifier after it.

    Example:
        >>> from pfa_gate.graph import record_model
        >>> from pfa_gate.graph.calls import calls
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2), torch.nn.ReLU()).eval()
        >>> program = record_model(net, (torch.zeros(2, 1, 4, 4),), {})
        >>> followed = epilogue_of(program, calls(program)[0])
        >>> followed.mean, followed.added, followed.rectified
        ('1.running_mean', None, True)
    """
    filters = shape_of(call.node)[call.channels]
    ones = torch.ones(filters, dtype=torch.float64, device=program.tensors[call.weight].device)
    epilogue = Epilogue(ones, torch.zeros_like(ones))
    node = call.node
    while len(node.users) == 1:
        (user,) = node.users
        kind = operator_name(user)
        if kind in _RECTIFIERS:
            return replace(epilogue, rectified=True)
        if kind == "batch_norm" and epilogue.added is None and _is_settled(program, user, node) and call.channels == 1:
            epilogue = _normed(program, user, epilogue, first=node is call.node)
        elif kind in ("add", "add_") and epilogue.added is None and (other := _other(user, node)) is not None:
            epilogue = replace(epilogue, added=other)
        elif kind not in _PASSING:
            break
        node = user
    return epilogue


def _is_settled(program: Program, norm: Node, read: Node) -> bool:
    """Whether a batch norm reads this node with stored statistics, weight and bias: none depends on the batch."""
    given = [norm.args[3], norm.args[4], *(value for value in norm.args[1:3] if value is not None)]
    stored = all(_name(program, value) is not None for value in given)
    return norm.args[0] is read and stored and norm.args[5] is False


def _normed(program: Program, norm: Node, epilogue: Epilogue, first: bool) -> Epilogue:
    weight, bias = (_tensor(program, norm.args[position]) for position in (1, 2))
    mean, variance = (_statistic(program, norm.args[position]) for position in (3, 4))
    factor = (variance + float(norm.args[7])).rsqrt()  # type: ignore[arg-type]
    factor = factor if weight is None else factor * weight
    constant = -mean * factor if bias is None else bias - mean * factor
    epilogue = replace(epilogue, scale=epilogue.scale * factor, shift=epilogue.shift * factor + constant)
    return (
        replace(epilogue, mean=_name(program, norm.args[3]), weight=_name(program, norm.args[1])) if first else epilogue
    )


def _tensor(program: Program, node: object) -> Tensor | None:
    name = _name(program, node)
    return None if name is None else program.tensors[name].double()


def _statistic(program: Program, node: object) -> Tensor:
    tensor = _tensor(program, node)
    if tensor is None:
        raise TypeError("The batch norm has no stored statistics.")
    return tensor


def _name(program: Program, node: object) -> str | None:
    alias = program.aliases.get(node) if isinstance(node, Node) else None
    return None if alias is None else alias.name


def _other(total: Node, one: Node) -> Node | None:
    """The other operand of a plain sum of two values of one shape."""
    first, second = total.args[:2]
    other = second if first is one else first
    if not isinstance(other, Node) or other is one or total.kwargs.get("alpha", 1) != 1:
        return None
    return other if shape_of(other) == shape_of(one) else None
