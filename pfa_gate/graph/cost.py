"""What a model costs: parameters, bytes, multiply-accumulates, and time as a ratio."""

import inspect
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from statistics import median
from time import perf_counter
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import is_traceable_wrapper_subclass
from torch.utils.flop_counter import FlopCounterMode, _FlopCounterMode

from pfa_gate.errors import DataError
from pfa_gate.graph import Program
from pfa_gate.model import Batch
from pfa_gate.model.device import input_device
from pfa_gate.model.user_frames import raised

_FUSED_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_WARM_UP = 3
_SHORTEST = 2e-3


@dataclass(frozen=True)
class Cost:
    """What a model costs.

    Args:
        parameters: elements of its weights: trainable, frozen or quantized; shared ones once.
        bytes: of the stored weights: parameters and persistent buffers, shared ones once.
        macs: multiply-accumulates of one sample, in convolutions and matrix products.
    """

    parameters: int
    bytes: int
    macs: int


def cost(model: nn.Module, example: Batch, program: Program | None = None) -> Cost:
    """Count what a model costs.

    Args:
        model: in eval mode; not changed.
        example: at least one sample.
        program: the model's, where it has one. A model that computes its weights in each forward pass computes them
            once for all samples: its products of activations are counted on the program, which stores them.

    Example:
        >>> cost(nn.Linear(3, 5), Batch((torch.zeros(2, 3),), {}))
        Cost(parameters=20, bytes=80, macs=15)
    """
    held = stored(model, program.unpacked if program else ())
    runs = program.stored if program and program.stored is not None else model
    return Cost(held.parameters, held.bytes, macs(runs, example))


def macs(model: nn.Module, example: Batch) -> int:
    """Count the multiply-accumulates of one sample, by torch's own formulas.

    Args:
        model: in eval mode; not changed.
        example: its first sample is used; all of them where the model does not take one alone.

    Returns:
        Half of torch's floating-point operations. What it has no formula for (batch norm, activations,
        pooling) counts nothing.

    Raises:
        DataError: the model does not run while its operators are counted.

    Example:
        >>> macs(nn.Conv2d(1, 2, 3, padding=1), Batch((torch.zeros(4, 1, 8, 8),), {}))
        1152
    """
    # A forward may want several samples: it writes the batch into its code, or normalises over it.
    for batch in (example.take(slice(1)), example):
        try:
            return _operations(model, batch) // 2 // batch.size
        except Exception as error:  # the user's forward, or a formula that meets operands it was not written for
            failure = error
    raise DataError(
        f"The multiply-accumulates of the model cannot be counted: it raised {raised(failure)}.",
        remedy="Make the model run under torch.utils.flop_counter.FlopCounterMode, which counts its operators.",
    ) from failure


def _operations(model: nn.Module, batch: Batch) -> int:
    with torch.no_grad(), _in_parts(), _Operators() as counter:
        model(*batch.args, **batch.kwargs)
    return int(counter.get_total_flops())


class _Counting(_FlopCounterMode):  # type: ignore[no-untyped-call]
    """torch's own mode, but that its first operator does not import the compiler, which takes two seconds."""

    __torch_dispatch__ = inspect.unwrap(_FlopCounterMode.__torch_dispatch__)

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False


class _Operators(FlopCounterMode):
    """Counts operators and looks at no module.

    torch's own tells modules apart by hooks on the tensors that go into them, which fail without gradients where such
    a tensor is a view of a parameter.
    """

    def __init__(self) -> None:
        super().__init__(display=False, custom_mapping={_FUSED_ATTENTION: _attention})
        self.mod_tracker = _OneModule()  # type: ignore[assignment]

    def __enter__(self) -> Self:
        """Begin to count."""
        self.flop_counts.clear()
        self.mode = _Counting(self)
        self.mode.__enter__()  # type: ignore[no-untyped-call]
        return self


class _OneModule:
    """All operators belong to the model as a whole."""

    parents = frozenset(["Global"])

    def __enter__(self) -> None:
        """Register no hook."""

    def __exit__(self, *error: object) -> None:
        """There is none to remove."""


@contextmanager
def _in_parts() -> Iterator[None]:
    """Have torch's own transformers and LSTMs run operator by operator: for fused ones it has no formula."""
    transformers, recurrent = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
    torch.backends.mha.set_fastpath_enabled(False)
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(transformers)
        torch.backends.mkldnn.enabled = recurrent


def _attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: Any, **__: Any) -> int:
    """Operations of fused attention on a processor, for which torch has no formula: the scores, and their product."""
    return 2 * prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def latency_ratio(full: nn.Module, compressed: nn.Module, example: Batch, pairs: int = 31) -> float:
    """Time two models against each other.

    The two take turns, and who begins changes with each pair, so that a machine that grows slower or
    faster meanwhile does so for both. Each turn is long enough for the clock.

    Args:
        full: the reference, in eval mode.
        compressed: the other, in eval mode.
        example: what both are called with, where they lie.
        pairs: how many turns each has.

    Returns:
        The median over pairs of compressed / full; below 1 the compressed model is faster.

    Example:
        >>> example = Batch((torch.zeros(8, 256),), {})
        >>> latency_ratio(nn.Linear(256, 256), nn.Linear(256, 128), example, pairs=5) > 0
        True
    """
    on_cuda = input_device(full).type == "cuda"

    def seconds(model: nn.Module, calls: int) -> float:
        start = perf_counter()
        for _ in range(calls):
            model(*example.args, **example.kwargs)
        if on_cuda:  # a call returns before the work is done
            torch.cuda.synchronize()
        return perf_counter() - start

    with torch.no_grad():
        warm = [seconds(full, 1) + seconds(compressed, 1) for _ in range(_WARM_UP)]
        calls = max(1, round(_SHORTEST / max(min(warm), 1e-9)))
        ratios = []
        for pair in range(pairs):
            if pair % 2:
                above = seconds(compressed, calls)
                ratios.append(above / seconds(full, calls))
            else:
                below = seconds(full, calls)
                ratios.append(seconds(compressed, calls) / below)
    return median(ratios)


@dataclass(frozen=True)
class Stored:
    """What a model stores.

    Attributes:
        parameters: elements of its weights, trainable, frozen or quantized; shared ones once.
        bytes: of all stored tensors, buffers included; shared ones once.
    """

    parameters: int
    bytes: int


def stored(model: nn.Module, unpacked: Collection[str] = ()) -> Stored:
    """Count what a model stores.

    Weights are its parameters, and what quantized modules keep in their place: packed weights and the biases with
    them are neither parameters nor buffers of the module.

    Args:
        model: any module.
        unpacked: names of integer buffers that hold weights, which its forward pass unpacks.

    Example:
        >>> stored(nn.BatchNorm1d(3))
        Stored(parameters=6, bytes=56)
    """
    trained = {id(parameter): parameter.numel() for parameter in model.parameters()}
    buffers = dict(model.named_buffers(remove_duplicate=False))
    counted = {id(buffers[name]): buffers[name].numel() for name in unpacked if name in buffers}
    known = {id(buffer) for buffer in buffers.values()}
    places: dict[tuple[Any, ...], int] = {}
    for tensor in _state(model):
        places[storage_key(tensor)] = _bytes(tensor)
        if id(tensor) not in trained and id(tensor) not in known and _is_packed_weight(tensor):
            counted[id(tensor)] = tensor.numel()
    return Stored(sum(trained.values()) + sum(counted.values()), sum(places.values()))


def _state(model: nn.Module) -> Iterator[Tensor]:
    """The tensors of a state dict; modules may add states of their own, in which tensors lie deeper."""
    for leaf in pytree.tree_leaves(dict(model.state_dict(keep_vars=True))):
        if isinstance(leaf, Tensor) and leaf.numel():
            yield leaf


def _is_packed_weight(tensor: Tensor) -> bool:
    return tensor.is_quantized or (tensor.is_floating_point() and tensor.ndim > 0)


def storage_key(tensor: Tensor) -> tuple[Any, ...]:
    """Where a tensor lies in memory, and in which shape: what two tensors share that are stored once.

    Example:
        >>> weight = torch.zeros(2, 3)
        >>> storage_key(weight.detach()) == storage_key(weight), storage_key(weight[:1]) == storage_key(weight)
        (True, False)
    """
    if tensor.is_meta:  # weights that are fetched when they are needed have no place in memory yet
        return (id(tensor),)
    if parts := _parts(tensor):
        return tuple(storage_key(part) for part in parts)
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype


def _bytes(tensor: Tensor) -> int:
    if parts := _parts(tensor):
        return sum(_bytes(part) for part in parts)
    scales = 0
    if tensor.is_quantized and tensor.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric):
        scales = sum(_bytes(part) for part in (tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points()))
    return tensor.numel() * tensor.element_size() + scales


def _parts(tensor: Any) -> list[Tensor]:
    """The tensors that a tensor of another class, such as a quantized one, is made of; none for a plain tensor."""
    if not is_traceable_wrapper_subclass(tensor):
        return []
    names, _ = tensor.__tensor_flatten__()
    return [getattr(tensor, name) for name in names]
