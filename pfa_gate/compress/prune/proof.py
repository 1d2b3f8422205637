"""The proof: on the example and on random inputs, the compressed model equals the silenced one."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from pfa_gate.compress.prune.reference import Forward, Silenced
from pfa_gate.errors import SurgeryError
from pfa_gate.graph.program import halves
from pfa_gate.model.batch import Inputs
from pfa_gate.model.device import substitute_in_graphs
from pfa_gate.model.torch_module import copied

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
CHEAP_PARAMETERS = 10_000_000  # above this, copies in double precision take more than three times the model
RANDOM_INPUTS = 2


@dataclass(frozen=True)
class Proof:
    """How far the compressed model is from the silenced one.

    Attributes:
        max_error: largest difference of any output, relative to the largest output of that tensor.
        tolerance: what is allowed in `dtype`.
        dtype: `float64` or `float32`.
        inputs: how many inputs were tried.
    """

    max_error: float
    tolerance: float
    dtype: str
    inputs: int

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance; NaN is not."""
        return self.max_error <= self.tolerance


def prove(smaller: nn.Module, silenced: Silenced, inputs: Inputs) -> Proof:
    """Compare `smaller` with its reference on `inputs` and random inputs like them, in float64 where that is cheap.

    Raises:
        SurgeryError: the compressed model does not run.
    """
    parameters = sum(tensor.numel() for tensor in silenced.model.parameters())
    exact = parameters <= CHEAP_PARAMETERS and not silenced.coupling.program.single_precision
    dtypes = [torch.float64, torch.float32] if exact else [torch.float32]
    for dtype in dtypes:
        reference = _outputs(partial(silenced.forward, dtype), inputs, dtype)
        if isinstance(reference, list):
            break
    return _proof(smaller, reference, inputs, dtype)


def compare(smaller: nn.Module, reference: nn.Module, inputs: Inputs) -> Proof:
    """Compare two models on `inputs` and random inputs like them, in float32.

    Raises:
        SurgeryError: one of them does not run.
    """
    dtype = torch.float32
    return _proof(smaller, _outputs(lambda: copied(reference).to(dtype), inputs, dtype), inputs, dtype)


def difference(one: nn.Module, other: nn.Module, inputs: Inputs) -> float:
    """Largest difference of two models' outputs on `inputs` and random inputs like them, as they are, relative.

    Raises:
        SurgeryError: one of them does not run.

    Example:
        >>> difference(nn.ReLU(), nn.ReLU(), ((torch.randn(2, 3),), {}))
        0.0
    """
    found = []
    for model in (one, other):
        outputs = _outputs(lambda model=model: model, inputs, None)  # type: ignore[misc]
        if isinstance(outputs, Exception):
            raise SurgeryError(f"The model does not run on its own example: {_first_line(outputs)}") from outputs
        found.append(outputs)
    return max(_distance(first, second) for first, second in zip(*found, strict=True))


def _proof(smaller: nn.Module, reference: list[list[Tensor]] | Exception, inputs: Inputs, dtype: torch.dtype) -> Proof:
    if isinstance(reference, Exception):
        raise SurgeryError(
            f"The silenced model does not run on its own example: {_first_line(reference)}"
        ) from reference
    outputs = _outputs(lambda: _wide(copied(smaller), dtype), inputs, dtype)
    if isinstance(outputs, Exception):
        raise SurgeryError(f"The compressed model does not run: {_first_line(outputs)}") from outputs
    error = max(_distance(one, other) for one, other in zip(outputs, reference, strict=True))
    return Proof(error, TOLERANCE[dtype], str(dtype).removeprefix("torch."), 1 + RANDOM_INPUTS)


def _wide(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The model in another precision; a graph that casts to the half precision of its own model no longer does."""
    substitute_in_graphs(model, dict.fromkeys(halves((*model.parameters(), *model.buffers())), dtype))
    return model.to(dtype)


def _outputs(build: Callable[[], Forward], inputs: Inputs, dtype: torch.dtype | None) -> list[list[Tensor]] | Exception:
    """Floating outputs on each input, in `dtype` if one is given; an exception is a value, for the caller to judge."""
    try:
        forward = build()
        with torch.no_grad():
            return [floating(forward(*args, **kwargs)) for args, kwargs in _variants(inputs, dtype)]
    except Exception as error:  # a user's forward may raise anything
        return error


def floating(outputs: Any) -> list[Tensor]:
    """Every floating tensor in a model's output, in a fixed order."""
    if hasattr(outputs, "to_tuple"):
        outputs = outputs.to_tuple()
    return [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def _variants(inputs: Inputs, dtype: torch.dtype | None) -> Iterator[Inputs]:
    generator = torch.Generator().manual_seed(0)
    yield _mapped(inputs, lambda leaf: leaf.to(dtype) if leaf.is_floating_point() and dtype else leaf)
    for _ in range(RANDOM_INPUTS):
        yield _mapped(inputs, lambda leaf: _random_like(leaf, dtype, generator))


def _mapped(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    mapped: Inputs = pytree.tree_map(lambda leaf: change(leaf) if isinstance(leaf, Tensor) else leaf, inputs)
    return mapped


def _random_like(leaf: Tensor, dtype: torch.dtype | None, generator: torch.Generator) -> Tensor:
    """Noise of the example's own mean and spread; integers are drawn from the example's own values."""
    if leaf.is_floating_point():
        noise = torch.randn(leaf.shape, generator=generator, dtype=torch.float64)
        spread = leaf.double().std() if leaf.numel() > 1 else torch.tensor(1.0)
        return (noise * (spread + 1e-3) + leaf.double().mean()).to(dtype or leaf.dtype)
    if leaf.dtype == torch.bool or not leaf.numel():
        return leaf
    return leaf.reshape(-1)[torch.randint(leaf.numel(), leaf.shape, generator=generator)]


def _distance(outputs: list[Tensor], reference: list[Tensor]) -> float:
    if [one.shape for one in outputs] != [one.shape for one in reference] or not reference:
        return float("inf")
    return max(_relative(one.double(), other.double()) for one, other in zip(outputs, reference, strict=True))


def _relative(one: Tensor, other: Tensor) -> float:
    if not other.numel():
        return 0.0
    scale = float(other.abs().max().clamp_min(torch.finfo(torch.float32).tiny))
    error = float((one - other).abs().max())
    return error / scale if math.isfinite(error) and math.isfinite(scale) else math.inf


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
