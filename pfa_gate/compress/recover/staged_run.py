"""Two programs run side by side in stages, from the values that one stage needs to those of the next.

Every node is computed once for each batch that is asked for. Values are dropped as soon as nothing needs them, and
operators that work in place are run on a copy where something else has that memory, such as a value that waits between
stages.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node
from torch.utils import _pytree as pytree

from pfa_gate.compress.recover.activation_store import ActivationStore
from pfa_gate.compress.recover.in_place import storages, works_in_place
from pfa_gate.compress.recover.layer_pairs import LayerPair, Values, stages
from pfa_gate.compress.regress import spread
from pfa_gate.graph import Program, inputs_of
from pfa_gate.graph.editing import Ancestry
from pfa_gate.graph.layout import fastest_layout
from pfa_gate.model.batch import Inputs, samples_of
from pfa_gate.model.device import inputs_on, substituted

Held = tuple[int, tuple[Values, ...]]  # a batch, and what the compressed and the full program hold of it


class PairedRun:
    """The compressed and the full program, stage after stage.

    A stage that needs few samples runs only some of the batches so far; the others catch up when a later stage needs
    them, through layers that are solved by then, and so never wait on the way.

    Args:
        programs: of the compressed and of the full model.
        found: the layers to solve, in forward order.
        batches: of inputs, the same at each reading.
        store: where values wait between stages.
    """

    def __init__(
        self,
        programs: tuple[Program, Program],
        found: Sequence[LayerPair],
        batches: Iterable[Any],
        store: ActivationStore,
    ) -> None:
        self.programs = programs
        self._batches = batches
        self._store = store
        self._stages = list(stages(found, programs[0]))
        goals = [[pair.wanted for pair in stage] for stage in self._stages]
        self._staged = tuple(
            StagedProgram(program, [[node for wanted in stage for node in wanted[side]] for stage in goals])
            for side, program in enumerate(programs)
        )
        self._stage = -1
        self._sizes = [samples_of(part) for part in self._inputs()] if self._stages else []
        self._order = spread(len(self._sizes))
        self._reached = [[-1] * len(self._sizes) for _ in programs]

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return sum(self._sizes)

    @property
    def planned(self) -> Sequence[Sequence[LayerPair]]:
        """The layers that are solved together, in order."""
        return self._stages

    def stages(self) -> Iterator[list[LayerPair]]:
        """The layers that are solved together, stage by stage."""
        for number, stage in enumerate(self._stages):
            self._stage = number
            yield stage

    def values(self, samples: int, full: Callable[[int], bool] = lambda batch: True) -> Iterator[Held]:
        """What both programs hold at this stage, batch by batch, for batches that have so many samples together.

        Batches that have not come this far are run on; nothing is computed twice.

        Args:
            samples: as many as are needed.
            full: whether the full program's values of a batch are needed; else there are none.
        """
        chosen = self._chosen(samples)
        sides = {batch: range(2 if full(batch) else 1) for batch in chosen}
        started = self._first_values(sides)
        for batch in chosen:
            begun = next(started) if any(self._reached[side][batch] < 0 for side in sides[batch]) else {}
            yield batch, tuple(self._values(side, batch, begun) if side in sides[batch] else {} for side in range(2))

    def _values(self, side: int, batch: int, begun: Mapping[int, Values]) -> Values:
        held: Values = begun[side] if side in begun else self._store.get((side, batch))
        if self._reached[side][batch] < self._stage:
            for stage in self._staged[side].stages[self._reached[side][batch] + 1 : self._stage + 1]:
                held = self._staged[side].run(stage, held)
            self._store.put((side, batch), held)
            self._reached[side][batch] = self._stage
        return held

    def available(self, samples: int) -> int:
        """How many samples the batches hold that `values` gives for so many."""
        return sum(self._sizes[batch] for batch in self._chosen(samples))

    def _chosen(self, samples: int) -> list[int]:
        """Batches from all over the probe; those for more samples are these and others."""
        totals = list(accumulate(self._sizes[batch] for batch in self._order))
        needed = next((count for count, total in enumerate(totals, 1) if total >= samples), len(totals))
        return sorted(self._order[:needed])

    def _first_values(self, sides: Mapping[int, range]) -> Iterator[Mapping[int, Values]]:
        """The first values of those that have not been started, in the batches' order; read when they are needed."""
        waiting = {batch: [side for side in some if self._reached[side][batch] < 0] for batch, some in sides.items()}
        for batch, inputs in enumerate(self._inputs() if any(waiting.values()) else ()):
            if waiting.get(batch):
                args, kwargs = inputs_on(inputs, self.programs[0].device)
                yield {side: self._staged[side].start(args, kwargs) for side in waiting[batch]}

    def _inputs(self) -> Iterator[Inputs]:
        """The batches, or their parts of the one size that a program with a fixed batch takes."""
        fixed = next((program.batch for program in self.programs if not program.dynamic), None)
        for batch in self._batches:
            inputs = inputs_of(batch)
            size = samples_of(inputs)
            if fixed is None or size == fixed:
                yield inputs
            else:
                yield from (_part(inputs, start, fixed) for start in range(0, size - fixed + 1, fixed))


def _part(inputs: Inputs, start: int, size: int) -> Inputs:
    def taken(leaf: Any) -> Any:
        return leaf[start : start + size] if isinstance(leaf, Tensor) and leaf.ndim else leaf

    args, kwargs = pytree.tree_map(taken, inputs)
    return args, kwargs


@dataclass(frozen=True)
class Stage:
    """Nodes to compute in order, the names to drop after each, and the names alive at the end."""

    nodes: tuple[Node, ...]
    drops: tuple[tuple[str, ...], ...]
    alive: frozenset[str]


class StagedProgram:
    """One program, cut into stages.

    Args:
        program: of the model.
        wanted: for each stage the nodes whose values it must end with.

    Example:
        >>> from pfa_gate.graph import record_model
        >>> program = record_model(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU()), (torch.ones(2, 2),), {})
        >>> linear, relu, _ = program.nodes
        >>> staged = StagedProgram(program, [[linear], [relu]])
        >>> values = staged.start((torch.ones(4, 2),), {})
        >>> for stage in staged.stages:
        ...     values = staged.run(stage, values)
        >>> list(values), values["relu"].shape
        (['relu'], torch.Size([4, 3]))
    """

    def __init__(self, program: Program, wanted: Sequence[Iterable[Node]]) -> None:
        self._program = program
        self._order = list(program.graph.nodes)
        self._sources = _sources(self._order)
        self._layout = fastest_layout(program)
        self._held_elsewhere = storages([*program.tensors.values(), *program.constants.values()])
        self._ancestry = Ancestry(self._order, lambda node: self._sources[node].values())
        self.stages = tuple(self._cut([list(nodes) for nodes in wanted]))

    def start(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Values:
        """The values before the first stage: the inputs by name."""
        given = self._layout.of(self._program.call.leaves(args, kwargs))
        return {node.name: value for node, value in zip(self._program.inputs_of_model, given, strict=True)}

    def run(self, stage: Stage, values: Values) -> Values:
        """Compute one stage on one batch; gives the values alive at its end."""
        held = dict(values)
        elsewhere = self._held_elsewhere | storages(values.values())
        with torch.no_grad():
            for node, drops in zip(stage.nodes, stage.drops, strict=True):
                held[node.name] = self._compute(node, held, elsewhere, drops)
                for name in drops:
                    del held[name]
        return {name: value for name, value in held.items() if name in stage.alive}

    def _compute(self, node: Node, values: Values, elsewhere: frozenset[int], drops: Collection[str]) -> Any:
        def held(source: Node) -> Any:
            return self._held(self._sources[node][source], values)

        operands: Any = torch.fx.node.map_arg((node.args, node.kwargs), held)
        args, kwargs = substituted(operands, self._program.substitutes)
        if works_in_place(node) and not self._free(node, values, elsewhere, drops):
            args = (args[0].clone(), *args[1:])
        return self._layout.instead.get(node, node.target)(*args, **kwargs)  # type: ignore[operator]

    def _free(self, node: Node, values: Values, elsewhere: frozenset[int], drops: Collection[str]) -> bool:
        """Whether nothing else has the memory of what an operator writes into."""
        source = self._sources[node].get(node.args[0])  # type: ignore[arg-type]
        if source is None or source.name not in drops:
            return False
        others = (value for name, value in values.items() if name != source.name)
        return storages([values[source.name]]).isdisjoint(elsewhere | storages(others))

    def _held(self, node: Node, values: Values) -> Any:
        if node in self._program.constants:
            return self._program.constants[node]
        if node.op == "placeholder" and node in self._program.aliases:
            return self._program.tensors[self._program.aliases[node].name]
        return values[node.name]

    def _cut(self, wanted: list[list[Node]]) -> Iterable[Stage]:
        needed = set(self._ancestry.of(node for nodes in wanted for node in nodes))
        readers: dict[Node, set[Node]] = {node: set() for node in needed}
        for user in needed:
            for source in self._sources[user].values():
                readers[source].add(user)
        last = {node: index for index, nodes in enumerate(wanted) for node in nodes}
        done = {node for node in self._order if self._given(node)}
        for index, nodes in enumerate(wanted):
            steps = [node for node in self._ancestry.of(nodes) if node not in done]
            drops = []
            for step in steps:
                done.add(step)
                finished = {source for source in self._sources[step].values() if not self._fixed(source)}
                unwanted = (source for source in finished if last.get(source, -1) < index)
                drops.append(tuple(source.name for source in unwanted if done.issuperset(readers[source])))
            alive = {n.name for n in done & needed if last.get(n, -1) >= index or not done.issuperset(readers[n])}
            yield Stage(tuple(steps), tuple(drops), frozenset(alive))

    def _given(self, node: Node) -> bool:
        return node.op == "placeholder" or self._fixed(node)

    def _fixed(self, node: Node) -> bool:
        program = self._program
        held = node.op == "placeholder" and node in program.aliases
        return held or node in program.constants


def _sources(order: Sequence[Node]) -> dict[Node, dict[Node, Node]]:
    """For each node, the nodes whose values its arguments have: after an operator in place, that operator."""
    latest: dict[Node, Node] = {}
    sources: dict[Node, dict[Node, Node]] = {}
    for node in order:
        sources[node] = {source: latest.get(source, source) for source in node.all_input_nodes}
        if works_in_place(node) and isinstance(node.args[0], Node):
            changed = node.args[0]
            for old in [changed, *(key for key, value in latest.items() if value is latest.get(changed, changed))]:
                latest[old] = node
    return sources
