"""Which indices of each parameter stay, and a copy of the model cut to them, with the counts that modules keep.

What an attribute means is known for torch's own classes alone: the num_features of timm's transformers is the width of
their output. So a count is changed only where it agreed with the tensors before the cut. A forward that needs another
count changed does not run at the new widths, or is not proved; then the graph is delivered.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.nn.modules.batchnorm import _NormBase

from pfa_gate.errors import SurgeryError
from pfa_gate.graph.group import OTHER_GROUP, Coupling, Group, Indices
from pfa_gate.graph.program import Program
from pfa_gate.model.device import at, substituted
from pfa_gate.model.torch_module import deep_copy, with_own_memory

AxisIndices = dict[str, dict[int, Indices]]  # for each parameter and axis, the indices that stay
Shapes = Mapping[str, torch.Size]
Counts = dict[str, Any]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


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
    places = _places(model)
    cut: dict[int, Tensor] = {}
    owners: set[nn.Module] = set()
    for name, axes in axis_indices.items():
        tensor = _named(model, name)
        if id(tensor) not in places:
            raise SurgeryError(f"'{name}' is neither a parameter nor a buffer, so its module cannot be cut in place.")
        cut[id(tensor)] = _selected(tensor, axes)
        owners |= places[id(tensor)]
    smaller = with_own_memory(deep_copy(model, cut))
    for module, twin in zip(model.modules(), smaller.modules(), strict=True):
        if module in owners:
            recount(twin, shapes_of(module))
    return smaller


def silenced(model: nn.Module, axis_indices: AxisIndices) -> nn.Module:
    """A copy, in eval mode, with zeros in all that `axis_indices` leaves out: where it is made and where it is read.

    Example:
        >>> silenced(nn.Linear(1, 3, bias=False), {"weight": {0: np.array([1])}}).weight.ne(0).tolist()
        [[False], [True], [False]]
    """
    trained = dict(model.named_parameters(remove_duplicate=False))
    silent: dict[int, Tensor] = {}
    for name, axes in axis_indices.items():
        if name in trained:  # running statistics may stay: what they normalise is silent already
            parameter = trained[name]
            silent[id(parameter)] = nn.Parameter(zeroed(parameter, axes), requires_grad=parameter.requires_grad)
    return deep_copy(model, silent).eval()


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


def silent_program(program: Program, axis_indices: AxisIndices, dtype: torch.dtype) -> Program:
    """The exported program with the same zeros, its floating tensors in `dtype`."""
    silent: dict[int, Tensor] = {}

    def quiet(name: str, tensor: Any) -> Any:
        if not isinstance(tensor, Tensor):
            return tensor
        if id(tensor) not in silent:
            silent[id(tensor)] = at(
                zeroed(tensor, axis_indices[name]) if _made_silent(name, axis_indices) else tensor, dtype
            )
        return silent[id(tensor)]

    # Canonical names come first: a tied tensor is silenced once, under the name the plan knows.
    ordered = sorted(program.tensors, key=lambda name: name not in axis_indices)
    done = {name: quiet(name, program.tensors[name]) for name in ordered}
    instead = dict.fromkeys((*program.halves, torch.float32), dtype)
    wide = replace(program, tensors=done, substitutes=instead)
    return replace(wide, constants=_constants(wide, axis_indices, dtype))


def _constants(program: Program, axis_indices: AxisIndices, dtype: torch.dtype) -> dict[Node, Any]:
    """What depends on parameters alone, once more: stored where it is cut, else computed in the wanted precision."""
    values: dict[Node, Any] = {
        node: held.clone() if isinstance(held := program.tensors[alias.name], Tensor) else held
        for node, alias in program.aliases.items()
        if node.op == "placeholder"
    }
    constants: dict[Node, Any] = {}
    cut = {node: axis_indices[name] for name, node in program.folded.items() if name in axis_indices}
    for node, value in program.constants.items():
        if node in cut:
            constants[node] = at(zeroed(value, cut[node]), dtype)
        else:
            operands: Any = torch.fx.node.map_arg((node.args, node.kwargs), lambda source: values[source])
            args, kwargs = substituted(operands, program.substitutes)
            constants[node] = node.target(*args, **kwargs)  # type: ignore[operator]
        values[node] = constants[node]
    return constants


def _made_silent(name: str, axis_indices: AxisIndices) -> bool:
    return name in axis_indices and not name.endswith(("running_mean", "running_var"))


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


def _places(model: nn.Module) -> dict[int, set[nn.Module]]:
    """The modules at which each tensor lives; a tied tensor may have several."""
    places: dict[int, set[nn.Module]] = {}
    for module in model.modules():
        for _, tensor in own_tensors(module):
            places.setdefault(id(tensor), set()).add(module)
    return places


def own_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """A module's own parameters and buffers, by attribute."""
    yield from ((name, tensor) for name, tensor in module._parameters.items() if tensor is not None)
    yield from ((name, tensor) for name, tensor in module._buffers.items() if tensor is not None)


def shapes_of(module: nn.Module) -> Shapes:
    """The shapes of a module's own tensors.

    Example:
        >>> shapes_of(nn.Linear(2, 3))
        {'weight': torch.Size([3, 2]), 'bias': torch.Size([3])}
    """
    return {name: tensor.shape for name, tensor in own_tensors(module)}


def recount(module: nn.Module, before: Shapes) -> None:
    """Bring a module's counts into agreement with its tensors, where they agreed with those of these shapes.

    Example:
        >>> layer = nn.Linear(2, 3)
        >>> before, layer.weight = shapes_of(layer), nn.Parameter(torch.zeros(1, 2))
        >>> recount(layer, before)
        >>> layer
        Linear(in_features=2, out_features=1, bias=True)
    """
    after = shapes_of(module)
    count = next((count for kinds, count in _COUNTS if isinstance(module, kinds)), _foreign)
    agreed = [name for name, size in count(module, before).items() if vars(module).get(name) == size]
    if agreed and isinstance(module, _CONVOLUTIONS) and module.groups == module.in_channels > 1:
        module.groups = after["weight"][0] * module.groups // before["weight"][0]  # each filter reads one channel
    now = count(module, after)
    vars(module).update({name: now[name] for name in agreed})


def _convolution(module: Any, shapes: Shapes) -> Counts:
    weight = shapes.get("weight", ())
    if len(weight) < 3:
        return {}
    return {"out_channels": weight[0], "in_channels": weight[1] * module.groups}


def _transposed(module: Any, shapes: Shapes) -> Counts:
    weight = shapes.get("weight", ())
    if len(weight) < 3:
        return {}
    return {"in_channels": weight[0], "out_channels": weight[1] * module.groups}


def _sizes(*names: str) -> Callable[[Any, Shapes], Counts]:
    """Counts that are the sizes of the weight."""

    def count(_module: Any, shapes: Shapes) -> Counts:
        weight = shapes.get("weight", ())
        return dict(zip(names, weight, strict=True)) if len(weight) == len(names) else {}

    return count


def _attention(module: Any, shapes: Shapes) -> Counts:
    """Width and heads; where these do not shrink alike, the module's own checks refuse to run."""
    packed = shapes.get("in_proj_weight")
    query, key, value = (packed or shapes.get(f"{each}_proj_weight") for each in "qkv")
    if query is None or key is None or value is None:
        return {}
    heads = query[0] // (3 if packed else 1) // module.head_dim
    return {"embed_dim": query[1], "kdim": key[1], "vdim": value[1], "num_heads": heads}


def _normalised_shape(_module: Any, shapes: Shapes) -> Counts:
    return {"normalized_shape": tuple(shapes["weight"])} if "weight" in shapes else {}


def _foreign(module: Any, shapes: Shapes) -> Counts:
    """The num_features of a normalisation, in torch's own classes and in those that are written like them."""
    lengths = {shape[0] for shape in shapes.values() if len(shape) == 1}
    return {"num_features": lengths.pop()} if len(lengths) == 1 and "num_features" in vars(module) else {}


_COUNTS: tuple[tuple[Any, Callable[[Any, Shapes], Counts]], ...] = (
    (_CONVOLUTIONS, _convolution),
    (_TRANSPOSED, _transposed),
    (nn.Linear, _sizes("out_features", "in_features")),
    ((nn.Embedding, nn.EmbeddingBag), _sizes("num_embeddings", "embedding_dim")),
    (nn.Bilinear, _sizes("out_features", "in1_features", "in2_features")),
    (nn.MultiheadAttention, _attention),
    (nn.PReLU, _sizes("num_parameters")),
    (nn.GroupNorm, _sizes("num_channels")),
    ((nn.LayerNorm, nn.RMSNorm), _normalised_shape),
    (_NormBase, _foreign),
)
