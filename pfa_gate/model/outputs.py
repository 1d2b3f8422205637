"""What a model gives: the one tensor of it that a metric reads, and all that are floating."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from pfa_gate.errors import MetricError


def class_scores(output: Any) -> Tensor:
    """Find the output that a metric reads: `logits`, or else the first floating tensor.

    Args:
        output: what the model gave: a tensor, a tuple, a mapping, or an object with `logits`.

    Raises:
        MetricError: there is none.

    Example:
        >>> import torch
        >>> class_scores((torch.tensor([7]), torch.zeros(1, 3))).shape
        torch.Size([1, 3])
    """
    named = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    for tensor in _tensors(output if named is None else named):
        if tensor.is_floating_point():
            return tensor
    raise MetricError(
        f"The model's output, of type {type(output).__name__}, holds no floating tensor.",
        remedy="Name a metric of your own: evaluation.metric: module:callable.",
    )


def _tensors(output: Any) -> Iterator[Tensor]:
    # A mapping type of another library is no tree to torch; its values are.
    parts = list(output.values()) if isinstance(output, Mapping) else output
    return (leaf for leaf in tree_leaves(parts) if isinstance(leaf, Tensor))


def floating_outputs(output: Any) -> list[Tensor]:
    """Every floating tensor of an output, in its order.

    Args:
        output: what a model gave: a tensor, a tuple, a mapping, or an object that holds them.

    Example:
        >>> import torch
        >>> [list(each.shape) for each in floating_outputs({"ids": torch.tensor([7]), "boxes": torch.zeros(1, 4)})]
        [[1, 4]]
    """
    # A mapping type of another library is no tree to torch; its values are.
    parts = output
    if isinstance(output, Mapping):
        parts = list(output.values())
    elif not isinstance(output, Tensor | tuple | list) and hasattr(output, "__dict__"):
        parts = list(vars(output).values())
    return [leaf for leaf in tree_leaves(parts) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
