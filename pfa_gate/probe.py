"""Reading responses: the model runs on the probe, and at each tap one number per filter and sample is taken."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.utils import _pytree as pytree

from pfa_gate.coupling import Layer, Program, Tap, inputs_of
from pfa_gate.errors import DataError, LayerNotCalledError, LayerPatternError

Pooling = Literal["max", "mean"]
Responses = Mapping[str, Tensor]

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
    program: Program, batches: Iterable[Any], taps: Iterable[Tap], pooling: Pooling = "max"
) -> Iterator[Responses]:
    """Run the program on each batch and give the responses at each tap, by node name.

    A response is the output pooled over every axis that is neither batch nor filter (paper 3.1), [n, C] in the
    dtype of the model.

    Raises:
        DataError: a batch does not fit the model.
    """
    axes = {tap.node: tap.axis for tap in taps}
    for batch in batches:
        for args, kwargs in _runnable(program, *inputs_of(batch)):
            taken: dict[str, Tensor] = {}

            def observe(node: Node, value: Any, taken: dict[str, Tensor] = taken) -> None:
                if node.name in axes:
                    taken[node.name] = pooled(*_batch_first(node, value, axes[node.name]), pooling)

            with torch.inference_mode():
                _run(program, args, kwargs, observe)
            yield taken


def _batch_first(node: Node, value: Tensor, axis: int) -> tuple[Tensor, int]:
    """A value with its batch in front, as torch's own attention has it not, and where its filters are then."""
    sizes = node.meta["val"].shape
    batch = [place for place, size in enumerate(sizes) if not isinstance(size, int)]
    if len(batch) != 1 or batch[0] == 0:
        return value, axis
    return value.movedim(batch[0], 0), axis + (axis < batch[0])


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
    model: nn.Module, batches: Iterable[Any], layers: Sequence[Layer], pooling: Pooling = "max"
) -> Iterator[Responses]:
    """The same responses as `respond`, by layer name, from the model itself: for models that cannot be exported.

    Hooks are taken off again, whatever happens.

    Raises:
        LayerNotCalledError: a layer is not called by the first batch.
    """
    taken: dict[str, list[Tensor]] = {}

    def reader(name: str, axis: int) -> Any:
        def read(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            taken.setdefault(name, []).append(pooled(output, axis % output.ndim, pooling))

        return read

    handles = [
        model.get_submodule(layer.name).register_forward_hook(reader(layer.name, layer.taps[0].axis))
        for layer in layers
    ]
    try:
        for batch in batches:
            taken.clear()
            args, kwargs = inputs_of(batch)
            with torch.inference_mode():
                model(*args, **kwargs)
            _require_calls(layers, taken)
            yield {name: torch.cat(parts) for name, parts in taken.items()}
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
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """The batch, or its parts of the one size that a program with a fixed batch takes."""
    size = program.batch
    leaves = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor) and leaf.ndim]
    samples = leaves[0].shape[0] if leaves else size
    if program.dynamic or samples == size:
        yield args, kwargs
        return
    for start in islice(range(0, samples, size), samples // size):
        yield pytree.tree_map(
            lambda leaf, start=start: leaf[start : start + size] if isinstance(leaf, Tensor) and leaf.ndim else leaf,
            (args, kwargs),
        )


def _described(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    leaves = [*args, *kwargs.values()]
    parts = [
        f"{str(leaf.dtype).removeprefix('torch.')} {list(leaf.shape)}"
        if isinstance(leaf, Tensor)
        else type(leaf).__name__
        for leaf in leaves
    ]
    return ", ".join(parts) or "no inputs"


def pooled(output: Tensor, axis: int, pooling: Pooling = "max") -> Tensor:
    """Pool an output over every axis that is neither batch (0) nor filter (`axis`).

    Example:
        >>> pooled(torch.tensor([[[1.0, 5.0], [2.0, 0.0]]]), axis=1).tolist()
        [[5.0, 2.0]]
    """
    over = [other for other in range(1, output.ndim) if other != axis]
    if not over:
        return output
    if pooling == "max":
        return output.amax(over)
    # A mean of half precision would be rounded to it again.
    return output.mean(over, dtype=torch.promote_types(output.dtype, torch.float32))
