"""The proof: on the example and on random inputs, the compressed model equals the full one, silenced.

Silenced means zeros wherever a removed filter is read. Where all that is cut are the model's own parameters, this is
the model itself with zeros in them, so the proof shares nothing with the graph. Where a normalisation across channels
or a folded constant is cut, it is the program, with that normalisation taken over the channels that are left:
its own definition.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.utils import _pytree as pytree

from pfa_gate.compress.prune.arguments import RemainingValues, operand
from pfa_gate.compress.prune.cut import AxisIndices
from pfa_gate.compress.prune.silence import at_precision, silenced, silent_program, whole_constants
from pfa_gate.errors import SurgeryError
from pfa_gate.graph.group import Coupling
from pfa_gate.graph.program import Program, operator_name
from pfa_gate.model.batch import Batch, Inputs, inputs_at, joined, random_inputs
from pfa_gate.model.device import copied_at
from pfa_gate.model.global_state import Randomness

Forward = Callable[..., Any]
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
CHEAP_PARAMETERS = 10_000_000  # above this, copies in double precision take more than three times the model
RANDOM_INPUTS = 2
SMALL_INPUTS = 100_000  # elements; three times as many, side by side, still fit a processor's cache
SMALL_VALUES = 1_000_000  # elements; three times as many take no memory to speak of


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
class Expected:
    """What a compressed model must give.

    Attributes:
        passes: the inputs of each forward pass.
        outputs: floating outputs of each pass.
        dtype: the precision of both.
        samples: of each input, where all of them stand side by side in one pass; 0 where each has a pass of its own.
    """

    passes: Sequence[Inputs]
    outputs: Sequence[Sequence[Tensor]]
    dtype: torch.dtype
    samples: int = 0


@dataclass(frozen=True)
class Silenced:
    """The reference of one cut, and what it gives on some inputs and on random ones like them."""

    model: nn.Module
    coupling: Coupling
    axis_indices: AxisIndices
    remaining: RemainingValues
    inputs: Inputs

    @cached_property
    def expected(self) -> Expected:
        """In float64 where that is cheap; in one pass where the inputs are small and the model takes any batch.

        Raises:
            SurgeryError: the silenced model does not run.
        """
        program = self.coupling.program
        samples = _samples_of(self.inputs) if program.dynamic and _largest_value(program) <= SMALL_VALUES else 0
        parameters = sum(tensor.numel() for tensor in self.model.parameters())
        # Constants that are stored from now on were computed in the model's own precision.
        rounded = program.single_precision or bool(whole_constants(program, self.axis_indices))
        exact = parameters <= CHEAP_PARAMETERS and not rounded
        error = Exception()
        for dtype in [torch.float64, torch.float32] if exact else [torch.float32]:
            for together in dict.fromkeys([samples, 0]):
                found = _expected(lambda dtype=dtype: self._forward(dtype), self.inputs, dtype, together)  # type: ignore[misc]
                if isinstance(found, Expected):
                    return found
                error = found
        raise _does_not_run(error)

    @cached_property
    def one_by_one(self) -> Expected:
        """The same, each input in a pass of its own."""
        dtype = self.expected.dtype
        found = _expected(lambda: self._forward(dtype), self.inputs, dtype)
        if isinstance(found, Exception):
            raise _does_not_run(found)
        return found

    def _forward(self, dtype: torch.dtype) -> Forward:
        """The silenced model as a function, its floating tensors in `dtype`."""
        if not self._by_graph:
            return silenced(self.model, self.axis_indices, dtype)
        program = silent_program(self.coupling.program, self.axis_indices, dtype)
        return lambda *args, **kwargs: program.run(args, kwargs, instead=self._redefined)

    @property
    def _by_graph(self) -> bool:
        """Whether the program must stand for the model."""
        return not self.axis_indices.keys().isdisjoint(self.coupling.program.folded) or bool(self._redefined)

    @cached_property
    def _redefined(self) -> dict[Node, Forward]:
        nodes = {node.name: node for node in self.coupling.program.graph.nodes}
        found: dict[Node, Forward] = {}
        for name in self.coupling.normalised:
            left = self.remaining.of(operand(nodes[name]))
            if left is not None:
                found[nodes[name]] = _on_what_is_left(nodes[name], *left)
        return found


def _on_what_is_left(node: Node, axis: int, stays: Tensor) -> Forward:
    """The operator on the channels that are left: a statistic of them; or these normalised, with zeros between."""
    index = stays.nonzero().reshape(-1)
    name = operator_name(node)

    def statistic(value: Tensor, *rest: Any, **kwargs: Any) -> Any:
        return node.target(value.index_select(axis, index), *rest, **kwargs)  # type: ignore[operator]

    def normalised(value: Tensor, second: Any, *rest: Any, **kwargs: Any) -> Tensor:
        # Weight and bias come after the shape or the number of groups, and follow the channels.
        held = [each.index_select(0, index) if isinstance(each, Tensor) else each for each in rest]
        second = [len(index)] if name in ("layer_norm", "rms_norm") else second
        result = statistic(value, second, *held, **kwargs)
        return torch.zeros_like(value, dtype=result.dtype).index_copy(axis, index, result)

    return normalised if name in ("layer_norm", "rms_norm", "group_norm") else statistic


def prove(smaller: nn.Module, reference: Silenced) -> Proof:
    """Compare `smaller` with its reference on the example and on random inputs like it.

    Raises:
        SurgeryError: one of them does not run.
    """
    try:
        return _proof(smaller, reference.expected)
    except SurgeryError:
        if not (reference.expected.samples and isinstance(smaller, GraphModule)):
            raise
    return _proof(smaller, reference.one_by_one)  # a graph may have the batch of its example written into it


def compare(smaller: nn.Module, reference: nn.Module, inputs: Inputs, dtype: torch.dtype = torch.float32) -> Proof:
    """Compare two models on `inputs` and random inputs like them, in a precision.

    Raises:
        SurgeryError: one of them does not run.
    """
    found = _expected(lambda: copied_at(reference, dtype), inputs, dtype)
    if isinstance(found, Exception):
        raise _does_not_run(found)
    return _proof(smaller, found)


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
        expected = _expected(lambda model=model: model, inputs, None)  # type: ignore[misc]
        if isinstance(expected, Exception):
            raise SurgeryError(f"The model does not run on its own example: {_first_line(expected)}") from expected
        found.append(expected.outputs)
    return max(_distance(first, second) for first, second in zip(*found, strict=True))


def _does_not_run(error: Exception) -> SurgeryError:
    return SurgeryError(f"The silenced model does not run on its own example: {_first_line(error)}")


def _proof(smaller: nn.Module, expected: Expected) -> Proof:
    dtype = expected.dtype
    outputs = _outputs(lambda: at_precision(smaller, dtype), expected.passes)
    if isinstance(outputs, Exception):
        raise SurgeryError(f"The compressed model does not run: {_first_line(outputs)}") from outputs
    pairs = zip(_by_input(outputs, expected.samples), _by_input(expected.outputs, expected.samples), strict=True)
    error = max(_distance(one, other) for one, other in pairs)
    tried = 1 + RANDOM_INPUTS if expected.samples else len(expected.passes)
    return Proof(error, TOLERANCE[dtype], str(dtype).removeprefix("torch."), tried)


def _expected(
    build: Callable[[], Forward], inputs: Inputs, dtype: torch.dtype | None, samples: int = 0
) -> Expected | Exception:
    passes = [inputs_at(inputs, dtype), *random_inputs(inputs, dtype, _random_count(inputs))]
    if samples:
        batch = joined([Batch(*each) for each in passes])
        passes = [(batch.args, batch.kwargs)]
    outputs = _outputs(build, passes)
    if isinstance(outputs, Exception):
        return outputs
    return Expected(passes, outputs, dtype or torch.get_default_dtype(), samples)


def _outputs(build: Callable[[], Forward], passes: Sequence[Inputs]) -> list[list[Tensor]] | Exception:
    """Floating outputs on each input; an exception is a value, for the caller to judge."""
    try:
        forward = build()
        with torch.no_grad(), Randomness(0).borrowed():  # a forward that draws numbers draws the same each time
            return [floating(forward(*args, **kwargs)) for args, kwargs in passes]
    except Exception as error:  # a user's forward may raise anything
        return error


def _largest_value(program: Program) -> int:
    """Elements of the largest value in a forward pass; of small inputs too, such as tokens, large ones may be made."""
    values = (node.meta.get("val") for node in program.graph.nodes)
    return max((value.numel() for value in values if isinstance(value, Tensor)), default=0)


def _samples_of(inputs: Inputs) -> int:
    """Samples of small inputs, on whose passes a processor waits more than it computes; 0 for others."""
    sizes = {leaf.shape[0] if leaf.ndim else 0 for leaf in _tensors(inputs)}
    return sizes.pop() if len(sizes) == 1 and _are_small(inputs) else 0


def _random_count(inputs: Inputs) -> int:
    """One random input is as good as two where it holds several random samples, and costs half of a large one."""
    several = all(leaf.ndim and len(leaf) > 1 for leaf in _tensors(inputs))
    return RANDOM_INPUTS if _are_small(inputs) or not several else 1


def _are_small(inputs: Inputs) -> bool:
    return sum(leaf.numel() for leaf in _tensors(inputs)) <= SMALL_INPUTS


def _tensors(inputs: Inputs) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor)]


def _by_input(passes: Sequence[Sequence[Tensor]], samples: int) -> Sequence[Sequence[Tensor]]:
    """Outputs of inputs that stood side by side, apart again, where all outputs are by sample."""
    if not samples or any(not output.ndim or len(output) != samples * (1 + RANDOM_INPUTS) for output in passes[0]):
        return passes
    return list(zip(*(torch.split(output, samples) for output in passes[0]), strict=True))


def floating(outputs: Any) -> list[Tensor]:
    """Every floating tensor in a model's output, in a fixed order."""
    if hasattr(outputs, "to_tuple"):
        outputs = outputs.to_tuple()
    return [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def _distance(outputs: Sequence[Tensor], reference: Sequence[Tensor]) -> float:
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
