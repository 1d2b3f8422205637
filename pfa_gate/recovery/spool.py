"""Where the values of many batches wait between two legs: in memory while they are few, on disk beyond."""

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

MEMORY = 64 * 2**20  # bytes that may wait in memory, however many batches there are


class Spool:
    """Values by batch, the latest of each.

    Args:
        memory: bytes that may wait in memory; what is beyond goes to a temporary folder.

    Example:
        >>> with Spool(memory=0) as spool:
        ...     spool.put(0, {"relu": torch.ones(2)})
        ...     spool.get(0)
        {'relu': tensor([1., 1.])}
    """

    def __init__(self, memory: int = MEMORY) -> None:
        self._memory = memory
        self._held: dict[int, Any] = {}
        self._sizes: dict[int, int] = {}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> "Spool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.clear()
        if self._folder is not None:
            self._folder.cleanup()

    def put(self, batch: int, values: Any) -> None:
        """Keep the values of a batch in place of its earlier ones; tensors and numbers, nested at will."""
        self._held.pop(batch, None)
        self._sizes.pop(batch, None)
        values = pytree.tree_map(_compact, values)
        size = sum(leaf.nbytes for leaf in pytree.tree_leaves(values) if isinstance(leaf, Tensor))
        if sum(self._sizes.values()) + size <= self._memory:
            self._held[batch], self._sizes[batch] = values, size
        else:
            torch.save(values, self._path(batch))

    def get(self, batch: int) -> Any:
        """The latest values of a batch."""
        if batch in self._held:
            return self._held[batch]
        return torch.load(self._path(batch), weights_only=True)

    def _path(self, batch: int) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="pfa-gate-")
        return Path(self._folder.name) / f"{batch}.pt"


def _compact(leaf: Any) -> Any:
    # A view would keep, and store, all of what it is a view of.
    if isinstance(leaf, Tensor) and leaf.untyped_storage().nbytes() > leaf.nbytes:
        return leaf.contiguous().clone()
    return leaf
