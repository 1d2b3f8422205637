"""The tensors that a model holds, by name and by memory: parameters, buffers, and attributes that are neither."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class NamedTensors:
    """The tensors that a model holds, by name.

    Attributes:
        model: that holds them.
        state: those of its state dict, themselves, by each of their names.
        parameters: names of its parameters.
        buffers: those that its state dict leaves out.
    """

    model: nn.Module = field(repr=False)
    state: Mapping[str, Tensor]
    parameters: frozenset[str]
    buffers: Mapping[str, Tensor]

    @classmethod
    def of(cls, model: nn.Module) -> "NamedTensors":
        """List what a model holds; a tensor under several names is listed under each."""
        stored = {key: value for key, value in model.state_dict(keep_vars=True).items() if isinstance(value, Tensor)}
        parameters = dict(model.named_parameters(remove_duplicate=False))
        buffers = dict(model.named_buffers(remove_duplicate=False))
        state: dict[str, Tensor] = {**parameters, **stored}
        left_out = {name: tensor for name, tensor in buffers.items() if name not in state}
        return cls(model, state, frozenset(parameters), left_out)

    @cached_property
    def stored(self) -> dict[str, Tensor]:
        """State and buffers."""
        return {**self.state, **self.buffers}

    def name_of(self, tensor: Tensor) -> str | None:
        """The first name of a stored tensor, or of another object with the same elements."""
        return self._by_object.get(id(tensor)) or self._by_elements.get(elements_of(tensor, ""))

    def whole_of(self, tensor: Tensor) -> str | None:
        """The name of the stored tensor in whose memory a tensor lies."""
        memory = memory_of(tensor)
        return None if memory is None else self._by_memory.get(memory)

    def attribute_of(self, tensor: Tensor) -> str | None:
        """The name of the attribute of a module, alone or in a list or mapping, that is this tensor."""
        return self._by_attribute.get(elements_of(tensor, ""))

    @cached_property
    def _by_object(self) -> Mapping[int, str]:
        return {id(tensor): name for name, tensor in reversed(self.stored.items())}

    @cached_property
    def _by_elements(self) -> Mapping[tuple[object, ...], str]:
        return {elements_of(tensor, name): name for name, tensor in reversed(self.stored.items())}

    @cached_property
    def _by_memory(self) -> Mapping[tuple[int, torch.dtype] | None, str]:
        whole = (each for each in reversed(self.stored.items()) if fills_its_memory(each[1]))
        return {memory_of(tensor): name for name, tensor in whole}

    @cached_property
    def _by_attribute(self) -> Mapping[tuple[object, ...], str]:
        return {elements_of(tensor, name): name for name, tensor in _attributes(self.model)}


def _attributes(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for owner, module in model.named_modules():
        for name, value in vars(module).items():
            if not name.startswith("_") or isinstance(value, Tensor):
                for key, tensor in _tensors_within(value):
                    yield ".".join(filter(None, (owner, name, key))), tensor


def _tensors_within(value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield "", value
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    yield from ((str(key), each) for key, each in entries if isinstance(each, Tensor))


def tied(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """For each name the first name of the same tensor: tied weights are one weight."""
    first: dict[tuple[object, ...], str] = {}
    return {name: first.setdefault(elements_of(tensor, name), name) for name, tensor in tensors.items()}


def elements_of(tensor: Tensor, name: str) -> tuple[object, ...]:
    """What tells two tensors of the same elements from others; `name` where a tensor has no memory."""
    return tensor.data_ptr() or name, tensor.shape, tensor.stride()


def memory_of(tensor: Tensor) -> tuple[int, torch.dtype] | None:
    """The memory that a tensor is a part of; None where it has none."""
    if tensor.layout is not torch.strided or not tensor.numel():
        return None
    return tensor.untyped_storage().data_ptr() or id(tensor), tensor.dtype


def fills_its_memory(tensor: Tensor) -> bool:
    """Whether it is all of its memory in order, so that a part of the memory is that part of any copy of it."""
    if memory_of(tensor) is None or not tensor.is_contiguous():
        return False
    return tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
