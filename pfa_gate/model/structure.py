"""How inputs and outputs are made of single values: tuples, mappings, dataclasses and outputs of model libraries."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree


class OpaqueObjectError(Exception):
    """An object holds tensors and has no parts that torch knows.

    Attributes:
        kind: its type's name.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(f"An object of type {kind} holds tensors and has no parts that torch knows.")
        self.kind = kind


def leaves_of(value: Any) -> tuple[list[Any], pytree.TreeSpec]:
    """The single values within a value, in a fixed order, and the structure that they stand in.

    Dataclasses that torch does not know yet are made known to it, for the rest of the process.

    Raises:
        OpaqueObjectError: an object holds tensors and is none of these.

    Example:
        >>> leaves, structure = leaves_of({"logits": 1, "hidden": (2, 3)})
        >>> leaves, structure.type
        ([1, 2, 3], <class 'dict'>)
    """
    leaves, structure = pytree.tree_flatten(value)
    unknown = {type(leaf) for leaf in leaves if dataclasses.is_dataclass(leaf) and not isinstance(leaf, type | Tensor)}
    registered = [kind for kind in unknown if _made_known(kind)]
    if registered:
        return leaves_of(value)
    for leaf in leaves:
        if _holds_tensors(leaf):
            raise OpaqueObjectError(type(leaf).__name__)
    return leaves, structure


def _made_known(kind: type) -> bool:
    """Whether torch takes objects of this dataclass apart from now on."""
    if any(not each.init for each in dataclasses.fields(kind)):
        return False
    pytree.register_dataclass(kind)
    return True


def _holds_tensors(leaf: Any) -> bool:
    if isinstance(leaf, Tensor | type):
        return False
    held = vars(leaf) if hasattr(leaf, "__dict__") else {}
    return any(isinstance(each, Tensor) for each in pytree.tree_leaves(dict(held)))


@dataclass(frozen=True)
class CallStructure:
    """How the inputs and the output of a model are made of single values.

    Attributes:
        names: of the inputs, first the positional ones, then those given by keyword.
        inputs: the structure of (args, kwargs).
        output: the structure of the output.
    """

    names: tuple[str, ...]
    inputs: pytree.TreeSpec
    output: pytree.TreeSpec

    def leaves(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Any]:
        """The single values of a call's inputs, in the order of the graph's; keywords may come in any order.

        Raises:
            KeyError: a keyword input of the example is missing.
        """
        keywords = self.inputs.children()[1].context
        ordered = {name: kwargs[name] for name in keywords}
        return pytree.tree_leaves((args, ordered))
