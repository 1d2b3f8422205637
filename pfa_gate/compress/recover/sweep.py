"""Two models side by side, stage after stage, each node of both computed once for each batch that is asked for."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from pfa_gate.compress.recover.activation_store import ActivationStore
from pfa_gate.compress.recover.layer_pairs import LayerPair, stages
from pfa_gate.compress.recover.staged_run import StagedProgram, Values
from pfa_gate.compress.regress import spread
from pfa_gate.graph import Program, inputs_of
from pfa_gate.model.device import inputs_on

Inputs = tuple[tuple[Any, ...], dict[str, Any]]


class PairedRun:
    """The compressed and the full stream.

    A stage that needs few samples runs only some of the batches so far; the others catch up when a later stage needs
    them, through layers that are solved by then, and so never wait on the way.

    Args:
        programs: of the compressed and of the full model.
        found: the layers to solve, in forward order.
        batches: of inputs, the same at each reading.
        spool: where values wait between stages.
    """

    def __init__(
        self,
        programs: tuple[Program, Program],
        found: Sequence[LayerPair],
        batches: Iterable[Any],
        spool: ActivationStore,
    ) -> None:
        self.programs = programs
        self._batches = batches
        self._spool = spool
        self._stages = list(stages(found))
        goals = [[pair.wanted for pair in stage] for stage in self._stages]
        self._streams = tuple(
            StagedProgram(program, [[node for wanted in stage for node in wanted[side]] for stage in goals])
            for side, program in enumerate(programs)
        )
        self._stage = -1
        self._sizes = [_samples(part) for part in self._inputs()] if self._stages else []
        self._order = spread(len(self._sizes))
        self._reached = [-1] * len(self._sizes)

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return sum(self._sizes)

    def stages(self) -> Iterator[list[LayerPair]]:
        """The layers that are solved together, stage by stage."""
        for place, stage in enumerate(self._stages):
            self._stage = place
            yield stage

    def values(self, samples: int) -> Iterator[tuple[int, tuple[Values, ...]]]:
        """What both streams hold at this stage, batch by batch, for batches that have so many samples together.

        Batches that have not come this far are run on; nothing is computed twice.
        """
        chosen = self._chosen(samples)
        late = self._late(chosen)
        for batch in chosen:
            held = next(late) if self._reached[batch] < 0 else self._spool.get(batch)
            if self._reached[batch] < self._stage:
                held = self._run(held, self._reached[batch] + 1)
                self._spool.put(batch, held)
                self._reached[batch] = self._stage
            yield batch, held

    def available(self, samples: int) -> int:
        """How many samples the batches hold that `values` gives for so many."""
        return sum(self._sizes[batch] for batch in self._chosen(samples))

    def _chosen(self, samples: int) -> list[int]:
        """Batches from all over the probe; those for more samples are these and others."""
        totals = list(accumulate(self._sizes[batch] for batch in self._order))
        needed = next((count for count, total in enumerate(totals, 1) if total >= samples), len(totals))
        return sorted(self._order[:needed])

    def _run(self, held: tuple[Values, ...], first: int) -> tuple[Values, ...]:
        for place in range(first, self._stage + 1):
            held = tuple(stream.run(stream.legs[place], each) for stream, each in zip(self._streams, held, strict=True))
        return held

    def _late(self, chosen: Sequence[int]) -> Iterator[tuple[Values, ...]]:
        """The first values of those batches that have not been started, in their order; read when they are needed."""
        waiting = {batch for batch in chosen if self._reached[batch] < 0}
        for batch, inputs in enumerate(self._inputs() if waiting else ()):
            if batch in waiting:
                args, kwargs = inputs_on(inputs, self.programs[0].device)
                yield tuple(stream.start(args, kwargs) for stream in self._streams)

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
