"""Inactive filters are constants, not zeros: what such a filter gives its readers goes into their biases.

A filter whose response never changes still reaches its reader, as the shift of a batch norm through an activation,
say. Where a reader takes no zero padding, that is one number for each of its outputs. The model with these numbers in
its biases and the filters silenced equals the untouched model, and this is proved before the filters are cut.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.fx import Node

from pfa_gate.compress.prune.arguments import operand
from pfa_gate.compress.prune.cut import axis_indices_of
from pfa_gate.compress.prune.proof import Proof, compare
from pfa_gate.compress.prune.silence import silenced
from pfa_gate.errors import SurgeryError
from pfa_gate.graph.group import Coupling, Group, Indices, Layer
from pfa_gate.graph.program import operator_name
from pfa_gate.model.batch import Inputs
from pfa_gate.model.copies import copied

_BIASED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_SPREAD = 1e-6  # a value counts as constant when it moves by less than this share of its size


@dataclass(frozen=True)
class FoldedModel:
    """A model whose readers no longer need some constant filters.

    Attributes:
        model: a copy, with the constants in the readers' biases; the filters are still there.
        filters: for each group, the filters that may now be silenced without a change.
        proof: how exactly the copy, with these filters silenced, equals the untouched model.
    """

    model: nn.Module
    filters: Mapping[str, Indices]
    proof: Proof


def fold_constants(
    model: nn.Module, coupling: Coupling, inactive: Mapping[str, npt.ArrayLike], inputs: Inputs
) -> FoldedModel | None:
    """Move what inactive filters give into the biases of their readers, group by group, where that can be proved.

    Args:
        model: in eval mode; not changed.
        coupling: its coupling.
        inactive: for each group, the indices of filters that never change.
        inputs: example inputs.

    Returns:
        The model to cut instead, or None where no filter can be folded exactly.
    """
    model = coupling.program.stored or model
    values = _inputs_of_readers(coupling, inputs)
    served = {layer.name for layer in coupling.layers if _takes_a_bias(model, layer)}
    best: FoldedModel | None = None
    for name in sorted(inactive):
        filters = np.asarray(inactive[name], dtype=np.int64)
        group = coupling.group(name)
        shifts = (
            _shifts(coupling, group, filters, values) if len(filters) and served.issuperset(group.readers) else None
        )
        if shifts:
            start = model if best is None else best.model
            done = {**(best.filters if best else {}), name: filters}
            best = _proved(_shifted(start, shifts), model, coupling, done, inputs) or best
    return best


def _takes_a_bias(model: nn.Module, layer: Layer) -> bool:
    """Whether a layer's bias is added to what it makes, as in torch's own; the packed weight of attention has none."""
    if layer.weight != f"{layer.name}.weight":
        return False
    module = model.get_submodule(layer.name)
    return isinstance(module, _BIASED) and isinstance(module.bias, Tensor | None)


def _proved(
    shifted: nn.Module, model: nn.Module, coupling: Coupling, filters: Mapping[str, Indices], inputs: Inputs
) -> FoldedModel | None:
    keep = {name: np.setdiff1d(np.arange(coupling.group(name).width), gone) for name, gone in filters.items()}
    if any(not len(left) for left in keep.values()):
        return None
    try:
        proof = compare(silenced(shifted, axis_indices_of(coupling, keep)), model, inputs)
    except SurgeryError:
        return None
    return FoldedModel(shifted, filters, proof) if proof.passed else None


def _inputs_of_readers(coupling: Coupling, inputs: Inputs) -> dict[str, Tensor]:
    """The value that each layer's call reads on the example, by node name of the call."""
    nodes = {node.name: node for node in coupling.program.graph.nodes}
    readers: dict[str, list[str]] = {}
    for layer in coupling.layers:
        for tap in (tap for tap in layer.taps if _plain(nodes[tap.node])):
            readers.setdefault(_read(nodes[tap.node]).name, []).append(tap.node)
    found: dict[str, Tensor] = {}

    def observe(node: Node, value: Any) -> None:
        if node.name in readers and isinstance(value, Tensor):
            found.update(dict.fromkeys(readers[node.name], value.detach().clone()))

    with torch.no_grad():
        coupling.program.run(*inputs, observe=observe)
    return found


def _read(call: Node) -> Node:
    return operand(call, 1 if operator_name(call) == "addmm" else 0)


def _shifts(
    coupling: Coupling, group: Group, filters: Indices, values: Mapping[str, Tensor]
) -> dict[str, Tensor] | None:
    """For each reader, what its bias gains; None where one of them cannot be served."""
    if _read_otherwise(coupling, group, filters):
        return None
    nodes = {node.name: node for node in coupling.program.graph.nodes}
    shifts: dict[str, Tensor] = {}
    for layer in coupling.layers:
        if layer.name not in group.readers:
            continue
        weight = coupling.program.tensors[layer.weight].movedim(layer.axis, 0)
        columns = _columns(group, layer, filters)
        gains = [_gain(nodes[tap.node], weight, columns, values.get(tap.node)) for tap in layer.taps]
        first = gains[0]
        if first is None or any(gain is None or not torch.equal(gain, first) for gain in gains):
            return None
        shifts[layer.name] = first
    return shifts if set(shifts) == set(group.readers) else None


def _columns(group: Group, layer: Layer, filters: Indices) -> Tensor:
    """Which columns of a reader's weight read these filters."""
    parts = (part for part in group.slices if part.parameter == layer.weight and part.axis != layer.axis)
    return torch.from_numpy(np.flatnonzero(np.isin(next(parts).filters, filters)))


def _read_otherwise(coupling: Coupling, group: Group, filters: Indices) -> bool:
    """Whether these filters reach a normalisation across channels: a constant matters there."""
    labels = torch.as_tensor(group.labels[filters])
    nodes = {node.name: node for node in coupling.program.graph.nodes}
    sources = (nodes[name].args[0] for name in coupling.normalised)
    found = (coupling.labels.get(source.name) for source in sources if isinstance(source, Node))
    return any(isinstance(each, Tensor) and bool(torch.isin(each, labels).any()) for each in found)


def _gain(call: Node, weight: Tensor, columns: Tensor, value: Tensor | None) -> Tensor | None:
    """What the constant channels of `value` add to each output of a weight [O, I, taps…], float64 [O]."""
    constants = None if value is None else _constants(value, 1 if weight.ndim > 2 else -1, columns)
    if constants is None or (_pads(call) and bool((constants != 0).any())):
        return None
    read = weight[:, columns].double()
    return (read.flatten(2).sum(-1) if weight.ndim > 2 else read) @ constants


def _constants(value: Tensor, axis: int, places: Tensor) -> Tensor | None:
    """The one number of each of these channels, or None where one of them moves."""
    rows = value.movedim(axis, 0)[places].flatten(1).double()
    spread = rows.amax(1) - rows.amin(1)
    if bool((spread > _SPREAD * rows.abs().amax(1).clamp_min(1e-12)).any()):
        return None
    return rows[:, 0]


def _plain(node: Node) -> bool:
    """A linear, or a convolution in one group that is not transposed."""
    name = operator_name(node)
    if name in ("linear", "addmm"):
        return True
    groups = node.args[6] if len(node.args) > 6 else node.kwargs.get("groups", 1)
    return name in ("conv1d", "conv2d", "conv3d") and bool(groups == 1)


def _pads(call: Node) -> bool:
    if not operator_name(call).startswith("conv"):
        return False
    padding: Any = call.args[4] if len(call.args) > 4 else call.kwargs.get("padding", 0)
    sizes = padding if isinstance(padding, list | tuple) else [padding]
    return padding != "valid" and any(bool(size) for size in sizes)


def _shifted(model: nn.Module, shifts: Mapping[str, Tensor]) -> nn.Module:
    shifted = copied(model)
    with torch.no_grad():
        for name, gain in shifts.items():
            layer: Any = shifted.get_submodule(name)
            if layer.bias is None:
                layer.bias = nn.Parameter(torch.zeros_like(layer.weight[:, 0].flatten(1)[:, 0]))
            layer.bias += gain.to(layer.bias.dtype)
    return shifted


def removed_and_inactive(
    keep: Mapping[str, npt.ArrayLike], inactive: Mapping[str, npt.ArrayLike]
) -> Iterator[tuple[str, Indices]]:
    """For each group that is cut, the inactive filters among those that go."""
    for name, kept in keep.items():
        gone = np.setdiff1d(np.flatnonzero(np.asarray(inactive.get(name, []), dtype=bool)), np.asarray(kept))
        if len(gone):
            yield name, gone
