"""Which indices of each parameter stay, and a copy of the model cut to them, or with zeros in all the rest."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pfa_gate.compress.prune.counts import own_tensors, recount, shapes_of
from pfa_gate.errors import SurgeryError
from pfa_gate.graph.group import OTHER_GROUP, Coupling, Group, Indices
from pfa_gate.model.copies import deep_copy, with_own_memory

AxisIndices = dict[str, dict[int, Indices]]  # for each parameter and axis, the indices that stay


def axis_indices_of(coupling: Coupling, keep: Mapping[str, npt.ArrayLike]) -> AxisIndices:
    """Indices that stay, for each axis of each parameter that loses any.

    Args:
        coupling: the model's coupling.
        keep: for each group to cut, the filters that stay; groups not named stay whole.

    Raises:
        SurgeryError: an unknown or frozen group, no filter left, or an index out of range or named twice.
    """
    gone: dict[tuple[str, int], npt.NDArray[np.bool_]] = {}
    for name, filters in keep.items():
        group = _free_group(coupling, name)
        removed = _removed(group, filters)
        for part in group.slices:
            lost = (part.filters != OTHER_GROUP) & removed[part.filters]
            place = (part.parameter, part.axis)
            gone[place] = gone.get(place, np.zeros(len(lost), bool)) | lost
    axis_indices: AxisIndices = {}
    for (parameter, axis), lost in gone.items():
        if lost.any():
            axis_indices.setdefault(parameter, {})[axis] = np.flatnonzero(~lost)
    return axis_indices


def removed_labels(coupling: Coupling, keep: Mapping[str, npt.ArrayLike]) -> Tensor:
    """Labels of all filters that go, int64 [n]."""
    gone = [group.labels[_removed(group, keep[name])] for name in keep for group in [_free_group(coupling, name)]]
    return torch.from_numpy(np.concatenate(gone)) if gone else torch.zeros(0, dtype=torch.int64)


def _free_group(coupling: Coupling, name: str) -> Group:
    try:
        group = coupling.group(name)
    except KeyError:
        names = ", ".join(each.name for each in coupling.free)
        raise SurgeryError(f"There is no group '{name}'.", remedy=f"Free groups: {names}.") from None
    if group.frozen is not None:
        raise SurgeryError(f"Group '{name}' cannot be cut: {group.frozen}.", remedy="Leave it out of the selection.")
    return group


def _removed(group: Group, filters: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    chosen = np.asarray(filters)
    if chosen.ndim != 1 or not len(chosen) or not np.issubdtype(chosen.dtype, np.integer):
        raise SurgeryError(f"Group '{group.name}' needs a non-empty list of filter indices.")
    if chosen.min() < 0 or chosen.max() >= group.width or len(np.unique(chosen)) != len(chosen):
        raise SurgeryError(f"Group '{group.name}' has filters 0 to {group.width - 1}, each to be named once.")
    removed = np.ones(group.width, bool)
    removed[chosen] = False
    return removed


def narrow(model: nn.Module, axis_indices: AxisIndices) -> nn.Module:
    """A deep copy of `model` with only these indices of each parameter and buffer; `model` is not changed.

    Raises:
        SurgeryError: a parameter of the plan is not one of the model's own.
    """
    named, places = _own_tensors(model)
    cut: dict[int, Tensor] = {}
    owners: set[nn.Module] = set()
    for name, axes in axis_indices.items():
        tensor = named[name] if name in named else _computed(model, name)
        if id(tensor) not in places:
            raise SurgeryError(f"'{name}' is neither a parameter nor a buffer, so its module cannot be cut in place.")
        cut[id(tensor)] = _selected(tensor, axes)
        owners |= places[id(tensor)]
    smaller = with_own_memory(deep_copy(model, cut))
    for module, twin in zip(model.modules(), smaller.modules(), strict=True):
        if module in owners:
            recount(twin, shapes_of(module))
    return smaller


def _selected(tensor: Tensor, axes: Mapping[int, Indices]) -> Tensor:
    cut = tensor.detach()
    for axis, indices in axes.items():
        cut = cut.index_select(axis, torch.as_tensor(indices, device=cut.device))
    cut = cut.contiguous()
    return nn.Parameter(cut, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else cut


def _computed(model: nn.Module, name: str) -> Tensor:
    """A tensor that is an attribute of a module, and neither of its parameters nor of its buffers."""
    owner, _, attribute = name.rpartition(".")
    try:
        tensor = getattr(model.get_submodule(owner), attribute)
    except AttributeError:
        tensor = None
    if not isinstance(tensor, Tensor):
        raise SurgeryError(f"'{name}' is computed inside the model and cannot be cut in place.")
    return tensor


def _own_tensors(model: nn.Module) -> tuple[dict[str, Tensor], dict[int, set[nn.Module]]]:
    """A model's parameters and buffers by each of their names, and the modules that hold each of them."""
    named: dict[str, Tensor] = {}
    places: dict[int, set[nn.Module]] = {}
    for owner, module in model.named_modules(remove_duplicate=False):
        for attribute, tensor in own_tensors(module):
            named[f"{owner}.{attribute}" if owner else attribute] = tensor
            places.setdefault(id(tensor), set()).add(module)
    return named, places
