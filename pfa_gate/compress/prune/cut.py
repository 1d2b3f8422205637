"""Cutting a copy of a model: parameters, buffers, and the modules' own counts of them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pfa_gate.compress.prune.module_counts import Shapes, own_tensors, recount, shapes_of
from pfa_gate.compress.prune.plan import AxisIndices
from pfa_gate.errors import SurgeryError
from pfa_gate.graph.group import Indices
from pfa_gate.model.copying import deep_copy, with_own_memory


def narrow(model: nn.Module, axis_indices: AxisIndices) -> nn.Module:
    """A deep copy of `model` with only these indices of each parameter and buffer; `model` is not changed.

    Raises:
        SurgeryError: a parameter of the plan is not one of the model's own.
    """
    smaller = with_own_memory(deep_copy(model, {}))
    places = _places(smaller)
    before: dict[nn.Module, Shapes] = {}
    for name, axes in axis_indices.items():
        tensor = _named(smaller, name)
        cut = _selected(tensor, axes)
        if id(tensor) not in places:
            raise SurgeryError(f"'{name}' is neither a parameter nor a buffer, so its module cannot be cut in place.")
        for owner, attribute in places[id(tensor)]:
            before.setdefault(owner, shapes_of(owner))
            _replace(owner, attribute, cut)
    for module, shapes in before.items():
        recount(module, shapes)
    return smaller


def silence(model: nn.Module, axis_indices: AxisIndices) -> nn.Module:
    """Put zeros, in place, in all that `axis_indices` leaves out: where it is made and where it is read."""
    trained = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    with torch.no_grad():
        for name, axes in axis_indices.items():
            if name in trained:  # running statistics may stay: what they normalise is silent already
                tensor = _named(model, name)
                tensor.copy_(zeroed(tensor, axes))
    return model


def zeroed(tensor: Tensor, axes: Mapping[int, Indices]) -> Tensor:
    """A copy with zeros at the indices that do not stay."""
    silent = tensor.detach().clone()
    for axis, indices in axes.items():
        silent.index_fill_(axis, _left_out(silent.shape[axis], indices), 0)
    return silent


def _left_out(size: int, indices: Indices) -> Tensor:
    gone = torch.ones(size, dtype=torch.bool)
    gone[torch.as_tensor(indices)] = False
    return gone.nonzero().reshape(-1)


def _selected(tensor: Tensor, axes: Mapping[int, Indices]) -> Tensor:
    cut = tensor.detach()
    for axis, indices in axes.items():
        cut = cut.index_select(axis, torch.as_tensor(indices, device=cut.device))
    cut = cut.contiguous()
    return nn.Parameter(cut, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else cut


def _named(model: nn.Module, name: str) -> Tensor:
    owner, _, attribute = name.rpartition(".")
    try:
        tensor = getattr(model.get_submodule(owner), attribute)
    except AttributeError:
        tensor = None
    if not isinstance(tensor, Tensor):
        raise SurgeryError(f"'{name}' is computed inside the model and cannot be cut in place.")
    return tensor


def _places(model: nn.Module) -> dict[int, list[tuple[nn.Module, str]]]:
    """Every module attribute at which each tensor lives; tied tensors have several."""
    places: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for attribute, tensor in own_tensors(module):
            places.setdefault(id(tensor), []).append((module, attribute))
    return places


def _replace(owner: nn.Module, attribute: str, tensor: Tensor) -> None:
    table: dict[str, Any] = owner._parameters if attribute in owner._parameters else owner._buffers
    table[attribute] = tensor
