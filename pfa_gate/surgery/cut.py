"""Cutting a copy of a model: parameters, buffers, and the modules' own counts of them."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pfa_gate.coupling.group import Indices
from pfa_gate.errors import SurgeryError
from pfa_gate.surgery.plan import Kept

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def narrow(model: nn.Module, kept: Kept) -> nn.Module:
    """A deep copy of `model` with only the kept indices of each parameter and buffer; `model` is not changed.

    Raises:
        SurgeryError: a parameter of the plan is not one of the model's own.
    """
    smaller = copy.deepcopy(model)
    places = _places(smaller)
    changed: set[nn.Module] = set()
    for name, axes in kept.items():
        tensor = _named(smaller, name)
        cut = _selected(tensor, axes)
        if id(tensor) not in places:
            raise SurgeryError(f"'{name}' is neither a parameter nor a buffer, so its module cannot be cut in place.")
        for owner, attribute in places[id(tensor)]:
            _replace(owner, attribute, cut)
            changed.add(owner)
    for module in changed:
        _recount(module)
    smaller.kept = kept  # type: ignore[assignment]
    return smaller


def silence(model: nn.Module, kept: Kept) -> nn.Module:
    """Put zeros, in place, in all that `kept` leaves out: where it is made and where it is read."""
    trained = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    with torch.no_grad():
        for name, axes in kept.items():
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
        for attribute, tensor in _own_tensors(module):
            places.setdefault(id(tensor), []).append((module, attribute))
    return places


def _own_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from ((name, tensor) for name, tensor in module._parameters.items() if tensor is not None)
    yield from ((name, tensor) for name, tensor in module._buffers.items() if tensor is not None)


def _replace(owner: nn.Module, attribute: str, tensor: Tensor) -> None:
    table: dict[str, Any] = owner._parameters if attribute in owner._parameters else owner._buffers
    table[attribute] = tensor


def _recount(module: nn.Module) -> None:
    """Make the counts that PyTorch's own modules keep agree with their tensors again."""
    if isinstance(module, _CONVOLUTIONS):
        if module.groups == module.in_channels and module.groups > 1:
            module.groups = int(module.weight.shape[0] * module.groups // module.out_channels)
        module.out_channels = module.weight.shape[0]
        module.in_channels = module.weight.shape[1] * module.groups
    elif isinstance(module, _TRANSPOSED):
        module.in_channels = module.weight.shape[0]
        module.out_channels = module.weight.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.Embedding):
        module.num_embeddings, module.embedding_dim = module.weight.shape
    elif isinstance(module, nn.PReLU):
        module.num_parameters = module.weight.numel()
    elif hasattr(module, "num_features"):
        vars(module)["num_features"] = next(len(tensor) for _, tensor in _own_tensors(module) if tensor.ndim == 1)
