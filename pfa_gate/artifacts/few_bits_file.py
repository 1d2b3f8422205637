"""weights.q.safetensors: the weights of a model as packed whole numbers and scales, and what stays floating.

A weight `NAME` of few bits is two tensors: `NAME.numbers`, uint8, and `NAME.scale`, float32, one for each filter. The
metadata has one key, `pfa_gate.few_bits`: JSON with, for each such weight, its width, its shape, the axis of its
filters, its dtype, and the grid of its numbers. All other tensors are as in weights.safetensors.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pfa_gate.compress.quantize.grid import Grid, Rounded, Width
from pfa_gate.compress.quantize.layers import WeightLayer
from pfa_gate.compress.quantize.packing import pack, unpack
from pfa_gate.errors import ArtifactError
from pfa_gate.graph.cost import storage_key

HEAD = "pfa_gate.few_bits"
VERSION = 1
NUMBERS, SCALE = ".numbers", ".scale"
_AGAIN = "Run the gate again."


@dataclass(frozen=True)
class PackedWeight:
    """A weight of few bits, as a file holds it.

    Attributes:
        layer: where it belongs.
        width: of its numbers.
        rounded: its numbers and scales, filters first.
    """

    layer: WeightLayer
    width: Width
    rounded: Rounded

    def weight(self, dtype: torch.dtype) -> Tensor:
        """What the model multiplies by."""
        return self.rounded.weight(dtype).movedim(0, self.layer.axis).contiguous()


@dataclass(frozen=True)
class FewBitsFile:
    """What was read from a file.

    Attributes:
        tensors: name -> tensor, weights of few bits among them as the model multiplies by them.
        widths: name of such a weight -> its width.
        numbers: elements of weights that it stores, those of few bits among them.
        bytes: of all tensors that it stores.
    """

    tensors: Mapping[str, Tensor]
    widths: Mapping[str, Width]
    numbers: int
    bytes: int


def write_few_bits(path: Path, model: nn.Module, weights: Mapping[str, PackedWeight], gate: str) -> None:
    """Write a model whose weights of few bits are these; the same bytes for the same model.

    Args:
        path: of the file.
        model: with all that stays floating.
        weights: name of a weight -> its numbers.
        gate: name of the gate.

    Raises:
        OSError: the disk is full.
    """
    entries: dict[str, Any] = {}
    tensors: dict[str, Tensor] = {}
    for name, tensor in _stored_once(model, weights):
        held = weights.get(name)
        if held is None:
            tensors[name] = tensor.detach().cpu().contiguous()
            continue
        grid, dtype = held.rounded.grid, str(tensor.dtype).removeprefix("torch.")
        places = (held.rounded.numbers.flatten() - grid.start) // grid.step
        tensors[name + NUMBERS] = torch.from_numpy(pack(places.numpy(), held.width))
        tensors[name + SCALE] = held.rounded.scale.contiguous()
        entries[name] = {
            "width": str(held.width), "shape": list(held.layer.shape), "axis": held.layer.axis, "dtype": dtype,
            "start": grid.start, "step": grid.step, "levels": grid.levels,
        }  # fmt: skip
    head = json.dumps({"version": VERSION, "gate": gate, "weights": entries}, sort_keys=True)
    save_file(tensors, path, {HEAD: head})


def floating_bytes(model: nn.Module, weights: Collection[str]) -> int:
    """What a file takes for all but the weights of few bits.

    Args:
        model: whose state it holds.
        weights: names of those.
    """
    return sum(
        tensor.numel() * tensor.element_size() for name, tensor in _stored_once(model, weights) if name not in weights
    )


def _stored_once(model: nn.Module, weights: Collection[str]) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a model's state, each once: under a name that is in `weights`, else under its first one."""
    state = {name: tensor for name, tensor in model.state_dict(keep_vars=True).items() if isinstance(tensor, Tensor)}
    seen: set[Any] = set()
    for name in sorted(state, key=lambda name: (name not in weights, name)):
        key = storage_key(state[name])
        if key not in seen or not state[name].numel():
            seen.add(key)
            yield name, state[name]


def read_few_bits(path: Path) -> FewBitsFile:
    """Read a file, its weights of few bits as number times scale.

    Raises:
        ArtifactError: it is damaged, or another kind of file.
    """
    try:
        with safe_open(path, "pt") as held:
            head = json.loads((held.metadata() or {})[HEAD])
            if head["version"] != VERSION:
                raise ValueError(f"its version is {head['version']!r}, not {VERSION}")
            names = held.keys()
            found = {name: held.get_tensor(name) for name in names}
        return _decoded(head["weights"], found)
    except (OSError, SafetensorError, LookupError, TypeError, ValueError, AttributeError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise ArtifactError(f"{path} is no file of few bits: {reason.rstrip('.')}.", remedy=_AGAIN) from error


def _decoded(entries: Mapping[str, Any], found: dict[str, Tensor]) -> FewBitsFile:
    size = sum(tensor.numel() * tensor.element_size() for tensor in found.values())
    widths: dict[str, Width] = {}
    for name, entry in entries.items():
        packed, scale = found.pop(name + NUMBERS), found.pop(name + SCALE)
        widths[name] = entry["width"] if entry["width"] in ("ternary", "binary") else int(entry["width"])
        found[name] = _weight(entry, widths[name], packed, scale)
    return FewBitsFile(found, widths, sum(tensor.numel() for tensor in found.values()), size)


def _weight(entry: Mapping[str, Any], width: Width, packed: Tensor, scale: Tensor) -> Tensor:
    shape, axis = torch.Size(entry["shape"]), int(entry["axis"])
    first = torch.Size((shape[axis], *(size for place, size in enumerate(shape) if place != axis)))
    grid = Grid(int(entry["start"]), int(entry["step"]), int(entry["levels"]))
    places = unpack(packed.numpy(), width, shape.numel())
    if places.size and int(places.max()) >= grid.levels:
        raise ValueError(f"a number is place {int(places.max())} of {grid.levels}")
    numbers = torch.from_numpy(places.astype(np.int16)) * grid.step + grid.start
    rounded = Rounded(grid, numbers.to(torch.int16).reshape(first), scale)
    return rounded.weight(getattr(torch, entry["dtype"])).movedim(0, axis).contiguous()


def put_into(model: nn.Module, file: FewBitsFile) -> None:
    """Give a model the tensors of a file; a tensor that has several names in the model may have one of them there.

    Raises:
        RuntimeError: they do not fit it.
    """
    state = {name: tensor for name, tensor in model.state_dict(keep_vars=True).items() if isinstance(tensor, Tensor)}
    for name, tensor in file.tensors.items():
        if name not in state:
            raise RuntimeError(f"the model has no {name}")
        if state[name].shape != tensor.shape:
            raise RuntimeError(f"{name} is {list(tensor.shape)} in the file and {list(state[name].shape)} in the model")
    filled = {storage_key(tensor) for name, tensor in state.items() if name in file.tensors}
    absent = [name for name, tensor in state.items() if storage_key(tensor) not in filled]
    if absent:
        raise RuntimeError(f"the file has no {absent[0]}")
    model.load_state_dict(dict(file.tensors), strict=False)
