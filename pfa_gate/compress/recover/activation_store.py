"""Where the values of many batches wait between two legs: in memory while they are few, on disk beyond."""

import shutil
import tempfile
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from pfa_gate.files import unfinished_folder

MEMORY = 128 * 2**20  # bytes that may wait in memory, however many batches there are


@dataclass(frozen=True)
class _Place:
    """The file a tensor lies in, how its bytes are to be read, and where it is to lie."""

    path: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    device: torch.device


class ActivationStore:
    """Values by batch, the latest of each.

    Args:
        memory: bytes that may wait in memory; what is beyond goes to a temporary folder.

    Example:
        >>> with ActivationStore(memory=0) as spool:
        ...     spool.put(0, {"relu": torch.ones(2)})
        ...     spool.get(0)
        {'relu': tensor([1., 1.])}
    """

    def __init__(self, memory: int = MEMORY) -> None:
        self._memory = memory
        self._held: dict[int, Any] = {}
        self._sizes: dict[int, int] = {}
        self._filed: dict[int, tuple[list[Any], pytree.TreeSpec]] = {}
        self._lent: list[tuple[Tensor, _Place]] = []
        self._folder: Path | None = None
        self._names = count()

    def __enter__(self) -> "ActivationStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.clear()
        self._lent.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def put(self, batch: int, values: Any) -> None:
        """Keep the values of a batch in place of its earlier ones; tensors and numbers, nested at will."""
        self._held.pop(batch, None)
        self._sizes.pop(batch, None)
        values = pytree.tree_map(_compact, values)
        leaves, spec = pytree.tree_flatten(values)
        size = sum(leaf.nbytes for leaf in leaves if isinstance(leaf, Tensor))
        before = self._places(batch)
        if sum(self._sizes.values()) + size <= self._memory:
            self._held[batch], self._sizes[batch] = pytree.tree_map(self._owned, values), size
            self._filed.pop(batch, None)
        else:
            self._filed[batch] = [self._placed(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves], spec
        for place in before - self._places(batch):
            place.path.unlink()

    def get(self, batch: int) -> Any:
        """The latest values of a batch; to be read, not to be written into."""
        if batch in self._held:
            return self._held[batch]
        leaves, spec = self._filed[batch]
        self._lent = [(_mapped(leaf), leaf) for leaf in leaves if isinstance(leaf, _Place)]
        tensors = (tensor for tensor, _ in self._lent)
        return pytree.tree_unflatten([next(tensors) if isinstance(leaf, _Place) else leaf for leaf in leaves], spec)

    def _places(self, batch: int) -> set[_Place]:
        leaves, _ = self._filed.get(batch, ([], None))
        return {leaf for leaf in leaves if isinstance(leaf, _Place)}

    def _owned(self, leaf: Any) -> Any:
        """A tensor that does not lie in a file that goes."""
        lent = any(leaf is tensor for tensor, _ in self._lent)
        return leaf.clone() if lent else leaf

    def _placed(self, tensor: Tensor) -> _Place:
        """The file of a tensor: the one it came from, where it was not computed anew."""
        for lent, place in self._lent:
            if lent is tensor:
                return place
        if self._folder is None:
            self._folder = unfinished_folder("pfa_gate", Path(tempfile.gettempdir()))
        place = _Place(self._folder / str(next(self._names)), tensor.dtype, tuple(tensor.shape), tensor.device)
        tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tofile(place.path)
        return place


def _mapped(place: _Place) -> Tensor:
    """A tensor that lies in its file: a page that nobody asks for is not read."""
    empty = torch.empty(place.shape, dtype=place.dtype, device=place.device)
    if not empty.numel():
        return empty
    held = torch.from_file(str(place.path), shared=False, size=empty.numel(), dtype=place.dtype)
    return held.reshape(place.shape).to(place.device)


def _compact(leaf: Any) -> Any:
    # A view would keep, and store, all of what it is a view of.
    if isinstance(leaf, Tensor) and leaf.untyped_storage().nbytes() > leaf.nbytes:
        return leaf.contiguous().clone()
    return leaf
