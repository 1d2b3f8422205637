"""Reading responses: the model runs on the probe, and at each tap numbers are taken of each filter and sample."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.utils import _pytree as pytree

from pfa_gate.coupling import Layer, Program, Tap, inputs_of
from pfa_gate.errors import DataError, LayerNotCalledError, LayerPatternError
from pfa_gate.probe.batch import batch_first
from pfa_gate.probe.response import MAX, Drawn, Pooled, Reading, joined, pooled, reading_of

__all__ = [
    "MAX",
    "Drawn",
    "Pooled",
    "Reading",
    "Responses",
    "chosen_layers",
    "hooked_layers",
    "pooled",
    "reading_of",
    "respond",
    "respond_by_hooks",
]

Responses = Mapping[str, Tensor]
"""Place -> responses [n, C], or [n, m, C] where each of the n samples gives m."""

_LAYERS = (
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Linear,
)


def chosen_layers(
    model: nn.Module, layers: Sequence[Layer], include: Sequence[str], exclude: Sequence[str]
) -> tuple[Layer, ...]:
    """The convolutions and linears whose names match, in the order of the forward pass.

    Args:
        model: the model itself, to know of layers that are never called.
        layers: those that its forward pass calls.
        include: patterns on module names; `*` matches any characters, dots too.
        exclude: patterns of layers to leave out all the same.

    Raises:
        LayerPatternError: a pattern matches no layer.
        LayerNotCalledError: a layer that matches is never called.
    """
    called = {layer.name: layer for layer in layers if layer.kind != "embedding"}
    silent = _uncalled(model, called)
    if not called and not silent:
        raise LayerPatternError(
            f"The model ({type(model).__name__}) has no convolution and no linear module that could be measured.",
            remedy="Build it of torch.nn's layers.",
        )
    for pattern in (*include, *exclude):
        if not any(fnmatchcase(name, pattern) for name in (*called, *silent)):
            raise LayerPatternError(
                f"The pattern '{pattern}' matches no layer.",
                remedy=f"The layers are: {_listed([*called, *silent])}.",
            )
    for name in silent:
        if _matches(name, include) and not _matches(name, exclude):
            raise _not_called(name)
    return tuple(layer for name, layer in called.items() if _matches(name, include) and not _matches(name, exclude))


def _uncalled(model: nn.Module, called: Collection[str]) -> list[str]:
    """Layers of whose weights the exported program reads none; a module registered twice counts once."""
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, _LAYERS) and name not in called and not _has_namesake(model, module, called)
    ]


def _has_namesake(model: nn.Module, module: nn.Module, called: Collection[str]) -> bool:
    names = (name for name, other in model.named_modules(remove_duplicate=False) if other is module)
    owned = {id(parameter) for parameter in module.parameters(recurse=False)}
    tied = (
        name.rpartition(".")[0]
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if id(parameter) in owned
    )
    return any(name in called for name in (*names, *tied))


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _listed(names: Sequence[str], most: int = 12) -> str:
    return ", ".join(names[:most]) + (f", … ({len(names)} in all)" if len(names) > most else "")


def respond(
    program: Program, batches: Iterable[Any], taps: Iterable[Tap], reading: Reading = MAX, first: int = 0
) -> Iterator[Responses]:
    """Run the program on each batch and give the responses at each tap, by node name.

    Responses are in the dtype of the model.

    Args:
        program: the model.
        batches: of the probe, in its order.
        taps: where they are read.
        reading: how an output becomes responses.
        first: number of the first sample in the whole probe; samples that are not run are not counted.

    Raises:
        DataError: a batch does not fit the model.
    """
    axes = {tap.node: tap.axis for tap in taps}
    for batch in batches:
        for args, kwargs, size in _runnable(program, *inputs_of(batch)):
            taken: dict[str, Tensor] = {}
            samples = range(first, first := first + size)

            def observe(node: Node, value: Any, taken: dict[str, Tensor] = taken, samples: range = samples) -> None:
                if node.name in axes:
                    turned = batch_first(node, value, axes[node.name], len(samples))
                    taken[node.name] = reading(*turned, samples)

            with torch.inference_mode():
                _run(program, args, kwargs, observe)
            yield taken


def hooked_layers(model: nn.Module) -> tuple[Layer, ...]:
    """The convolutions and linears of a model that cannot be followed: they are read by hooks, and none is cut."""
    reason = "the model cannot be exported, so nothing of it is cut"
    return tuple(_hooked(name, module, reason) for name, module in model.named_modules() if isinstance(module, _LAYERS))


def _hooked(name: str, module: nn.Module, reason: str) -> Layer:
    linear = isinstance(module, nn.Linear)
    axis = 1 if "Transpose" in type(module).__name__ else 0
    filters = int(module.out_features if linear else module.out_channels)  # type: ignore[arg-type]
    tap = Tap(name, -1 if linear else 1, np.arange(filters))
    kind = "linear" if linear else "convolution"
    return Layer(name, kind, filters, f"{name}.weight", axis, (tap,), (), reason)


def respond_by_hooks(
    model: nn.Module, batches: Iterable[Any], layers: Sequence[Layer], reading: Reading = MAX, first: int = 0
) -> Iterator[Responses]:
    """The same responses as `respond`, by layer name, from the model itself: for models that cannot be exported.

    Hooks are taken off again, whatever happens.

    Raises:
        LayerNotCalledError: a layer is not called by the first batch.
    """
    taken: dict[str, list[Tensor]] = {}
    samples = range(first, first)

    def reader(name: str, axis: int) -> Any:
        def read(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            taken.setdefault(name, []).append(reading(output, axis % output.ndim, samples))

        return read

    handles = [
        model.get_submodule(layer.name).register_forward_hook(reader(layer.name, layer.taps[0].axis))
        for layer in layers
    ]
    try:
        for batch in batches:
            taken.clear()
            args, kwargs = inputs_of(batch)
            samples = range(samples.stop, samples.stop + _samples(args, kwargs, 1))
            with torch.inference_mode():
                model(*args, **kwargs)
            _require_calls(layers, taken)
            yield {name: joined(calls) for name, calls in taken.items()}
    finally:
        for handle in handles:
            handle.remove()


def _require_calls(layers: Sequence[Layer], taken: Collection[str]) -> None:
    for layer in layers:
        if layer.name not in taken:
            raise _not_called(layer.name)


def _not_called(name: str) -> LayerNotCalledError:
    return LayerNotCalledError(
        f"Layer '{name}' is never called in the forward pass.",
        remedy=f"Remove it from the model, or exclude it: layers: {{exclude: [{name}]}}.",
    )


def _run(program: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any], observe: Any) -> None:
    try:
        program.run(args, kwargs, observe)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise DataError(
            f"The model does not run on a batch of {_described(args, kwargs)}: {lines[0] if lines else error!r}",
            remedy="Make the probe give what the model's forward takes.",
        ) from error


def _runnable(
    program: Program, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any], int]]:
    """The batch, or its parts of the one size that a program with a fixed batch takes; each with its samples."""
    size = program.batch
    samples = _samples(args, kwargs, size)
    if program.dynamic or samples == size:
        yield args, kwargs, samples
        return
    for start in islice(range(0, samples, size), samples // size):
        part = pytree.tree_map(
            lambda leaf, start=start: leaf[start : start + size] if isinstance(leaf, Tensor) and leaf.ndim else leaf,
            (args, kwargs),
        )
        yield *part, size


def _samples(args: tuple[Any, ...], kwargs: Mapping[str, Any], otherwise: int) -> int:
    """How many samples a call has: the length of its first tensor."""
    leaves = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.ndim]
    return leaves[0].shape[0] if leaves else otherwise


def _described(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    leaves = [*args, *kwargs.values()]
    parts = [
        f"{str(leaf.dtype).removeprefix('torch.')} {list(leaf.shape)}"
        if isinstance(leaf, Tensor)
        else type(leaf).__name__
        for leaf in leaves
    ]
    return ", ".join(parts) or "no inputs"
