"""Data files: arrays under known names, read without running code."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.lib import format as npy
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pfa_gate.errors import DataError
from pfa_gate.model.batch import Batch, tensor_of
from pfa_gate.model.user_frames import raised, shown

MOST_BYTES = 2 * 10**9
# NumPy says ValueError for pickled objects and for files that are none of its own; zipfile RuntimeError for locked
# ones, and NotImplementedError for what it cannot unpack.
_UNREADABLE = (SafetensorError, BadZipFile, OSError, EOFError, ValueError, RuntimeError)
SUFFIXES = (".npy", ".npz", ".safetensors")
_INPUTS = ("images", "inputs", "x")
_LABELS = ("labels", "y", "targets")


def read_file(path: Path, max_bytes: int = MOST_BYTES) -> Batch:
    """Read a whole data file.

    Args:
        path: .npy with the inputs; .npz or .safetensors with `images`, `inputs` or `x`, and with `labels`,
            `y` or `targets` where there are labels. A file of one array may call it anything.
        max_bytes: most that its arrays may take in memory; asked before any is read.

    Returns:
        All samples as one batch, in the types of the file: uint8 images stay uint8.

    Raises:
        DataError: no such file; too large; not readable; other names; inputs and labels of different lengths.

    Example:
        >>> read_file(Path("nowhere.npz"))
        Traceback (most recent call last):
        pfa_gate.errors.DataError: There is no file nowhere.npz.
          Relative paths start at the folder of pfa.yaml.
    """
    if not path.is_file():
        raise DataError(f"There is no file {shown(path)}.", remedy="Relative paths start at the folder of pfa.yaml.")
    _check_size(path, max_bytes)
    arrays = _arrays(path)
    inputs, labels = _named(arrays, _INPUTS, path), _named(arrays, _LABELS, path)
    if inputs is None and len(arrays) == 1 and labels is None:
        inputs = next(iter(arrays))
    if inputs is None:
        raise DataError(
            f"{shown(path)} holds no array of inputs; it has {', '.join(sorted(arrays)) or 'none at all'}.",
            remedy=f"Call the inputs {_listed(_INPUTS)}, and the labels {_listed(_LABELS)}.",
        )
    return Batch((arrays[inputs],), {}, None if labels is None else arrays[labels])


def _check_size(path: Path, most: int) -> None:
    """A packed file may hold a thousand times its size."""
    packed = path.stat().st_size
    try:
        size = max(packed, _unpacked(path))
    except _UNREADABLE:
        return  # reading it reports the error
    if size > most:
        raise DataError(
            f"{shown(path)} would take {_sized(size)} in memory ({_sized(packed)} on disk); "
            f"data files of more than {_sized(most)} are not read.",
            remedy="Give fewer samples, or raise probe.max_bytes.",
        )


def _unpacked(path: Path) -> int:
    """Bytes of all arrays of a file, as far as it says so itself."""
    if path.suffix == ".npy":
        with path.open("rb") as file:
            return _declared(file)
    if path.suffix != ".npz":
        return 0
    total = 0
    with ZipFile(path) as archive:
        for entry in archive.infolist():
            with archive.open(entry) as file:
                total += max(entry.file_size, _declared(file))
    return total


def _declared(file: IO[bytes]) -> int:
    """Bytes of an array by its header; 0 where it has none that is known."""
    known: dict[tuple[int, int], Any] = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
    read = known.get(npy.read_magic(file))
    if read is None:
        return 0
    shape, _, dtype = read(file)
    return int(math.prod(shape) * dtype.itemsize)


def _sized(count: int) -> str:
    """Bytes for people.

    Example:
        >>> _sized(999), _sized(2_800_000), _sized(3_000_000_000)
        ('999 bytes', '2.8 MB', '3.0 GB')
    """
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:,.1f} {unit}"
    return f"{count} bytes"


def _arrays(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with path.open("rb") as file:
            content: Any = np.load(file, allow_pickle=False)
            named = dict(content.items()) if isinstance(content, Mapping) else {"inputs": content}
    except _UNREADABLE as error:
        raise DataError(
            f"{shown(path)} cannot be read: {raised(error)}.",
            remedy="Write it with numpy.save, numpy.savez or safetensors, and numbers only.",
        ) from error
    return {name: tensor_of(array) for name, array in named.items()}


def _named(arrays: Mapping[str, Tensor], names: tuple[str, ...], path: Path) -> str | None:
    present = [name for name in names if name in arrays]
    if len(present) > 1:
        raise DataError(
            f"{shown(path)} holds both {present[0]} and {present[1]}, which mean the same.",
            remedy=f"Keep one of {_listed(names)}.",
        )
    return present[0] if present else None


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
