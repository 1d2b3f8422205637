"""Which layers read a changed input, which of them can be solved together, and what each should compute."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.compress.prune import AxisIndices
from pfa_gate.compress.regress import outputs, patches
from pfa_gate.graph import Program
from pfa_gate.graph.calls import Call, Epilogue, calls, epilogue_of
from pfa_gate.graph.editing import Ancestry
from pfa_gate.graph.program import shape_of

Values = Mapping[str, Any]  # values of a program's nodes on one batch, by node name


@dataclass(frozen=True)
class LayerPair:
    """One layer of the compressed model that reads a changed input, and its origin in the full model.

    Attributes:
        small, whole: its call in the compressed and in the full program.
        filters: int64, which channels of the full layer's output it still makes, in order; None for all.
        drift: the other operands (compressed, full) of the sum it ends in; None where there is no sum, or where
            they depend on a layer that is solved later.
    """

    small: Call
    whole: Call
    filters: Tensor | None
    drift: tuple[Node, Node] | None = None

    @property
    def wanted(self) -> tuple[list[Node], list[Node]]:
        """Nodes whose values it is solved on, in the compressed and in the full program."""
        extra = self.drift or ()
        return [self.small.source, *extra[:1]], [self.whole.node, *extra[1:]]


def _none(layer: str) -> bool:
    return False


def pairs(
    full: Program, program: Program, axis_indices: AxisIndices, wanted: Callable[[str], bool] = _none
) -> list[LayerPair]:
    """The layers of the compressed program that read a changed input or are wanted all the same, in forward order."""
    origins = {call.weight: call for call in calls(full)}
    ancestry = Ancestry(list(program.graph.nodes))
    changed: list[Node] = []
    found = []
    for call in calls(program):
        axes = axis_indices.get(call.weight, {})
        reads = wanted(call.layer) or call.inputs in axes or ancestry.depends([call.source], changed)
        if reads or axes or call.weight not in origins:
            changed.append(call.node)
        if reads and call.weight in origins:
            filters = axes.get(call.outputs)
            places = None if filters is None else torch.as_tensor(filters)
            found.append(LayerPair(call, origins[call.weight], _channels(origins[call.weight], places)))
    sums = [(_sum(program, pair.small), _sum(full, pair.whole)) for pair in found]
    return [
        replace(pair, drift=_drift(ancestry, drift, found[place:]))
        for place, (pair, drift) in enumerate(zip(found, sums, strict=True))
    ]


def stages(found: Sequence[LayerPair], program: Program) -> Iterator[list[LayerPair]]:
    """Pairs that can be solved in one pass over the compressed program: none of them reads what another makes."""
    ancestry = Ancestry(list(program.graph.nodes))
    stage: list[LayerPair] = []
    for pair in found:
        if ancestry.depends(pair.wanted[0], [other.small.node for other in stage]):
            yield stage
            stage = []
        stage.append(pair)
    if stage:
        yield stage


def _channels(whole: Call, filters: Tensor | None) -> Tensor | None:
    """The places that stay of the weight's axis as channels of the output; a transposed weight holds one group's."""
    if filters is None or whole.outputs == 0 or whole.groups == 1:
        return filters
    width = shape_of(whole.node)[1] // whole.groups
    return (torch.arange(whole.groups)[:, None] * width + filters).flatten()


def _drift(
    ancestry: Ancestry, drift: tuple[Node | None, Node | None], unsolved: Sequence[LayerPair]
) -> tuple[Node, Node] | None:
    small, whole = drift
    if small is None or whole is None or ancestry.depends([small], [other.small.node for other in unsolved]):
        return None
    return small, whole


def _sum(program: Program, call: Call) -> Node | None:
    followed: Epilogue = epilogue_of(program, call)
    return followed.added


@dataclass(frozen=True)
class LayerTarget:
    """How the target of one layer is made from the values of both programs.

    What follows the layer maps its output y to scale y + shift in the compressed model, and to
    `whole.scale` y + `whole.shift` in the full one; both then meet the other operand of a sum, if there is one.

    Attributes:
        pair: the layer.
        small, whole: what follows it, whole restricted to the filters that are left.
    """

    pair: LayerPair
    small: Epilogue
    whole: Epilogue

    @classmethod
    def of(cls, pair: LayerPair, program: Program, full: Program) -> "LayerTarget":
        """The target of one layer; what follows the layer is read off both programs as they are now."""
        whole = epilogue_of(full, pair.whole)
        if pair.filters is not None:
            whole = replace(whole, scale=whole.scale[pair.filters], shift=whole.shift[pair.filters])
        return cls(pair, epilogue_of(program, pair.small), whole)

    @property
    def centred(self) -> bool:
        """Whether the layer has a place for a new offset: its bias, or the batch norm that follows."""
        return self.pair.small.bias is not None or self.small.mean is not None

    def read(self, small: Values, positions: Tensor) -> Tensor:
        """What the layer reads at positions, int64 [N, P], given the values of the compressed program."""
        call = self.pair.small
        return patches(call, small[call.source.name], shape_of(self.pair.whole.node), positions)

    def wanted(self, small: Values, of_full: Callable[[Node], Tensor], positions: Tensor) -> tuple[Tensor, Tensor]:
        """What the layer should make at some positions, and what is added to that before a rectifier.

        Args:
            small: values of the compressed program.
            of_full: gives a value of the full program at these positions, [samples x positions, filters].
            positions: int64 [N, P].
        """
        call = self.pair.small
        made = self._left(of_full(self.pair.whole.node))
        usable = self.small.scale.abs() > 1e-6 * self.small.scale.abs().max()
        scale = torch.where(usable, self.small.scale, 1.0)
        shift = (self.whole.shift - self.small.shift).to(made.dtype)
        wanted = made * self.whole.scale.to(made.dtype) + shift
        rest = self.small.shift.to(made.dtype)
        if self.pair.drift is not None:
            added = self._left(outputs(call, small[self.pair.drift[0].name], positions))
            wanted += self._left(of_full(self.pair.drift[1])) - added
            rest = rest + added
        target = torch.where(usable, wanted / scale.to(made.dtype), made)
        return self._grouped(target), self._grouped(rest.expand_as(target))

    def _left(self, flat: Tensor) -> Tensor:
        """Of [n, filters] those filters that are left, [n, filters left]; in single precision where it was less."""
        rows = flat.to(torch.promote_types(flat.dtype, torch.float32))
        filters = self.pair.filters
        return rows if filters is None or rows.shape[1] == len(filters) else rows[:, filters]

    def _grouped(self, rows: Tensor) -> Tensor:
        groups = self.pair.small.groups
        return rows.reshape(len(rows), groups, -1).transpose(0, 1).contiguous()


def of_one_stream(targets: Iterable[LayerTarget]) -> list[list[LayerTarget]]:
    """Layers that read the same rows, as query, key and value do; one behind a rectifier stands alone.

    Each is solved linearly on one and the same matrix, which is therefore built and factored once.
    """
    found: dict[tuple[object, ...], list[LayerTarget]] = {}
    for target in targets:
        call = target.pair.small
        made = shape_of(target.pair.whole.node)
        places = made[1:-1] if call.geometry is None else made[2:]
        alone = call.weight if target.small.rectified else ""
        key = (call.source, call.geometry, call.groups, places, target.centred, alone)
        found.setdefault(key, []).append(target)
    return list(found.values())
