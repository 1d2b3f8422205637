"""Two models side by side, stage after stage, each node of both computed once for each batch."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from pfa_gate.coupling import Program, inputs_of
from pfa_gate.recovery.pairs import Pair, stages
from pfa_gate.recovery.spool import Spool
from pfa_gate.recovery.stream import Stream, Values

Inputs = tuple[tuple[Any, ...], dict[str, Any]]


class Sweep:
    """The compressed and the full stream.

    Args:
        programs: of the compressed and of the full model.
        found: the layers to solve, in forward order.
        batches: of inputs, the same at each reading.
        spool: where values wait between stages.
    """

    def __init__(
        self, programs: tuple[Program, Program], found: Sequence[Pair], batches: Iterable[Any], spool: Spool
    ) -> None:
        self.programs = programs
        self._batches = batches
        self._spool = spool
        self._stages = list(stages(found))
        goals = [[pair.wanted for pair in stage] for stage in self._stages]
        self._streams = tuple(
            Stream(program, [[node for wanted in stage for node in wanted[side]] for stage in goals])
            for side, program in enumerate(programs)
        )
        self._stage = -1
        sizes = [_samples(part) for part in self._inputs()] if self._stages else []
        self.samples, self._count = sum(sizes), len(sizes)

    def stages(self) -> Iterator[list[Pair]]:
        """The layers that are solved together, stage by stage; each must be advanced before the next."""
        for place, stage in enumerate(self._stages):
            self._stage = place
            yield stage

    def advance(self) -> Iterator[tuple[Values, ...]]:
        """Run every batch on to this stage; gives the values of both streams."""
        starts = self._inputs() if self._stage == 0 else None
        for batch in range(self._count):
            held = self._spool.get(batch) if starts is None else self._start(next(starts))
            values = tuple(
                stream.run(stream.legs[self._stage], each) for stream, each in zip(self._streams, held, strict=True)
            )
            self._spool.put(batch, values)
            yield values

    def again(self) -> Iterator[tuple[Values, ...]]:
        """The values of this stage once more; nothing is computed."""
        return (self._spool.get(batch) for batch in range(self._count))

    def _start(self, inputs: Inputs) -> tuple[Values, ...]:
        return tuple(stream.start(*inputs) for stream in self._streams)

    def _inputs(self) -> Iterator[Inputs]:
        """The batches, or their parts of the one size that a program with a fixed batch takes."""
        fixed = next((program.batch for program in self.programs if not program.dynamic), None)
        for batch in self._batches:
            inputs = inputs_of(batch)
            size = _samples(inputs)
            if fixed is None or size == fixed:
                yield inputs
            else:
                yield from (_part(inputs, start, fixed) for start in range(0, size - fixed + 1, fixed))


def _samples(inputs: Inputs) -> int:
    return next(len(leaf) for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor) and leaf.ndim)


def _part(inputs: Inputs, start: int, size: int) -> Inputs:
    def taken(leaf: Any) -> Any:
        return leaf[start : start + size] if isinstance(leaf, Tensor) and leaf.ndim else leaf

    args, kwargs = pytree.tree_map(taken, inputs)
    return args, kwargs
