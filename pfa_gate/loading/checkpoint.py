"""Trained weights from a file into a model, without running any code from that file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from pfa_gate.config.weights import INDEX, weight_files
from pfa_gate.errors import CheckpointError
from pfa_gate.loading.blame import raised, shown

_NESTED = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")
_MOST = 5
_COUNT = "num_batches_tracked"  # of a batch norm; files of before torch 0.4 lack it, and it is not read in eval mode
_SAFE = "Save the weights alone: safetensors.torch.save_file(model.state_dict(), path)."


def fill(model: nn.Module, path: Path) -> None:
    """Copy the weights of a file into a model; all of them, or none.

    A state dict may lie under `state_dict` or `model`, and its names may start with `module.`, as the
    parallel wrappers write them. Tensors on the meta device have no memory to copy into: those of the file, which is
    mapped, take their place, so that there is no second copy.

    Args:
        model: changed in place.
        path: .safetensors, the index of several (.safetensors.index.json), or .pt, .pth, .bin with weights only.

    Raises:
        CheckpointError: no such file; not readable; holds more than weights; names or shapes differ.

    Example:
        >>> fill(nn.Linear(2, 2), Path("nowhere.safetensors"))
        Traceback (most recent call last):
        pfa_gate.errors.CheckpointError: There is no checkpoint nowhere.safetensors.
          Relative paths start at the folder of pfa.yaml.
    """
    state = _without_prefix(read(path), model)
    difference = _compare(model, state)
    if difference.any:
        raise CheckpointError(
            f"{shown(path)} does not fit the model.\n{difference}",
            remedy="Check model.arguments: the checkpoint was trained with another architecture.",
        )
    without = {name: tensor for name, tensor in _held(model).items() if tensor.is_meta}
    state |= {name: torch.tensor(0) for name in without if name.endswith(_COUNT) and name not in state}
    _replace(model, {id(tensor): (tensor, state[name]) for name, tensor in without.items() if name in state})
    try:
        model.load_state_dict({name: tensor for name, tensor in state.items() if name not in without}, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{shown(path)} does not fit the model: {raised(error)}.") from error
    empty = [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if tensor.is_meta]
    if empty:
        raise CheckpointError(
            f"The model was built without memory for its tensors, and {shown(path)} does not hold all of them: "
            f"{_some(empty)}.",
            remedy="Let the factory compute them on the CPU, or build all of the model there (loader: copy).",
        )


def _replace(model: nn.Module, pairs: Mapping[int, tuple[Tensor, Tensor]]) -> None:
    """Put tensors in the place of the model's own, by their id; a tied one once, wherever it is held."""
    found: dict[int, Tensor] = {}
    for key, (own, tensor) in pairs.items():
        cast = tensor.to(own.dtype)
        found[key] = nn.Parameter(cast, own.requires_grad) if isinstance(own, nn.Parameter) else cast
    for module in model.modules():
        tables: tuple[dict[str, Any], ...] = module._parameters, module._buffers
        for table in tables:
            table.update({name: found[id(held)] for name, held in table.items() if id(held) in found})


def read(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint by name.

    Args:
        path: .safetensors, .safetensors.index.json, .pt, .pth or .bin.

    Returns:
        The innermost state dict, on the CPU, as views of the mapped file where its kind allows that.

    Raises:
        CheckpointError: as for `fill`, except for names and shapes.

    Example:
        >>> read(Path("weights.onnx"))
        Traceback (most recent call last):
        pfa_gate.errors.CheckpointError: weights.onnx is of no known kind of checkpoint.
          Use .safetensors, or .pt, .pth, .bin with weights only.
    """
    if path.name.endswith(INDEX):
        _check_is_there(path)
        return {name: tensor for part in weight_files(path) for name, tensor in read(part).items()}
    if path.suffix not in {".safetensors", ".pt", ".pth", ".bin"}:
        raise CheckpointError(
            f"{shown(path)} is of no known kind of checkpoint.",
            remedy="Use .safetensors, or .pt, .pth, .bin with weights only.",
        )
    _check_is_there(path)
    content = _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)
    return _tensors(content, path)


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


def _pickled(path: Path) -> Any:
    try:
        return torch.load(path, weights_only=True, map_location="cpu", mmap=is_zipfile(path))
    except UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        if named is None:
            raise CheckpointError(f"{shown(path)} is damaged, or no PyTorch file.", remedy=_SAFE) from error
        raise CheckpointError(
            f"{shown(path)} holds more than weights ({named[1]}); reading it would run code.", remedy=_SAFE
        ) from error
    # torch.load answers a damaged file with whatever its readers raise.
    except Exception as error:
        raise CheckpointError(f"{shown(path)} cannot be read: {raised(error)}.", remedy=_SAFE) from error


def _tensors(content: Any, path: Path) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        inner = [content[key] for key in _NESTED if isinstance(content.get(key), Mapping)]
        if not inner:
            break
        content = inner[0]
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{shown(path)} holds no weights by name, but an object of type {type(content).__name__}.",
            remedy=_SAFE,
        )
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{shown(path)} holds no weights; its keys: {_some(content)}.", remedy=_SAFE)
    return tensors


def _without_prefix(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    own = model.state_dict().keys()
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state) and not all(name in own for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _held(model: nn.Module) -> dict[str, Tensor]:
    """The model's own tensors, not views of them: what is tied is the same object."""
    return {name: value for name, value in model.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}


@dataclass(frozen=True)
class _Difference:
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]

    @property
    def any(self) -> bool:
        return bool(self.missing or self.unexpected or self.reshaped)

    def __str__(self) -> str:
        kinds = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": self.reshaped}
        return "\n".join(f"    {len(names)} {kind}: {_some(names)}" for kind, names in kinds.items() if names)


def _compare(model: nn.Module, state: Mapping[str, Tensor]) -> _Difference:
    own = _held(model)
    # Tied weights are stored once; the twin is filled through the storage that both share.
    stored = {_storage(own[name]) for name in state if name in own}
    absent = (name for name in own if name not in state and _storage(own[name]) not in stored)
    return _Difference(
        missing=tuple(sorted(name for name in absent if not name.endswith(_COUNT))),
        unexpected=tuple(sorted(name for name in state if name not in own)),
        reshaped=tuple(
            f"{name} {list(state[name].shape)} for {list(own[name].shape)}"
            for name in sorted(state)
            if name in own and not is_lazy(own[name]) and state[name].shape != own[name].shape
        ),
    )


def _storage(tensor: Tensor) -> tuple[object, ...]:
    # An empty or unmaterialised tensor has no storage to share.
    shared = not is_lazy(tensor) and tensor.numel() > 0 and not tensor.is_meta
    return (tensor.data_ptr(), tuple(tensor.shape), tensor.stride()) if shared else (id(tensor),)


def _some(names: Any) -> str:
    listed = [str(name) for name in names]
    rest = len(listed) - _MOST
    return ", ".join(listed[:_MOST]) + (f" and {rest} more" if rest > 0 else "")
