"""The files that a checkpoint is: one, or those that an index of Hugging Face names.

PYTEST_DONT_REWRITE
"""

import json
from pathlib import Path

from pfa_gate.errors import CheckpointError

INDEX = ".safetensors.index.json"


def weight_files(checkpoint: Path) -> tuple[Path, ...]:
    """The files that hold the tensors, sorted.

    Raises:
        CheckpointError: an index that cannot be read, or that names other files than .safetensors beside it.

    Example:
        >>> weight_files(Path("net.safetensors"))
        (PosixPath('net.safetensors'),)
    """
    if not checkpoint.name.endswith(INDEX):
        return (checkpoint,)
    try:
        names = sorted({str(name) for name in json.loads(checkpoint.read_text("utf-8"))["weight_map"].values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{checkpoint.name} is no index of weights: it has no weight_map.") from error
    strange = [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]
    if strange:
        raise CheckpointError(
            f"{checkpoint.name} names {strange[0]}, which is no .safetensors file beside it.",
            remedy="Keep the index and its files in one folder.",
        )
    return tuple(checkpoint.with_name(name) for name in names)


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
