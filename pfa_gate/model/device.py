"""Where a model runs: the device that pfa.yaml names, and how it is measured there as on the CPU."""

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from pfa_gate.errors import ConfigError
from pfa_gate.model.batch import Batch, Inputs
from pfa_gate.model.copies import deep_copy
from pfa_gate.model.torch_module import uncompiled

CPU = torch.device("cpu")


def device_of(choice: str, model: nn.Module) -> torch.device:
    """The device that a config's word means for a model.

    Args:
        choice: `auto` is CUDA if there is some, else the CPU; `cpu`, `cuda` (the one in use, or this rank's), `cuda:1`.
        model: one that its factory has spread over devices runs where it lies.

    Raises:
        ConfigError: the device is not there, or the model is spread and would have to be moved.

    Example:
        >>> device_of("cpu", nn.Linear(2, 3))
        device(type='cpu')
    """
    if is_spread(model):
        if choice == "auto":
            return input_device(model)
        raise ConfigError(
            f"The factory has spread the model over {', '.join(devices_of(model))}; "
            f"model.device: {choice} would move it.",
            remedy="Remove model.device, or build the model on one device.",
        )
    if choice == "cpu" or (choice == "auto" and not torch.cuda.is_available()):
        return CPU
    device = torch.device("cuda" if choice == "auto" else choice)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0 or (device.index or 0) >= count:
        devices = f"{count} CUDA devices" if count else "no CUDA device"
        raise ConfigError(
            f"model.device is {choice}, and torch {torch.__version__} finds {devices} here.",
            remedy="Write auto, which takes one where there is one, or cpu.",
        )
    if ":" in choice:
        return device
    # Where torchrun started several processes, each takes a device of its own while there are enough.
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", torch.cuda.current_device())) % count)


def device_label(device: torch.device) -> str:
    """A device for people and records.

    Example:
        >>> device_label(CPU)
        'cpu'
    """
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def devices_of(model: nn.Module) -> list[str]:
    """The devices a model's tensors lie on, and those that a Hugging Face device map names, sorted.

    Example:
        >>> devices_of(nn.Linear(2, 3))
        ['cpu']
    """
    mapped = getattr(model, "hf_device_map", None) or {}
    # A plain number in a device map is a CUDA device.
    named = {f"cuda:{entry}" if isinstance(entry, int) else str(entry) for entry in mapped.values()}
    return sorted(named | {str(tensor.device) for tensor in _tensors(model) if not tensor.is_meta})


def is_spread(model: nn.Module) -> bool:
    """Whether a model's factory has put it on several devices, or left weights to be fetched when they are needed.

    Example:
        >>> is_spread(nn.Linear(2, 3))
        False
    """
    fetched = any(tensor.is_meta for tensor in _tensors(model)) and hasattr(model, "hf_device_map")
    return fetched or len(devices_of(model)) > 1


def input_device(model: nn.Module) -> torch.device:
    """The device that a model's inputs go to: that of its first tensor in memory.

    Example:
        >>> input_device(nn.Linear(2, 3))
        device(type='cpu')
    """
    return next((tensor.device for tensor in _tensors(model) if not tensor.is_meta), CPU)


def model_on(model: nn.Module, device: torch.device) -> nn.Module:
    """The model itself if it lies on a device or is spread over several, else a copy there; what is tied stays tied.

    Example:
        >>> model_on(nn.Linear(2, 3), torch.device("meta")).weight.device
        device(type='meta')
    """
    if is_spread(model) or all(tensor.device == device for tensor in _tensors(model)):
        return model
    moved: dict[int, Tensor] = {}
    for tensor in _tensors(model):
        sent = tensor.detach().to(device)
        moved[id(tensor)] = nn.Parameter(sent, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else sent
    copy = deep_copy(model, moved)
    substitute_in_graphs(copy, {input_device(model): device})
    return copy


def substitute_in_graphs(model: nn.Module, substitutes: Mapping[Any, Any]) -> None:
    """Change, in place, the dtypes and devices that the graphs of a model name; see `substituted`."""
    for module in model.modules():
        if not isinstance(module, GraphModule):
            continue
        changed = False
        for node in module.graph.nodes:
            before = (node.args, node.kwargs)
            node.args, node.kwargs = substituted(before, substitutes)
            changed |= (node.args, node.kwargs) != before
        if changed:
            module.recompile()


def substituted(operands: Any, substitutes: Mapping[Any, Any]) -> Any:
    """Operands with other dtypes and devices in the place of those named.

    A graph names the device it was recorded on wherever it makes a tensor, and the model's dtype wherever it casts.

    Example:
        >>> substituted((1, {"dtype": torch.bfloat16}), {torch.bfloat16: torch.float64})
        (1, {'dtype': torch.float64})
    """
    if not substitutes:
        return operands

    def swapped(leaf: Any) -> Any:
        return substitutes.get(leaf, leaf) if isinstance(leaf, torch.dtype | torch.device) else leaf

    return torch.fx.node.map_aggregate(operands, swapped)


def at(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor in a precision, where it is floating; a complex one in pairs of it.

    Example:
        >>> at(torch.zeros(2, dtype=torch.complex64), torch.float64).dtype
        torch.complex128
    """
    if tensor.is_complex():
        return tensor.to(dtype.to_complex())
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def in_precision(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The model itself with its tensors in a precision; `Module.to` would drop the imaginary part of complex ones.

    Example:
        >>> in_precision(nn.Linear(2, 3), torch.float64).weight.dtype
        torch.float64
    """
    changed: nn.Module = model._apply(lambda tensor: at(tensor, dtype))  # type: ignore[no-untyped-call]
    return changed


def copied_at(
    model: nn.Module, dtype: torch.dtype | None, replacements: Mapping[int, Tensor] | None = None
) -> nn.Module:
    """A deep copy, in eval mode, with its tensors in a precision; each is made once.

    Args:
        model: not changed.
        dtype: of the copy; None leaves each tensor in its own.
        replacements: tensors to take in place of the model's own, by the id of these.

    Example:
        >>> copied_at(nn.Linear(2, 3), torch.float64).weight.dtype
        torch.float64
    """
    own: dict[int, Tensor] = {}
    modules = list(model.modules())
    tables = (table for module in modules for table in (module._parameters, module._buffers))
    tensors = {id(tensor): tensor for table in tables for tensor in table.values() if tensor is not None}
    for tensor in (tensor for tensor in tensors.values() if type(tensor) in (Tensor, nn.Parameter)):
        given = (replacements or {}).get(id(tensor), tensor).detach()
        value = at(given, dtype) if dtype else given
        value = value.clone() if value.data_ptr() == tensor.data_ptr() else value
        own[id(tensor)] = nn.Parameter(value, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else value
    copy = deep_copy(model, own).eval()
    converted = len(own) == len(tensors) and not any(_converts_itself(kind) for kind in {*map(type, modules)})
    return copy if dtype is None or converted else in_precision(copy, dtype)


def _converts_itself(kind: type[nn.Module]) -> bool:
    """Whether a class has a word in how its instances are moved to another precision."""
    return kind._apply is not nn.Module._apply


def prefetched(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """The batches on a device, each on its way there while the one before is in use; on the CPU as they are.

    Example:
        >>> from pfa_gate.model.batch import batch_of
        >>> [batch.size for batch in prefetched([batch_of(torch.zeros(2, 3))], CPU)]
        [2]
    """
    if device.type != "cuda":
        yield from (batch.to(device) for batch in batches)
        return
    stream, waiting = torch.cuda.Stream(device), None  # type: ignore[no-untyped-call]
    for batch in batches:
        with torch.cuda.stream(stream):
            moved = batch.to(device)
            arrival = stream.record_event()
        if waiting is not None:
            yield _arrived(*waiting)
        waiting = moved, arrival
    if waiting is not None:
        yield _arrived(*waiting)


def inputs_on(inputs: Inputs, device: torch.device) -> Inputs:
    """Positional and keyword inputs, on a device."""
    batch = Batch(*inputs).to(device)
    return batch.args, batch.kwargs


def _arrived(batch: Batch, arrival: torch.cuda.Event) -> Batch:
    for tensor in batch.tensors():
        if tensor.is_cuda:
            stream = torch.cuda.current_stream(tensor.device)
            stream.wait_event(arrival)
            tensor.record_stream(stream)  # its memory is not given away before this stream is done with it
    return batch


@contextmanager
def exact_arithmetic(device: torch.device) -> Iterator[None]:
    """Compute on a device as on the CPU: in full precision, and with deterministic operators where there are some.

    What is compiled runs as it was written.
    """
    if device.type != "cuda":
        with uncompiled():
            yield
        return
    precision, certain = torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.set_float32_matmul_precision("highest")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        with (
            uncompiled(),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
            warnings.catch_warnings(),
        ):
            warnings.filterwarnings("ignore", message="(?i).*deterministic")
            yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.use_deterministic_algorithms(certain, warn_only=only_warns)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
