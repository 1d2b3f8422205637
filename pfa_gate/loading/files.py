"""Data files: arrays under known names, read without running code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pfa_gate.errors import DataError
from pfa_gate.loading.batch import Batch, tensor_of
from pfa_gate.loading.blame import raised, shown

SUFFIXES = (".npy", ".npz", ".safetensors")
_INPUTS = ("images", "inputs", "x")
_LABELS = ("labels", "y", "targets")


def read_file(path: Path) -> Batch:
    """Read a whole data file.

    Args:
        path: .npy with the inputs; .npz or .safetensors with `images`, `inputs` or `x`, and with `labels`,
            `y` or `targets` where there are labels. A file of one array may call it anything.

    Returns:
        All samples as one batch, in the types of the file: uint8 images stay uint8.

    Raises:
        DataError: no such file; not readable; other names; inputs and labels of different lengths.

    Example:
        >>> read_file(Path("nowhere.npz"))
        Traceback (most recent call last):
        pfa_gate.errors.DataError: There is no file nowhere.npz.
          Relative paths start at the folder of pfa.yaml.
    """
    if not path.is_file():
        raise DataError(f"There is no file {shown(path)}.", remedy="Relative paths start at the folder of pfa.yaml.")
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


def _arrays(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        with path.open("rb") as file:
            content: Any = np.load(file, allow_pickle=False)
            named = dict(content.items()) if isinstance(content, Mapping) else {"inputs": content}
    # NumPy says ValueError for pickled objects and for files that are none of its own.
    except (SafetensorError, BadZipFile, OSError, EOFError, ValueError) as error:
        raise DataError(
            f"{shown(path)} cannot be read: {raised(error)}.",
            remedy="Write it with numpy.save, numpy.savez or safetensors, and numbers only.",
        ) from error
    return {name: tensor_of(array) for name, array in named.items()}


def _named(arrays: Mapping[str, Tensor], names: tuple[str, ...], path: Path) -> str | None:
    found = [name for name in names if name in arrays]
    if len(found) > 1:
        raise DataError(
            f"{shown(path)} holds both {found[0]} and {found[1]}, which mean the same.",
            remedy=f"Keep one of {_listed(names)}.",
        )
    return found[0] if found else None


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
