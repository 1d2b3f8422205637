"""Reading responses: the model runs on the probe, and at each tap numbers are taken of each filter and sample."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.utils import _pytree as pytree

from pfa_gate.analysis.hooked_responses import respond_by_hooks, with_unread_explained
from pfa_gate.analysis.measured_layers import chosen_layers, hooked_layers
from pfa_gate.analysis.pooling import MAX, PooledMaps, ResponseReader, Responses, SampledPositions, pooled, reader_of
from pfa_gate.analysis.sample_axis import batch_first, samples_of
from pfa_gate.errors import DataError
from pfa_gate.graph import Program, Tap, inputs_of

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


def respond(
    program: Program, batches: Iterable[Any], taps: Iterable[Tap], reading: ResponseReader = MAX, first: int = 0
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


def _run(program: Program, args: tuple[Any, ...], kwargs: Mapping[str, Any], observe: Any) -> None:
    try:
        program.run(args, kwargs, observe)
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
    samples = samples_of(args, kwargs, size)
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
