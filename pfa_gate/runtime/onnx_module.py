"""An ONNX file as a module: its inputs are found by name or by position, and it runs in ONNX Runtime on the CPU."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from pfa_gate.errors import CandidateError
from pfa_gate.model import Batch
from pfa_gate.runtime.session import first_line

_TYPES = {
    "tensor(float)": torch.float32, "tensor(double)": torch.float64, "tensor(float16)": torch.float16,
    "tensor(int64)": torch.int64, "tensor(int32)": torch.int32, "tensor(int16)": torch.int16,
    "tensor(int8)": torch.int8, "tensor(uint8)": torch.uint8, "tensor(bool)": torch.bool,
}  # fmt: skip
_TYPES_FLOATING = re.compile(r"tensor\((float|double|float16|bfloat16)\)")
_WHOLE = (torch.int64, torch.int32, torch.int16)


@dataclass(frozen=True)
class Port:
    """An input of an ONNX file.

    Attributes:
        name: its own.
        kind: its type as the runtime writes it.
        shape: its axes; a number where the file fixes one.
    """

    name: str
    kind: str
    shape: tuple[object, ...]

    @property
    def dtype(self) -> torch.dtype | None:
        """Its type; None for one that torch has not."""
        return _TYPES.get(self.kind)

    @property
    def batch(self) -> int | None:
        """How many samples it takes; None for any number."""
        return self.shape[0] if self.shape and isinstance(self.shape[0], int) else None

    def fits(self, shape: Sequence[int]) -> bool:
        """Whether a tensor of this shape fits, whatever its number of samples."""
        axes = zip(self.shape[1:], shape[1:], strict=False)
        return len(shape) == len(self.shape) and all(not isinstance(mine, int) or mine == own for mine, own in axes)

    def __str__(self) -> str:
        """Name, type and axes for people."""
        axes = ", ".join(str(axis) if isinstance(axis, int) else "any" for axis in self.shape)
        return f"'{self.name}' {_word(self.dtype) if self.dtype else self.kind} [{axes}]"


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


class OnnxModel(nn.Module):
    """A session of ONNX Runtime that is called like the model it stands for.

    Inputs by keyword go to the inputs of that name, all others to the inputs that are left, in order. A number of
    samples that the file fixes is met in parts; the last one is filled up, and what fills it is dropped again.

    Args:
        session: of ONNX Runtime.
        name: of the file, for people.

    Attributes:
        remarks: what was done to make the data fit, in sentences.
    """

    def __init__(self, session: Any, name: str) -> None:
        super().__init__()
        self._session, self.name = session, name
        self._ports = [Port(each.name, each.type, tuple(each.shape)) for each in session.get_inputs()]
        self._names = [each.name for each in session.get_outputs()]
        self._structure: pytree.TreeSpec | None = None
        self.remarks: dict[str, None] = {}

    @property
    def batch(self) -> int | None:
        """How many samples a call of the file takes; None for any number."""
        return next((port.batch for port in self._ports if port.batch), None)

    def answer_as(self, output: Any) -> None:
        """Give outputs in the structure of another model's output, where that has as many tensors.

        Args:
            output: of the other model.
        """
        leaves, structure = pytree.tree_flatten(output)
        tensors = len(leaves) == len(self._names) and all(isinstance(leaf, Tensor) for leaf in leaves)
        self._structure = structure if tensors else None

    @property
    def floating(self) -> list[str]:
        """Names of the outputs that are floating."""
        return [each.name for each in self._session.get_outputs() if _TYPES_FLOATING.match(each.type)]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Run the file on a batch.

        Raises:
            CandidateError: the batch does not fit the file's inputs, or the runtime refuses it.
        """
        return self._structured(self._values(args, kwargs))

    def outputs(self, batch: Batch) -> list[Tensor]:
        """The file's outputs for a batch, in the file's order; as `forward` else."""
        return self._values(batch.args, batch.kwargs)

    def feed(self, batch: Batch) -> dict[str, np.ndarray[Any, Any]]:
        """What the session is given for a batch, by the names of its inputs.

        Raises:
            CandidateError: the batch does not fit the file's inputs.
        """
        return {port.name: _array(value) for port, value in self._feed(batch.args, batch.kwargs)}

    def feeds(self, batch: Batch) -> list[dict[str, np.ndarray[Any, Any]]]:
        """As `feed`, for each call: a file that fixes the number of samples is called several times.

        Raises:
            CandidateError: the batch does not fit the file's inputs.
        """
        parts, _ = self._calls(batch.args, batch.kwargs)
        return [{name: _array(value) for name, value in part.items()} for part in parts]

    def _values(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[Tensor]:
        calls, count = self._calls(args, kwargs)
        parts = [self._run(call) for call in calls]
        return [_joined([part[place] for part in parts], count) for place in range(len(self._names))]

    def _calls(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[dict[str, Tensor]], int]:
        """What each call is given, and how many samples there are in all."""
        feed = self._feed(args, kwargs)
        size = next((port.batch for port, value in feed if port.batch and value.ndim), None)
        count = next((len(value) for _, value in feed if value.ndim), 1)
        if size is None or size == count:
            return [{port.name: value for port, value in feed}], count
        self.remarks[f"the file runs on {size} samples at a time"] = None
        return list(_parts(feed, size, count)), count

    def prepared(self, batch: Batch) -> Callable[[], object]:
        """A call of the file on a batch, with what it is fed made already: for who times the runtime alone.

        Raises:
            CandidateError: the batch does not fit the file's inputs, or the runtime refuses it.
        """
        feed, session = self.feed(batch), self._session
        if self.batch not in (None, batch.size):
            raise CandidateError(f"{self.name} takes {self.batch} samples a call, and is given {batch.size}.")
        self.outputs(batch)
        return lambda: session.run(None, feed)

    def _feed(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[tuple[Port, Tensor]]:
        named = {key: value for key, value in kwargs.items() if any(port.name == key for port in self._ports)}
        left = [leaf for leaf in pytree.tree_leaves(args) if isinstance(leaf, Tensor)]
        others = {key: leaf for key, leaf in kwargs.items() if key not in named and isinstance(leaf, Tensor)}
        free = [port for port in self._ports if port.name not in named]
        if others and len(left) < len(free):
            raise self._misfit([*left, *kwargs.values()], f"it has no input named {' or '.join(map(repr, others))}")
        if len(left) != len(free):
            raise self._misfit([*left, *kwargs.values()], f"it has {len(self._ports)} of them")
        for key in others:
            self.remarks[f"it has no input '{key}', which the data gives"] = None
        given = {**{port.name: value for port, value in zip(free, left, strict=True)}, **named}
        return [(port, self._fitted(port, given[port.name])) for port in self._ports]

    def _misfit(self, given: Sequence[Any], why: str) -> CandidateError:
        shapes = ", ".join(f"{_word(leaf.dtype)} {list(leaf.shape)}" for leaf in given if isinstance(leaf, Tensor))
        ports = ", ".join(map(str, self._ports)) or "none"
        return CandidateError(
            f"The data gives {shapes or 'no tensor'}, which does not fit the inputs of {self.name}: {why}.",
            remedy=f"Its inputs are {ports}. Export it with the inputs of the full model.",
        )

    def _fitted(self, port: Port, value: Any) -> Tensor:
        """The value in the type of its port: converted between floating types, and between whole ones it fits in."""
        if not isinstance(value, Tensor):
            raise self._misfit([value], f"'{port.name}' takes a tensor")
        wanted = port.dtype
        if wanted is None or not port.fits(value.shape):
            raise self._misfit([value], f"it takes {port}")
        if value.dtype == wanted:
            return value
        floating = value.is_floating_point() and wanted.is_floating_point
        whole = value.dtype in _WHOLE and wanted in _WHOLE
        if whole and value.numel() and not _within(value, wanted):
            raise self._misfit([value], f"numbers of it are too large for {port}")
        if not floating and not whole:
            raise self._misfit([value], f"it takes {port}")
        self.remarks[f"its input '{port.name}' is {_word(wanted)}, to which {_word(value.dtype)} was converted"] = None
        return value.to(wanted)

    def _run(self, feed: Mapping[str, Tensor]) -> list[Tensor]:
        arrays = {name: _array(value) for name, value in feed.items()}
        try:
            values = self._session.run(None, arrays)
        except Exception as error:  # the runtime refuses in exceptions of its own
            raise CandidateError(f"ONNX Runtime does not run {self.name}: {first_line(error)}.") from error
        return [torch.from_numpy(np.asarray(value)) for value in values]

    def _structured(self, values: list[Tensor]) -> Any:
        if self._structure is not None:
            return pytree.tree_unflatten(values, self._structure)
        if len(values) == 1:
            return values[0]
        return dict(zip(self._names, values, strict=True)) if "logits" in self._names else tuple(values)


def _array(value: Tensor) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(value.detach().cpu().numpy())


def _within(value: Tensor, dtype: torch.dtype) -> bool:
    bounds = torch.iinfo(dtype)
    return bounds.min <= int(value.min()) and int(value.max()) <= bounds.max


def _parts(feed: Sequence[tuple[Port, Tensor]], size: int, count: int) -> Iterator[dict[str, Tensor]]:
    """Parts of so many samples; the last one is filled up with its last sample."""
    for start in range(0, count, size):
        rows = torch.arange(start, start + size).clamp(max=count - 1)
        yield {port.name: value[rows] if value.ndim and len(value) == count else value for port, value in feed}


def _joined(parts: Sequence[Tensor], count: int) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))[:count]
