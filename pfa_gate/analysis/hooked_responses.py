"""Reading responses by hooks, where a model cannot be exported: a layer is read when it is called."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from pfa_gate.analysis.measured_layers import UNTOLD, require_used, unmeasured
from pfa_gate.analysis.pooling import MAX, ResponseReader, Responses, joined
from pfa_gate.analysis.sample_axis import samples_of
from pfa_gate.graph import Layer, Tap, inputs_of
from pfa_gate.model import Batch
from pfa_gate.model.forward import forward
from pfa_gate.model.layer_uses import LayerUses, layer_uses


def respond_by_hooks(
    model: nn.Module, batches: Iterable[Any], layers: Sequence[Layer], reading: ResponseReader = MAX, first: int = 0
) -> Iterator[Responses]:
    """The same responses as `respond`, by layer name, from the model itself: for models that cannot be exported.

    A layer that a batch does not call gives nothing for that batch; see `with_unread_explained`. The hooks are removed
    again, whatever happens.

    Raises:
        DataError: a batch does not fit the model.
    """
    taken: dict[str, list[Tensor]] = {}
    samples = range(first, first)

    def reader(layer: Layer, tap: Tap) -> Any:
        def read(module: nn.Module, _inputs: Any, output: Any) -> None:
            made = _made(module, output, tap)
            if made is not None and len(made):  # an expert to which no token of this batch goes makes nothing
                taken.setdefault(layer.name, []).append(reading(made, tap.axis % made.ndim, samples))

        return read

    handles = [
        model.get_submodule(layer.name).register_forward_hook(reader(layer, tap))
        for layer in layers
        for tap in layer.taps
    ]
    try:
        for batch in batches:
            taken.clear()
            args, kwargs = inputs_of(batch)
            samples = range(samples.stop, samples.stop + samples_of(args, kwargs, 1))
            with torch.inference_mode():
                forward(model, Batch(args, kwargs))
            yield {name: joined(calls) for name, calls in taken.items()}
    finally:
        for handle in handles:
            handle.remove()


def _made(module: nn.Module, output: Any, tap: Tap) -> Tensor | None:
    """What a layer made for each sample: a subclass may give a tuple, or something else altogether."""
    kernel = getattr(module, "kernel_size", None)  # a convolution's
    tensors: list[Tensor] = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor) and leaf.ndim > 1]
    for tensor in tensors:
        whole = kernel is None or tensor.ndim == len(kernel) + 2  # not the map of one sample alone
        if whole and tensor.shape[tap.axis] == len(tap.filters):
            return tensor
    return None


def with_unread_explained(
    model: nn.Module, batches: Iterable[Batch], layers: Sequence[Layer], read: Collection[str]
) -> tuple[Layer, ...]:
    """The layers after a pass by hooks: those of which it read nothing lose their taps, and say why.

    Args:
        model: the model.
        batches: those of the pass; read once more where a layer was not read.
        layers: those that were to be read.
        read: names of those that were.

    Raises:
        LayerNotCalledError: layers were never called, nor were their weights read.
    """
    missing = [layer.name for layer in layers if layer.taps and layer.name not in read]
    if not missing:
        return tuple(layers)
    used = layer_uses(model, batches, missing)
    require_used([name for name in missing if name not in used.possible])
    return tuple(
        unmeasured(model, layer.name, _unread(model, layer, used)) if layer.name in missing else layer
        for layer in layers
    )


def _unread(model: nn.Module, layer: Layer, used: LayerUses) -> str:
    if layer.name in used.untold:
        return UNTOLD
    if layer.name in used.called:
        return f"it is called, but gives no tensor of {layer.filters} channels for each sample"
    owner = layer.name.rpartition(".")[0]
    who = f"'{owner}', {_kind(model.get_submodule(owner))}," if owner else f"the model, {_kind(model)},"
    return f"{who} reads its weights without calling it, and a model that cannot be exported is read at calls alone"


def _kind(module: nn.Module) -> str:
    return f"of type {type(module).__name__}"
