"""Responses of layers to a probe: read in the model's program, or by hooks where a model cannot be followed."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.utils import _pytree as pytree

from pfa_gate.analysis.measured_layers import (
    USE_UNKNOWN,
    LayerUses,
    chosen_layers,
    hooked_layers,
    layer_uses,
    require_used,
    unmeasured,
)
from pfa_gate.analysis.pooling import (
    MAX,
    PooledMaps,
    ResponseReader,
    Responses,
    SampledPositions,
    batch_first,
    joined,
    pooled,
    reader_of,
)
from pfa_gate.errors import DataError
from pfa_gate.graph import Layer, Program, Tap, inputs_of
from pfa_gate.graph.layout import Layout, fastest_layout
from pfa_gate.model import Batch
from pfa_gate.model.batch import Inputs, samples_of
from pfa_gate.model.torch_module import forward

__all__ = [
    "MAX",
    "PooledMaps",
    "ResponseReader",
    "Responses",
    "SampledPositions",
    "chosen_layers",
    "hooked_layers",
    "pooled",
    "reader_of",
    "respond",
    "respond_by_hooks",
    "with_unread_explained",
]


Watch = Callable[[int, Node, Any], None]


@dataclass(frozen=True)
class Stretch:
    """A stretch of the probe that is run.

    Attributes:
        first: number of its first sample in the whole probe; samples that are not run are not counted.
        watch: is shown every value, with the number of its batch; for programs that run at any batch size.
    """

    first: int = 0
    watch: Watch | None = None


WHOLE = Stretch()


def respond(
    program: Program,
    batches: Iterable[Any],
    taps: Iterable[Tap],
    reading: ResponseReader = MAX,
    stretch: Stretch = WHOLE,
) -> Iterator[Responses]:
    """Run the program on each batch and give the responses at each tap, by node name.

    Responses are in the dtype of the model.

    Args:
        program: the model.
        batches: of the probe, in its order.
        taps: where they are read.
        reading: how an output becomes responses.
        stretch: of the probe that the batches are.

    Raises:
        DataError: a batch does not fit the model.
    """
    axes = {tap.node: tap.axis for tap in taps}
    layout, first, watch = fastest_layout(program), stretch.first, stretch.watch
    for number, batch in enumerate(batches):
        for args, kwargs, size in _runnable(program, *inputs_of(batch)):
            responses: dict[str, Tensor] = {}
            samples = range(first, first := first + size)

            def observe(
                node: Node,
                value: Any,
                responses: dict[str, Tensor] = responses,
                samples: range = samples,
                number: int = number,
            ) -> None:
                if watch is not None:
                    watch(number, node, value)
                if node.name in axes:
                    turned = batch_first(node, value, axes[node.name], len(samples))
                    responses[node.name] = reading(*turned, samples)

            with torch.inference_mode():
                _run(program, layout, (args, kwargs), observe)
            yield responses


def _run(program: Program, layout: Layout, inputs: Inputs, observe: Any) -> None:
    args, kwargs = inputs
    try:
        ordered, named = layout.of(inputs)
        program.run(ordered, named, observe, layout.instead)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise DataError(
            f"The model does not run on a batch of {_described(args, kwargs)}: {lines[0] if lines else error!r}",
            remedy=_remedy(program, args, kwargs),
        ) from error


def _remedy(program: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """The program has the sizes of the first batch, all but the number of samples; the model may take others too."""
    given = [tuple(leaf.shape) for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    if [shape[1:] for shape in given] == [shape[1:] for shape in program.inputs]:
        return "Make the probe give what the model's forward takes."
    first = ", ".join(f"[{', '.join(['N', *map(str, shape[1:])])}]" for shape in program.inputs)
    return f"Pad or crop all samples to one size: the model is followed at that of the first batch, {first}."


def _runnable(
    program: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any], int]]:
    """The batch, or its parts of the one size that a program with a fixed batch takes; each with its samples."""
    size = program.batch
    samples = samples_of((args, kwargs), size)
    if program.dynamic or samples == size:
        yield args, kwargs, samples
        return
    for start in islice(range(0, samples, size), samples // size):
        part = pytree.tree_map(
            lambda leaf, start=start: leaf[start : start + size] if isinstance(leaf, Tensor) and leaf.ndim else leaf,
            (args, kwargs),
        )
        yield *part, size


def _described(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    leaves = [*args, *kwargs.values()]
    parts = [
        f"{str(leaf.dtype).removeprefix('torch.')} {list(leaf.shape)}"
        if isinstance(leaf, Tensor)
        else type(leaf).__name__
        for leaf in leaves
    ]
    return ", ".join(parts) or "no inputs"


def respond_by_hooks(
    model: nn.Module, batches: Iterable[Any], layers: Sequence[Layer], reading: ResponseReader = MAX, first: int = 0
) -> Iterator[Responses]:
    """The same responses as `respond`, by layer name, from the model itself: for models that cannot be followed.

    A layer that a batch does not call gives nothing for that batch; see `with_unread_explained`. The hooks are removed
    again, whatever happens.

    Raises:
        DataError: a batch does not fit the model.
    """
    responses: dict[str, list[Tensor]] = {}
    samples = range(first, first)

    def reader(layer: Layer, tap: Tap) -> Any:
        def read(module: nn.Module, _inputs: Any, output: Any) -> None:
            made = _output_by_sample(module, output, tap)
            if made is not None and len(made):  # an expert to which no token of this batch goes makes nothing
                responses.setdefault(layer.name, []).append(reading(made, tap.axis % made.ndim, samples))

        return read

    handles = [
        model.get_submodule(layer.name).register_forward_hook(reader(layer, tap))
        for layer in layers
        for tap in layer.taps
    ]
    try:
        for batch in batches:
            responses.clear()
            args, kwargs = inputs_of(batch)
            samples = range(samples.stop, samples.stop + samples_of((args, kwargs)))
            with torch.inference_mode():
                forward(model, Batch(args, kwargs))
            yield {name: joined(calls) for name, calls in responses.items()}
    finally:
        for handle in handles:
            handle.remove()


def _output_by_sample(module: nn.Module, output: Any, tap: Tap) -> Tensor | None:
    """What a layer made for each sample: a subclass may give a tuple, or something else altogether."""
    kernel = getattr(module, "kernel_size", None)  # a convolution's
    tensors: list[Tensor] = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor) and leaf.ndim > 1]
    for tensor in tensors:
        batched = kernel is None or tensor.ndim == len(kernel) + 2  # not the map of one sample alone
        if batched and tensor.shape[tap.axis] == len(tap.filters):
            return tensor
    return None


def with_unread_explained(
    model: nn.Module, batches: Iterable[Batch], layers: Sequence[Layer], read: Collection[str]
) -> tuple[Layer, ...]:
    """The layers after a pass by hooks: one that it did not read loses its taps and gets the reason.

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
    if layer.name in used.unknown:
        return USE_UNKNOWN
    if layer.name in used.called:
        return f"it is called, but gives no tensor of {layer.filters} channels for each sample"
    owner = layer.name.rpartition(".")[0]
    who = f"'{owner}', {_kind(model.get_submodule(owner))}," if owner else f"the model, {_kind(model)},"
    return f"{who} reads its weights without calling it, and a model that cannot be followed is read at calls alone"


def _kind(module: nn.Module) -> str:
    return f"of type {type(module).__name__}"
