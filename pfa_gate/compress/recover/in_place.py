"""Operators that work in place, and whose memory it is that they write into."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.fx import Node
from torch.utils import _pytree as pytree


def storages(values: Iterable[Any]) -> frozenset[int]:
    """Where the memory of tensors lies; of values that may hold several, or none.

    Example:
        >>> import torch
        >>> held = torch.zeros(4)
        >>> storages([(held, 1), held.view(2, 2)]) == {held.data_ptr()}
        True
    """
    leaves = pytree.tree_leaves(list(values))
    return frozenset(leaf.untyped_storage().data_ptr() for leaf in leaves if isinstance(leaf, Tensor))


def works_in_place(node: Node) -> bool:
    """Whether an operator writes into its first operand."""
    schema = getattr(node.target, "_schema", None)
    return node.op == "call_function" and schema is not None and bool(schema.is_mutable) and _is_tensor(node)


def _is_tensor(node: Node) -> bool:
    return bool(node.args) and isinstance(node.args[0], Node) and isinstance(node.args[0].meta.get("val"), Tensor)
