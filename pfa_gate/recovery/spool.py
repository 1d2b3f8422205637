"""Where the values of many batches wait between two legs: in memory while they are few, on disk beyond."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

MEMORY = 64 * 2**20  # bytes that may wait in memory, however many batches there are
_ALIGNED = 64


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies in its batch's file, in bytes, and how its bytes are to be read."""

    start: int
    dtype: torch.dtype
    shape: tuple[int, ...]


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
        self._filed: dict[int, tuple[list[Any], pytree.TreeSpec]] = {}
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
            return
        leaves, spec = pytree.tree_flatten(values)
        places = iter(_written(self._path(batch), [leaf for leaf in leaves if isinstance(leaf, Tensor)]))
        self._filed[batch] = [next(places) if isinstance(leaf, Tensor) else leaf for leaf in leaves], spec

    def get(self, batch: int) -> Any:
        """The latest values of a batch."""
        if batch in self._held:
            return self._held[batch]
        leaves, spec = self._filed[batch]
        tensors = iter(_read(self._path(batch), [leaf for leaf in leaves if isinstance(leaf, _Place)]))
        return pytree.tree_unflatten([next(tensors) if isinstance(leaf, _Place) else leaf for leaf in leaves], spec)

    def _path(self, batch: int) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="pfa-gate-")
        return Path(self._folder.name) / str(batch)


def _written(path: Path, tensors: Sequence[Tensor]) -> list[_Place]:
    """Put the bytes of tensors into a file, one behind the other."""
    places, end = list[_Place](), 0
    with path.open("wb") as file:
        for tensor in tensors:
            places.append(_Place(end, tensor.dtype, tuple(tensor.shape)))
            tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tofile(file)
            end += -(-tensor.nbytes // _ALIGNED) * _ALIGNED
            file.seek(end)
    return places


def _read(path: Path, places: Sequence[_Place]) -> list[Tensor]:
    held = np.fromfile(path, dtype=np.uint8)
    return [_tensor(held, place) for place in places]


def _tensor(held: np.ndarray[Any, np.dtype[np.uint8]], place: _Place) -> Tensor:
    empty = torch.empty(place.shape, dtype=place.dtype)
    part = held[place.start : place.start + empty.nbytes]
    return torch.from_numpy(part).view(place.dtype).reshape(place.shape) if len(part) else empty


def _compact(leaf: Any) -> Any:
    # A view would keep, and store, all of what it is a view of.
    if isinstance(leaf, Tensor) and leaf.untyped_storage().nbytes() > leaf.nbytes:
        return leaf.contiguous().clone()
    return leaf
