"""A store for the values of many batches between two stages: in memory up to a limit, on disk beyond it."""

import shutil
import tempfile
from collections.abc import Hashable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from pfa_gate.files import unfinished_folder

MEMORY = 128 * 2**20  # bytes that may be held in memory, however many batches there are


@dataclass(frozen=True)
class _TensorFile:
    """The file of a tensor, how its bytes are read, and the device it belongs on.

    Attributes:
        path: of the file.
        dtype: of the tensor.
        shape: of the tensor with its axes in the order of memory.
        axes: which axis of those is each of its own.
        device: of the tensor.
    """

    path: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    device: torch.device


class ActivationStore:
    """Values by key, the latest of each.

    Args:
        memory: bytes that may be held in memory; more goes to a temporary folder.

    Example:
        >>> with ActivationStore(memory=0) as store:
        ...     store.put(0, {"relu": torch.ones(2)})
        ...     store.get(0)
        {'relu': tensor([1., 1.])}
    """

    def __init__(self, memory: int = MEMORY) -> None:
        self._memory = memory
        self._held: dict[Hashable, Any] = {}
        self._sizes: dict[Hashable, int] = {}
        self._filed: dict[Hashable, tuple[list[Any], pytree.TreeSpec]] = {}
        self._mapped: list[tuple[Tensor, _TensorFile]] = []
        self._folder: Path | None = None
        self._names = count()

    def __enter__(self) -> "ActivationStore":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held.clear()
        self._mapped.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def put(self, key: Hashable, values: Any) -> None:
        """Keep values under a key in place of its earlier ones; tensors and numbers, nested at will."""
        self._held.pop(key, None)
        self._sizes.pop(key, None)
        values = pytree.tree_map(_compact, values)
        leaves, spec = pytree.tree_flatten(values)
        size = sum(leaf.nbytes for leaf in leaves if isinstance(leaf, Tensor))
        before = self._files(key)
        if sum(self._sizes.values()) + size <= self._memory:
            self._held[key], self._sizes[key] = pytree.tree_map(self._owned, values), size
            self._filed.pop(key, None)
        else:
            self._filed[key] = [self._written(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves], spec
        for file in before - self._files(key):
            file.path.unlink()

    def get(self, key: Hashable) -> Any:
        """The latest values under a key; to be read, not to be written into."""
        if key in self._held:
            return self._held[key]
        leaves, spec = self._filed[key]
        self._mapped = [(_read(leaf), leaf) for leaf in leaves if isinstance(leaf, _TensorFile)]
        tensors = (tensor for tensor, _ in self._mapped)
        return pytree.tree_unflatten(
            [next(tensors) if isinstance(leaf, _TensorFile) else leaf for leaf in leaves], spec
        )

    def _files(self, key: Hashable) -> set[_TensorFile]:
        leaves, _ = self._filed.get(key, ([], None))
        return {leaf for leaf in leaves if isinstance(leaf, _TensorFile)}

    def _owned(self, leaf: Any) -> Any:
        """A tensor that is independent of a file that will be removed."""
        mapped = any(leaf is tensor for tensor, _ in self._mapped)
        return leaf.clone() if mapped else leaf

    def _written(self, tensor: Tensor) -> _TensorFile:
        """The file of a tensor: the one it was read from, unless it was computed since."""
        for mapped, file in self._mapped:
            if mapped is tensor:
                return file
        if self._folder is None:
            self._folder = unfinished_folder("pfa_gate", Path(tempfile.gettempdir()))
        # Layouts are kept: an operator may be far slower in another one.
        order = sorted(range(tensor.ndim), key=lambda axis: -tensor.stride()[axis])
        laid, axes = tensor.permute(order), tuple(order.index(axis) for axis in range(tensor.ndim))
        path = self._folder / str(next(self._names))
        file = _TensorFile(path, tensor.dtype, tuple(laid.shape), axes, tensor.device)
        laid.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tofile(file.path)
        return file


def _read(file: _TensorFile) -> Tensor:
    """A tensor mapped to its file: pages that are not used are not read."""
    empty = torch.empty(file.shape, dtype=file.dtype, device=file.device)
    if not empty.numel():
        return empty.permute(file.axes)
    held = torch.from_file(str(file.path), shared=False, size=empty.numel(), dtype=file.dtype)
    return held.reshape(file.shape).to(file.device).permute(file.axes)


def _compact(leaf: Any) -> Any:
    # A view would keep, and store, all of what it is a view of.
    if isinstance(leaf, Tensor) and leaf.untyped_storage().nbytes() > leaf.nbytes:
        return leaf.contiguous().clone()
    return leaf
