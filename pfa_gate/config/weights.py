"""The files that a checkpoint is: one, or those that an index of Hugging Face names.

PYTEST_DONT_REWRITE
"""

import json
import os
from pathlib import Path

from pfa_gate.config.complaints import shortened
from pfa_gate.errors import CheckpointError

_LONGEST = 255  # bytes of a file's name, of most systems
INDEX = ".safetensors.index.json"


def weight_files(checkpoint: Path) -> tuple[Path, ...]:
    """The files that hold the tensors, sorted.

    Raises:
        CheckpointError: an index that cannot be read, or that names other files than .safetensors beside it; a file
            of it is a link out of the folder.

    Example:
        >>> weight_files(Path("net.safetensors"))
        (PosixPath('net.safetensors'),)
    """
    if not checkpoint.name.endswith(INDEX):
        return (checkpoint,)
    try:
        names = sorted({str(name) for name in json.loads(checkpoint.read_text("utf-8"))["weight_map"].values()})
    # A text nested too deep is no index either.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{checkpoint.name} is not an index of weights: it has no weight_map.") from error
    strange = [name for name in names if not _is_plain(name)]
    if strange:
        raise CheckpointError(
            f"{checkpoint.name} names {shortened(strange[0])!r}, which is no .safetensors file beside it.",
            remedy="Keep the index and its files in one folder.",
        )
    files = tuple(checkpoint.with_name(name) for name in names)
    folder = Path(os.path.realpath(checkpoint.parent))
    away = [file.name for file in files if not Path(os.path.realpath(file)).is_relative_to(folder)]
    if away:
        raise CheckpointError(
            f"{checkpoint.name} names {away[0]!r}, which is a link to a file elsewhere.",
            remedy="Copy the file itself into the folder of the index.",
        )
    return files


def _is_plain(name: str) -> bool:
    """Whether a name is that of a file of tensors in the same folder, on every system."""
    plain = name.isprintable() and Path(name).name == name and "\\" not in name
    return plain and name.endswith(".safetensors") and len(name.encode()) <= _LONGEST


def every_file(checkpoint: Path) -> tuple[Path, ...]:
    """All files that a checkpoint depends on: those that hold the tensors, and the index; itself where that is broken.

    Example:
        >>> every_file(Path("nowhere.safetensors.index.json"))
        (PosixPath('nowhere.safetensors.index.json'),)
    """
    try:
        return tuple(dict.fromkeys((checkpoint, *weight_files(checkpoint))))
    except CheckpointError:
        return (checkpoint,)  # the gate itself will say so
