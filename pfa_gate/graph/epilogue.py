"""What follows a layer's output: the batch norm that scales it, the residual sum it ends in, the rectifier.

PYTEST_DONT_REWRITE
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.graph import Program
from pfa_gate.graph.calls import Call
from pfa_gate.graph.program import operator_name, shape_of

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
    """Follow a layer's output through batch norm and dropout to a sum, and to the rectifier behind it.

    Example:
        >>> from pfa_gate.graph import export_model
        >>> from pfa_gate.graph.calls import calls
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 1), torch.nn.BatchNorm2d(2), torch.nn.ReLU()).eval()
        >>> program = export_model(net, (torch.zeros(2, 1, 4, 4),), {})
        >>> followed = epilogue_of(program, calls(program)[0])
        >>> followed.mean, followed.added, followed.rectified
        ('1.running_mean', None, True)
    """
    filters = shape_of(call.node)[call.channels]
    ones = torch.ones(filters, dtype=torch.float64, device=program.tensors[call.weight].device)
    found = Epilogue(ones, torch.zeros_like(ones))
    node = call.node
    while len(node.users) == 1:
        (user,) = node.users
        kind = operator_name(user)
        if kind in _RECTIFIERS:
            return replace(found, rectified=True)
        if kind == "batch_norm" and found.added is None and _is_settled(user, node) and call.channels == 1:
            found = _normed(program, user, found, first=node is call.node)
        elif kind in ("add", "add_") and found.added is None and (other := _other(user, node)) is not None:
            found = replace(found, added=other)
        elif kind not in _PASSING:
            break
        node = user
    return found


def _is_settled(norm: Node, read: Node) -> bool:
    """Whether a batch norm reads this node with statistics that do not depend on the batch."""
    return norm.args[0] is read and isinstance(norm.args[3], Node) and norm.args[5] is False


def _normed(program: Program, norm: Node, found: Epilogue, first: bool) -> Epilogue:
    weight, bias, mean, variance = (_tensor(program, norm.args[place]) for place in range(1, 5))
    assert mean is not None
    assert variance is not None
    factor = (variance + float(norm.args[7])).rsqrt()  # type: ignore[arg-type]
    factor = factor if weight is None else factor * weight
    constant = -mean * factor if bias is None else bias - mean * factor
    found = replace(found, scale=found.scale * factor, shift=found.shift * factor + constant)
    return replace(found, mean=_name(program, norm.args[3]), weight=_name(program, norm.args[1])) if first else found


def _tensor(program: Program, node: object) -> Tensor | None:
    name = _name(program, node)
    return None if name is None else program.tensors[name].double()


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
