"""The proof: on the example and on random inputs, the compressed model equals the full one, silenced.

Silenced means zeros wherever a removed filter is read. Where all that is cut are the model's own parameters, this is
the model itself with zeros in them, so the proof shares nothing with the graph. Where a normalisation across channels
or a folded constant is cut, it is the exported program, with that normalisation taken over the channels that are left:
its own definition.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.utils import _pytree as pytree

from pfa_gate.compress.prune.arguments import RemainingValues, operand
from pfa_gate.compress.prune.cut import AxisIndices, silence, zeroed
from pfa_gate.errors import SurgeryError
from pfa_gate.graph.group import Coupling
from pfa_gate.graph.program import Program, halves, operator_name
from pfa_gate.model.batch import Inputs
from pfa_gate.model.device import substitute_in_graphs, substituted
from pfa_gate.model.torch_module import copied

Forward = Callable[..., Any]
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


@dataclass(frozen=True)
class Silenced:
    """The reference of one cut, to be called at a given precision."""

    model: nn.Module
    coupling: Coupling
    axis_indices: AxisIndices
    remaining: RemainingValues

    @property
    def by_graph(self) -> bool:
        """Whether the exported program must stand for the model."""
        return not self.axis_indices.keys().isdisjoint(self.coupling.program.folded) or bool(self._redefined())

    def forward(self, dtype: torch.dtype) -> Forward:
        """The silenced model as a function, its floating tensors in `dtype`."""
        if not self.by_graph:
            return silence(copied(self.model), self.axis_indices).to(dtype)
        program = _silent_program(self.coupling.program, self.axis_indices, dtype)
        instead = self._redefined()
        return lambda *args, **kwargs: program.run(args, kwargs, instead=instead)

    def _redefined(self) -> dict[Node, Forward]:
        nodes = {node.name: node for node in self.coupling.program.exported.graph.nodes}
        found: dict[Node, Forward] = {}
        for name in self.coupling.normalised:
            left = self.remaining.of(operand(nodes[name]))
            if left is not None:
                found[nodes[name]] = _on_what_is_left(nodes[name], *left)
        return found


def _on_what_is_left(node: Node, axis: int, stays: Tensor) -> Forward:
    """The operator on the channels that are left, zeros in place of the others."""
    index = stays.nonzero().reshape(-1)
    name = operator_name(node)

    def run(value: Tensor, second: Any, *rest: Any, **kwargs: Any) -> Tensor:
        few = value.index_select(axis, index)
        if name == "mean":
            result: Tensor = node.target(few, second, *rest, **kwargs)  # type: ignore[operator]
            return result
        # Weight and bias come after the shape or the number of groups, and follow the channels.
        held = [each.index_select(0, index) if isinstance(each, Tensor) else each for each in rest]
        second = [len(index)] if name in ("layer_norm", "rms_norm") else second
        result = node.target(few, second, *held, **kwargs)  # type: ignore[operator]
        return torch.zeros_like(value, dtype=result.dtype).index_copy(axis, index, result)

    return run


def _silent_program(program: Program, axis_indices: AxisIndices, dtype: torch.dtype) -> Program:
    silent: dict[int, Tensor] = {}

    def quiet(name: str, tensor: Any) -> Any:
        if not isinstance(tensor, Tensor):
            return tensor
        if id(tensor) not in silent:
            silent[id(tensor)] = _at(
                zeroed(tensor, axis_indices[name]) if _made_silent(name, axis_indices) else tensor, dtype
            )
        return silent[id(tensor)]

    # Canonical names come first: a tied tensor is silenced once, under the name the plan knows.
    ordered = sorted(program.tensors, key=lambda name: name not in axis_indices)
    done = {name: quiet(name, program.tensors[name]) for name in ordered}
    instead = dict.fromkeys(program.halves, dtype)
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
            constants[node] = _at(zeroed(value, cut[node]), dtype)
        else:
            operands: Any = torch.fx.node.map_arg((node.args, node.kwargs), lambda source: values[source])
            args, kwargs = substituted(operands, program.substitutes)
            constants[node] = node.target(*args, **kwargs)  # type: ignore[operator]
        values[node] = constants[node]
    return constants


def _made_silent(name: str, axis_indices: AxisIndices) -> bool:
    return name in axis_indices and not name.endswith(("running_mean", "running_var"))


def _at(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


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
