"""The torch module itself: without what wraps it, as a copy of one's own, and called on one batch."""

import copy
import inspect
import sys
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from pfa_gate.errors import DataError, FactoryError
from pfa_gate.model.batch import Batch
from pfa_gate.model.user_frames import about_devices, raised

_HOLD_A_MODULE = (DataParallel, DistributedDataParallel, AveragedModel)


def unwrapped(model: nn.Module) -> nn.Module:
    """The module within `torch.compile`, `DataParallel` and their like; the model itself where nothing wraps it.

    Raises:
        FactoryError: it is a ScriptModule, whose layers are code that cannot be measured or cut.

    Example:
        >>> unwrapped(nn.DataParallel(nn.Linear(2, 3)))
        Linear(in_features=2, out_features=3, bias=True)
    """
    while (inner := _within(model)) is not None:
        model = inner
    if isinstance(model, torch.jit.ScriptModule):
        raise FactoryError(
            "The model is a ScriptModule: its layers are compiled code, which cannot be measured or cut.",
            remedy="Give the nn.Module that it was made from; torch.jit.load(path).state_dict() holds its weights.",
        )
    return model


def unwrap_inside(model: nn.Module) -> None:
    """Put the modules within compiled blocks of a model in their place; parallel ones run where the model is.

    Example:
        >>> net = nn.Sequential(torch.compile(nn.Linear(2, 3)))
        >>> unwrap_inside(net)
        >>> [name for name, _ in net.named_parameters()]
        ['0.weight', '0.bias']
    """
    for module in list(model.modules()):
        for name, child in module._modules.items():
            if child is not None and _is_compiled(child):
                module._modules[name] = unwrapped(child)
        if isinstance(module, DataParallel):
            module.device_ids = []  # forward may reach for `.module`, so the wrapper stays


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run what is compiled as it was written: compiling takes a minute, and a gate runs few batches.

    Example:
        >>> with uncompiled():
        ...     nn.Linear(2, 3)(torch.zeros(1, 2)).shape
        torch.Size([1, 3])
    """
    # Compiling has imported this module; importing it here would take a second for everybody else.
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def _within(model: nn.Module) -> nn.Module | None:
    if _is_compiled(model):
        return model.get_submodule("_orig_mod")
    return model.get_submodule("module") if isinstance(model, _HOLD_A_MODULE) else None


def _is_compiled(module: nn.Module) -> bool:
    # The class itself lives where importing it takes seconds.
    return type(module).__name__ == "OptimizedModule" and "_orig_mod" in module._modules


Model = TypeVar("Model", bound=nn.Module)


def copied(model: Model) -> Model:
    """A deep copy, in eval mode.

    Example:
        >>> copied(nn.Dropout()).training
        False
    """
    return deep_copy(model, {}).eval()


def deep_copy(model: Model, replacements: dict[int, Tensor]) -> Model:
    """A deep copy that takes some tensors from `replacements`, by the id of the original.

    Tensors that a module has computed and keeps, as the old `weight_norm` does, torch itself refuses to copy: the copy
    has them without their history.

    Example:
        >>> normed = nn.utils.weight_norm(nn.Linear(2, 3))
        >>> deep_copy(normed, {}).weight.shape
        torch.Size([3, 2])
    """
    memo: dict[int, Any] = {id(tensor): tensor.detach().clone() for tensor in _computed(model)} | replacements
    modules = list(model.modules())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # graph modules copy what torch itself deprecates
        if not any(_copies_itself(kind) for kind in {type(module) for module in modules}):
            _copy_modules(modules, memo)
        return copy.deepcopy(model, memo)


def _copies_itself(kind: type) -> bool:
    """Whether a class has a word in how its instances are copied, or keeps some of their state in slots."""
    inherited = {"__new__": object, "__reduce__": object, "__reduce_ex__": object, "__getstate__": nn.Module}
    return (
        hasattr(kind, "__deepcopy__")
        or any(getattr(kind, name) is not getattr(base, name) for name, base in inherited.items())
        or any("__slots__" in vars(base) for base in kind.__mro__)
    )


def _copy_modules(modules: Sequence[nn.Module], memo: dict[int, Any]) -> None:
    """Put a copy of each module into `memo`, as `copy.deepcopy` makes it, in a fifth of the time.

    Nearly all that a module holds are numbers, words and empty tables of hooks, on which it spends most of its time.
    """
    memo |= {id(module): type(module).__new__(type(module)) for module in modules}
    for module in reversed(modules):  # parts before what holds them
        state = {name: _copied_value(value, memo) for name, value in module.__getstate__().items()}  # type: ignore[no-untyped-call]
        memo[id(module)].__setstate__(state)


_UNCHANGING = frozenset([bool, int, float, str, type(None)])


def _copied_value(value: Any, memo: dict[int, Any]) -> Any:
    kind = type(value)
    if kind in _UNCHANGING or (kind is tuple and all(type(entry) in _UNCHANGING for entry in value)):
        return value
    if kind is set and not value and id(value) not in memo:
        return memo.setdefault(id(value), set())
    if kind not in (dict, OrderedDict) or id(value) in memo:
        return copy.deepcopy(value, memo)
    memo[id(value)] = table = kind()
    for name, entry in value.items():
        table[_copied_value(name, memo)] = _copied_value(entry, memo)
    return table


def with_own_memory(model: Model) -> Model:
    """The model itself, its buffers no longer parts of larger tensors or of each other: files hold each as it is.

    A deep copy copies a slice of a table with all of the table behind it. Buffers that are one tensor stay one.

    Example:
        >>> net = nn.Module()
        >>> net.register_buffer("mask", torch.ones(1024)[:3])
        >>> with_own_memory(net).mask.untyped_storage().nbytes()
        12
    """
    own: dict[int, Tensor] = {}
    owners: dict[int, int] = {}  # memory -> the tensor it belongs to
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is None or type(buffer) is not Tensor or buffer.layout is not torch.strided:
                continue
            memory = buffer.untyped_storage()
            alone = owners.setdefault(memory.data_ptr(), id(buffer)) == id(buffer)
            if not alone or memory.nbytes() != buffer.nbytes:
                module._buffers[name] = own.setdefault(id(buffer), buffer.detach().clone().contiguous())
    return model


def _computed(model: nn.Module) -> Iterator[Tensor]:
    for module in model.modules():
        yield from (value for value in vars(module).values() if isinstance(value, Tensor) and not value.is_leaf)


def forward(model: nn.Module, batch: Batch) -> Any:
    """Call the model on a batch, without gradients.

    Args:
        model: in eval mode.
        batch: its labels are not used.

    Returns:
        What the model gives.

    Raises:
        DataError: the model raises, which most often means data of the wrong shape or type.

    What is compiled runs as it was written.

    Example:
        >>> forward(nn.Linear(2, 3), Batch((torch.zeros(4, 2),), {})).shape
        torch.Size([4, 3])
        >>> forward(nn.Linear(2, 3), Batch((torch.zeros(4, 5),), {}))
        Traceback (most recent call last):
        pfa_gate.errors.DataError: The model does not take float32 [4, 5]: it raised RuntimeError: ...
    """
    try:
        with torch.no_grad(), uncompiled():
            return model(*batch.args, **batch.kwargs)
    except Exception as error:
        raise _refused(model, batch, error) from error


def _refused(model: nn.Module, batch: Batch, error: Exception) -> DataError:
    """Tell a call that cannot be from a forward that reaches for another device, and both from all else."""
    misfit = _misfit(model, batch)
    if misfit:
        return DataError(
            f"The data gives {_inputs(batch)}, and the model's forward takes {misfit}.",
            remedy="Each entry of a mapping is an argument of forward, by its name; `labels` is kept apart."
            if batch.kwargs
            else "Give one tensor with all samples for each argument, then the labels.",
        )
    given = ", ".join(f"{str(t.dtype).removeprefix('torch.')} {list(t.shape)}" for t in batch.tensors())
    devices = about_devices(error)
    if devices:
        return DataError(f"The model's forward raised {raised(error)}.", remedy=devices)
    return DataError(
        f"The model does not take {given}: it raised {raised(error)}.",
        remedy=size_remedy(model) or "Give the data in the shape and type that the model was trained on.",
    )


def size_remedy(model: nn.Module) -> str:
    """What to do about data that a graph does not take: it has the sizes of its example. Empty for other modules.

    Args:
        model: full or compressed; a compressed model of the form `graph` is one.

    Example:
        >>> size_remedy(nn.Linear(2, 3))
        ''
    """
    if not isinstance(model, GraphModule):
        return ""
    return (
        "This model is a graph with the sizes of the probe's first batch. "
        "Give all data in these sizes; only the number of samples may differ."
    )


def _misfit(model: nn.Module, batch: Batch) -> str:
    """The arguments of forward, where the batch cannot be passed to it; else nothing."""
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):
        return ""
    try:
        signature.bind(*batch.args, **batch.kwargs)
    except TypeError as error:
        bare = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
        written = signature.replace(parameters=bare, return_annotation=signature.empty)
        return f"{written}: {error}"
    return ""


def _inputs(batch: Batch) -> str:
    count = len(batch.args)
    parts = [f"{count} input{'s' if count > 1 else ''} a call"] if count else []
    return " and ".join([*parts, *([f"the entries {', '.join(batch.kwargs)}"] if batch.kwargs else [])])
