"""Copies of a module: deep ones, and with memory of their own."""

import copy
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

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
    modules = list(model.modules())
    memo: dict[int, Any] = {id(tensor): tensor.detach().clone() for tensor in _computed(modules)} | replacements
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # graph modules copy what torch itself deprecates
        if not any(_copies_itself(kind) for kind in {type(module) for module in modules}):
            _copy_modules(modules, memo)
        return _not_stored_alike(copy.deepcopy(model, memo), model)


def _not_stored_alike(twin: Model, model: nn.Module) -> Model:
    """The copy, its state dict without what that of the model is without: a graph module's own copy has all buffers."""
    parts = dict(twin.named_modules())
    for name, module in model.named_modules():
        if name in parts and module._non_persistent_buffers_set:
            parts[name]._non_persistent_buffers_set |= module._non_persistent_buffers_set & parts[name]._buffers.keys()
    return twin


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
        memo[id(module)].__setstate__(_copied_table(module.__getstate__(), {}, memo))  # type: ignore[no-untyped-call]


_UNCHANGING = frozenset([bool, int, float, str, type(None)])
_TABLES = frozenset([dict, OrderedDict])


def _copied_value(value: Any, memo: dict[int, Any]) -> Any:
    kind = type(value)
    if kind in _UNCHANGING or (kind is tuple and _UNCHANGING.issuperset(map(type, value))):
        return value
    if kind in _TABLES and id(value) not in memo:
        return _copied_table(value, memo.setdefault(id(value), kind()), memo)
    return copy.deepcopy(value, memo)


def _copied_table(table: Mapping[Any, Any], twin: dict[Any, Any], memo: dict[int, Any]) -> dict[Any, Any]:
    for name, value in table.items():
        kind = type(value)
        own = value
        if (kind in _TABLES or kind is set) and not value:
            own = memo.setdefault(id(value), kind())
        elif kind not in _UNCHANGING:
            own = _copied_value(value, memo)
        twin[name if type(name) is str else _copied_value(name, memo)] = own
    return twin


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


def _computed(modules: Sequence[nn.Module]) -> Iterator[Tensor]:
    for module in modules:
        yield from (value for value in vars(module).values() if isinstance(value, Tensor) and not value.is_leaf)
