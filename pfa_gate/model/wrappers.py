"""A model without what wraps it for training or speed: the same weights under their plain names.

PYTEST_DONT_REWRITE
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from pfa_gate.errors import FactoryError

_HOLD_A_MODULE = (DataParallel, DistributedDataParallel, AveragedModel)


def unwrapped(model: nn.Module) -> nn.Module:
    """The module within `torch.compile`, `DataParallel` and their like; the model itself where nothing wraps it.

    Raises:
        FactoryError: it is a ScriptModule, whose layers are code that nobody can measure or cut.

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
    # Whoever has compiled something has imported this; nobody else shall wait for it.
    if "torch._dynamo" not in sys.modules:
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def _within(model: nn.Module) -> nn.Module | None:
    if _is_compiled(model):
        inner = model._orig_mod
    elif isinstance(model, _HOLD_A_MODULE):
        inner = model.module
    else:
        return None
    assert isinstance(inner, nn.Module)
    return inner


def _is_compiled(module: nn.Module) -> bool:
    # The class itself lives where importing it takes seconds.
    return type(module).__name__ == "OptimizedModule" and "_orig_mod" in module._modules
