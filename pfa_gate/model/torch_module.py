"""The torch module itself: without what wraps it, and called on one batch."""

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from pfa_gate.errors import CandidateError, DataError, FactoryError
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


def forward(model: nn.Module, batch: Batch) -> Any:
    """Call the model on a batch, without gradients.

    Args:
        model: in eval mode.
        batch: its labels are not used.

    Returns:
        What the model gives.

    Raises:
        DataError: the model raises, which most often means data of the wrong shape or type.
        CandidateError: a candidate does not take the data.

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
    except CandidateError:
        raise  # it says what it takes
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
