"""One batch: what the model is called with, and the labels apart from it."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from pfa_gate.errors import DataError

Inputs = tuple[tuple[Any, ...], dict[str, Any]]
"""The positional and the keyword inputs of one call of a model."""


@dataclass(frozen=True)
class Batch:
    """The inputs of one call of the model.

    Args:
        args: positional arguments; tensors have the samples on axis 0.
        kwargs: keyword arguments, alike.
        labels: what the model should say, one per sample; None where the data has none. A tensor
            wherever the data gives numbers; a mapping is for a metric that takes more than a target by name; anything
            else is for the user's own metric.

    Example:
        >>> batch = batch_of((torch.zeros(4, 1, 8, 8), torch.tensor([3, 1, 4, 1])))
        >>> batch.size, len(batch.args), batch.take(slice(2)).labels
        (4, 1, tensor([3, 1]))
        >>> images, labels = batch
        >>> images.shape, labels
        (torch.Size([4, 1, 8, 8]), tensor([3, 1, 4, 1]))
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    labels: Any = None

    def __iter__(self) -> Iterator[Any]:
        """The positional inputs, then the labels, which are None where the data has none.

        Raises:
            DataError: there are keyword arguments, which have no order.
        """
        if self.kwargs:
            raise DataError(
                f"A batch of keyword arguments ({', '.join(self.kwargs)}) does not unpack: they have no order.",
                remedy="Call model(*batch.args, **batch.kwargs), and read batch.labels.",
            )
        return iter((*self.args, self.labels))

    @property
    def size(self) -> int:
        """Number of samples: the length of the first tensor.

        Raises:
            DataError: no input is a tensor with an axis for samples.
        """
        for tensor in self.tensors():
            if tensor.ndim:
                return len(tensor)
        raise DataError(
            "A batch holds no tensor with an axis for its samples.",
            remedy="Give tensors with the samples on axis 0.",
        )

    def tensors(self) -> list[Tensor]:
        """List the input tensors in the order of the call, nested ones too."""
        return [leaf for leaf in tree_leaves((self.args, self.kwargs)) if isinstance(leaf, Tensor)]

    def to(self, device: torch.device) -> "Batch":
        """Give the same on another device; a copy to an accelerator is asynchronous."""

        def moved(leaf: Any) -> Any:
            if not isinstance(leaf, Tensor) or leaf.device == device:
                return leaf
            pinned = leaf.pin_memory() if device.type == "cuda" and leaf.device.type == "cpu" else leaf
            return pinned.to(device, non_blocking=pinned.is_pinned())

        return Batch(tree_map(moved, self.args), tree_map(moved, self.kwargs), tree_map(moved, self.labels))

    def take(self, rows: slice | Tensor) -> "Batch":
        """Give some of the samples; what is not per sample stays as it is.

        Args:
            rows: a slice, or int64 indices [n].
        """
        size = self.size

        def taken(leaf: Any) -> Any:
            if isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == size:
                return leaf[rows]
            return leaf

        labels = tree_map(taken, self.labels) if isinstance(self.labels, Mapping | tuple) else taken(self.labels)
        if isinstance(labels, list) and len(labels) == size:
            labels = labels[rows] if isinstance(rows, slice) else [labels[row] for row in rows.tolist()]
        return Batch(tree_map(taken, self.args), tree_map(taken, self.kwargs), labels)


def batch_usage(error: Exception, name: str) -> str:
    """A remedy for a callable of the user's that mistook a batch for something else; empty for other errors.

    Args:
        error: that it raised.
        name: of the callable.

    Example:
        >>> batch_usage(TypeError("'Batch' object is not subscriptable"), "rmse")[:61]
        'rmse(model, batches) reads batches that unpack as (inputs…, l'
        >>> batch_usage(ZeroDivisionError("no classes"), "rmse")
        ''
    """
    mistaken = isinstance(error, TypeError | AttributeError) and re.search(r"\bBatch(es)?\b", str(error))
    if not mistaken:
        return ""
    return (
        f"{name}(model, batches) reads batches that unpack as (inputs…, labels) and have .args, .kwargs and .labels; "
        "one is run as model(*batch.args, **batch.kwargs)."
    )


def batch_of(item: Any) -> Batch:
    """Read what a data loader gives.

    Args:
        item: a tensor or array; a tuple or list (inputs…, labels); or a mapping of keyword arguments,
            in which `labels` is kept apart.

    Returns:
        The batch, arrays turned into tensors of the same type; nothing is rescaled.

    Raises:
        DataError: anything else.

    Example:
        >>> batch_of({"pixels": np.zeros((2, 3), np.float32), "labels": [0, 1]}).kwargs["pixels"].shape
        torch.Size([2, 3])
        >>> batch_of("seven")
        Traceback (most recent call last):
        pfa_gate.errors.DataError: The data gives objects of type str.
          A batch is a tensor, a tuple (inputs, labels) or a mapping of keyword arguments.
    """
    if isinstance(item, Mapping):
        named = {str(key): _tensor(value) for key, value in item.items() if key != "labels"}
        return Batch((), named, _labels(item.get("labels")))
    if isinstance(item, tuple | list) and item:
        inputs, labels = (item[:-1], item[-1]) if len(item) > 1 else (item, None)
        return Batch(tuple(_tensor(value) for value in inputs), {}, _labels(labels))
    if isinstance(item, Tensor | np.ndarray):
        return Batch((_tensor(item),), {})
    raise DataError(
        f"The data gives objects of type {type(item).__name__}.",
        remedy="A batch is a tensor, a tuple (inputs, labels) or a mapping of keyword arguments.",
    )


def joined(batches: Sequence[Batch]) -> Batch:
    """Put the samples of several batches into one; labels are left out.

    Args:
        batches: at least one; all with the same inputs.

    Raises:
        DataError: their samples differ in shape.

    Example:
        >>> joined([batch_of(torch.zeros(1, 5)), batch_of(torch.ones(1, 5))]).size
        2
    """

    def cat(first: Any, *others: Any) -> Any:
        per_sample = isinstance(first, Tensor) and first.ndim
        return torch.cat([first, *others]) if per_sample else first

    head, *rest = batches
    try:
        args = tree_map(cat, head.args, *(batch.args for batch in rest))
        kwargs = tree_map(cat, head.kwargs, *(batch.kwargs for batch in rest))
    except (RuntimeError, ValueError) as error:
        raise DataError(f"Two samples of the data do not fit into one batch: {error}.") from error
    return Batch(args, kwargs)


def samples_of(inputs: Inputs, otherwise: int = 1) -> int:
    """How many samples some inputs have: the length of their first tensor; `otherwise` where there is none.

    Example:
        >>> samples_of(((3, torch.zeros(5, 2)), {})), samples_of(((3,), {}), otherwise=8)
        (5, 8)
    """
    return next((len(leaf) for leaf in tree_leaves(inputs) if isinstance(leaf, Tensor) and leaf.ndim), otherwise)


def inputs_at(inputs: Inputs, dtype: torch.dtype | None) -> Inputs:
    """The same inputs, floating tensors in a precision, if one is given.

    Example:
        >>> inputs_at(((torch.zeros(1), torch.zeros(1, dtype=torch.int64)), {}), torch.float64)
        ((tensor([0.], dtype=torch.float64), tensor([0])), {})
    """
    return _mapped(inputs, lambda leaf: leaf.to(dtype) if leaf.is_floating_point() and dtype else leaf)


def random_inputs(inputs: Inputs, dtype: torch.dtype | None, count: int) -> list[Inputs]:
    """Random inputs like these: noise of their own mean and spread; integers are drawn from their own values.

    Along a third axis and those after it, integers are drawn together: they may be the corners of a box.

    Args:
        inputs: the example.
        dtype: the precision of floating tensors; their own if None.
        count: how many are drawn, the same in every call.

    Example:
        >>> [((drawn,), _)] = random_inputs(((torch.tensor([3, 3]),), {}), None, 1)
        >>> drawn.tolist()
        [3, 3]
    """
    generator = torch.Generator().manual_seed(0)
    return [_mapped(inputs, lambda leaf: _random_like(leaf, dtype, generator)) for _ in range(count)]


def _mapped(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    mapped: Inputs = tree_map(lambda leaf: change(leaf) if isinstance(leaf, Tensor) else leaf, inputs)
    return mapped


def _random_like(leaf: Tensor, dtype: torch.dtype | None, generator: torch.Generator) -> Tensor:
    if leaf.is_floating_point():
        noise = torch.randn(leaf.shape, generator=generator, dtype=torch.float64)
        spread = leaf.double().std() if leaf.numel() > 1 else torch.tensor(1.0)
        return (noise * (spread + 1e-3) + leaf.double().mean()).to(dtype or leaf.dtype)
    if leaf.dtype == torch.bool or not leaf.numel():
        return leaf
    values = leaf.flatten(0, 1) if leaf.ndim > 2 else leaf.reshape(-1)
    return values[torch.randint(len(values), leaf.shape[:2], generator=generator)]


def _tensor(value: Any) -> Any:
    """Turn the arrays in a value into tensors, and leave all else to the model."""
    return tree_map(lambda leaf: tensor_of(leaf) if isinstance(leaf, np.ndarray) else leaf, value)


def tensor_of(array: Any) -> Tensor:
    """Give an array as a tensor of the same type.

    Args:
        array: any shape; a number type that torch knows.

    Raises:
        DataError: strings, objects, dates.

    Example:
        >>> tensor_of(np.zeros(2, np.uint8)).dtype
        torch.uint8
        >>> tensor_of(np.array(["a"]))
        Traceback (most recent call last):
        pfa_gate.errors.DataError: An array of type <U1 is not data for a model.
    """
    native = np.asarray(array)
    if not (native.flags.writeable and native.dtype.isnative):
        native = native.astype(native.dtype.newbyteorder("="))
    try:
        return torch.from_numpy(native)
    except TypeError as error:
        raise DataError(f"An array of type {native.dtype} is not data for a model.") from error


def _labels(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _labels(each) if isinstance(each, np.ndarray) else each for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return tensor_of(value) if value.dtype.kind in "biuf" else value
    if isinstance(value, list | tuple) and value and all(isinstance(label, int | float) for label in value):
        return torch.tensor(value)
    return value
