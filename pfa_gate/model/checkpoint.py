"""Trained weights from a file into a model, without running any code from that file."""

import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile, ZipFile, is_zipfile

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.serialization import safe_globals

from pfa_gate.config.paths import INDEX, weight_files
from pfa_gate.errors import CheckpointError
from pfa_gate.model.checkpoint_keys import (
    COUNT,
    State,
    WeightsMatch,
    abbreviated,
    below_key,
    mappings,
    matches_of,
    most_usual,
    nearest_match,
)
from pfa_gate.model.user_frames import raised, shown

_MOST = 5
_MOST_PACKED = 50
_KINDS = (".pt", ".pth", ".th", ".bin", ".ckpt", ".tar")
_KNOWN = "Use .safetensors, or .pt, .pth, .th, .bin, .ckpt, .tar with weights only."
# What training scripts keep beside the weights: numbers and options, in which there is no code.
_NUMBER = np._core.multiarray.scalar  # type: ignore[attr-defined]
_PLAIN: list[Any] = [
    Namespace,
    np.dtype,
    *(type(np.dtype(code)) for code in "?bhilqBHILQefd"),
    *((_NUMBER, f"numpy.{package}.multiarray.scalar") for package in ("core", "_core")),
]
_NO_KEY = "Its weights lie at its top: remove model.checkpoint_key."
_SAFE = "Save the weights alone: safetensors.torch.save_file(model.state_dict(), path)."


def load_weights(model: nn.Module, path: Path, key: str | None = None) -> str:
    """Copy the weights of a file into a model; all of them, or none.

    The weights may lie anywhere in the file, under names that all begin with the same, or that have in them what
    wrappers such as `torch.compile` and `DataParallel` put there. Tensors on the meta device have no memory to copy
    into: those of the file, which is mapped, take their place, so that there is no second copy.

    Args:
        model: changed in place.
        path: .safetensors, the index of several (.safetensors.index.json), or .pt, .pth, .th, .bin, .ckpt, .tar with
            weights only.
        key: where the weights lie, keys joined by dots; found by itself where only one mapping fits, or one is called
            as weights usually are.

    Returns:
        Which weights were taken, where others would fit too; else nothing.

    Raises:
        CheckpointError: no such file; not readable; holds more than weights; names or shapes differ.

    Example:
        >>> load_weights(nn.Linear(2, 2), Path("nowhere.safetensors"))
        Traceback (most recent call last):
        pfa_gate.errors.CheckpointError: There is no checkpoint nowhere.safetensors.
          Relative paths start at the folder of pfa.yaml.
    """
    match, note = _chosen_match(model, read(path), path, key)
    state = dict(match.state)
    held = model.state_dict(keep_vars=True)
    without = {name: tensor for name, tensor in held.items() if isinstance(tensor, Tensor) and tensor.is_meta}
    state |= {name: torch.tensor(0) for name in without if name.endswith(COUNT) and name not in state}
    _replace(model, {id(tensor): (tensor, state[name]) for name, tensor in without.items() if name in state})
    try:
        model.load_state_dict({name: tensor for name, tensor in state.items() if name not in without}, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{shown(path)} does not fit the model: {raised(error)}.") from error
    empty = [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if tensor.is_meta]
    if empty:
        raise CheckpointError(
            f"The model was built without memory for its tensors, and {shown(path)} does not hold all of them: "
            f"{abbreviated(empty)}.",
            remedy="Let the factory compute them on the CPU, or build all of the model there (loader: copy).",
        )
    return note


def _replace(model: nn.Module, pairs: Mapping[int, tuple[Tensor, Tensor]]) -> None:
    """Replace the model's own tensors, by their id; a tied one by one tensor, in every module that holds it."""
    replacements: dict[int, Tensor] = {}
    for key, (own, tensor) in pairs.items():
        cast = tensor.to(own.dtype)
        replacements[key] = nn.Parameter(cast, own.requires_grad) if isinstance(own, nn.Parameter) else cast
    for module in model.modules():
        tables: tuple[dict[str, Any], ...] = module._parameters, module._buffers
        for table in tables:
            table.update({name: replacements[id(held)] for name, held in table.items() if id(held) in replacements})


def read(path: Path) -> Any:
    """Read what a checkpoint holds.

    Args:
        path: .safetensors, .safetensors.index.json, .pt, .pth, .th, .bin, .ckpt or .tar.

    Returns:
        Tensors by name, or whatever a .pt file nests them in; on the CPU, as views of the mapped file where its kind
        allows that.

    Raises:
        CheckpointError: as for `load_weights`, except for names and shapes.

    Example:
        >>> read(Path("weights.onnx"))
        Traceback (most recent call last):
        pfa_gate.errors.CheckpointError: weights.onnx is of no known kind of checkpoint.
          Use .safetensors, or .pt, .pth, .th, .bin, .ckpt, .tar with weights only.
    """
    if path.name.endswith(INDEX):
        _check_is_there(path)
        return {name: tensor for part in weight_files(path) for name, tensor in read(part).items()}
    if path.suffix not in (".safetensors", *_KINDS):
        raise CheckpointError(f"{shown(path)} is of no known kind of checkpoint.", remedy=_KNOWN)
    _check_is_there(path)
    return _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)


def _check_is_there(path: Path) -> None:
    if not path.is_file():
        raise CheckpointError(
            f"There is no checkpoint {shown(path)}.", remedy="Relative paths start at the folder of pfa.yaml."
        )
    with path.open("rb") as file:
        if file.read(24) == b"version https://git-lfs.":
            raise CheckpointError(f"{shown(path)} is a Git LFS pointer, not the weights.", remedy="Run git lfs pull.")


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{shown(path)} cannot be read: {raised(error)}.") from error


def _check_archive(path: Path) -> None:
    """Refuse an archive of code, and one that would grow past all bounds: torch packs none of its own."""
    try:
        with ZipFile(path) as archive:
            entries = archive.infolist()
    except (BadZipFile, OSError):
        return  # what it is then, torch will say
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise CheckpointError(f"{shown(path)} is a TorchScript archive, which holds code too.", remedy=_SAFE)
    unpacked, size = sum(entry.file_size for entry in entries), path.stat().st_size
    if unpacked > _MOST_PACKED * size:
        fact = f"{shown(path)} has {size:,} bytes and would unpack to {unpacked:,}, as no file of weights does."
        raise CheckpointError(fact, remedy=_SAFE)


def _pickled(path: Path) -> Any:
    _check_archive(path)
    try:
        with safe_globals(_PLAIN):
            return torch.load(path, weights_only=True, map_location="cpu", mmap=is_zipfile(path))
    except UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        if named is None:
            raise CheckpointError(f"{shown(path)} is damaged, or no PyTorch file.", remedy=_SAFE) from error
        raise CheckpointError(
            f"{shown(path)} holds more than weights ({named[1]}), which is not read: that could run code.",
            remedy=_SAFE,
        ) from error
    # torch.load answers a damaged file with whatever its readers raise.
    except Exception as error:
        raise CheckpointError(f"{shown(path)} cannot be read: {raised(error)}.", remedy=_SAFE) from error


def _chosen_match(model: nn.Module, content: Any, path: Path, key: str | None) -> tuple[WeightsMatch, str]:
    """The tensors of a file that are the model's, and a note on the choice where others would fit too."""
    every = _mappings(content, path)
    inside = every if key is None else below_key(every, key)
    if key is not None and not inside:
        raise _no_key(key, every, path)
    matches = [match for location, state in inside.items() for match in matches_of(model, location, state)]
    fitting = [match for match in matches if match.fits]
    if not fitting:
        raise _unfit(nearest_match(matches), path)
    complete = [match for match in fitting if match.complete]
    if not complete and len(fitting) == 1:
        raise _in_part(fitting[0], path)
    likeliest, *rivals = most_usual(complete or fitting)
    if rivals:
        raise _undecided([likeliest, *rivals], path)
    others = [match for match in complete if match is not likeliest]
    note = f"weights: {_places([likeliest])} of {path.name}, where {_places(others)} would fit too"
    return likeliest, note if others else ""


def _mappings(content: Any, path: Path) -> dict[str, State]:
    if not isinstance(content, Mapping | list | tuple):
        raise CheckpointError(
            f"{shown(path)} holds no weights by name, but an object of type {type(content).__name__}.",
            remedy=_SAFE,
        )
    every = dict(mappings(content))
    if not every:
        keys = f"; its keys: {abbreviated(content)}" if isinstance(content, Mapping) else ""
        raise CheckpointError(f"{shown(path)} holds no weights by name{keys}.", remedy=_SAFE)
    return every


def _no_key(key: str, every: Mapping[str, State], path: Path) -> CheckpointError:
    near = get_close_matches(key, every, n=1)
    known = ", ".join(map(repr, [location for location in every if location][:_MOST]))
    return CheckpointError(
        f"{shown(path)} has no weights under '{key}'.",
        remedy=f"Did you mean '{near[0]}'?" if near else f"It has some under {known}." if known else _NO_KEY,
    )


def _unfit(match: WeightsMatch, path: Path) -> CheckpointError:
    what = f"'{match.location}' of {shown(path)}" if match.location else shown(path)
    sizes_only = not (match.difference.missing or match.difference.unexpected)
    return CheckpointError(
        f"{what} does not fit the model.\n{match.difference}",
        remedy="Check model.arguments: the checkpoint is of a model with other sizes."
        if sizes_only
        else "Check model.factory and model.arguments: the checkpoint is of a model whose tensors have other names.",
    )


def _in_part(match: WeightsMatch, path: Path) -> CheckpointError:
    return CheckpointError(
        f"The model is a part of what {shown(path)} holds: its tensors are those under '{match.location}', "
        f"beside {len(match.left_out)} that it has no place for ({abbreviated(match.left_out)}).",
        remedy=f"If that part is meant, write model.checkpoint_key: {match.location}",
    )


def _undecided(matches: Sequence[WeightsMatch], path: Path) -> CheckpointError:
    return CheckpointError(
        f"{shown(path)} holds several sets of weights that fit the model: {_places(matches)}.",
        remedy=f"Say which is meant, such as model.checkpoint_key: {matches[0].location}",
    )


def _places(matches: Sequence[WeightsMatch]) -> str:
    return ", ".join(repr(match.location) if match.location else "the top" for match in matches)
