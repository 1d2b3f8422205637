"""A program run in legs: from what is there already to what is wanted next, on one batch after another.

Every node is computed once, values are dropped as soon as nothing needs them, and operators that work in
place are run on a copy, so that a value may be kept between legs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.export._tree_utils import reorder_kwargs
from torch.fx import Node
from torch.utils import _pytree as pytree

from pfa_gate.graph import Program
from pfa_gate.model.device import substituted

Values = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """Nodes to compute in order, the names to drop after each, and the names alive at the end."""

    nodes: tuple[Node, ...]
    drops: tuple[tuple[str, ...], ...]
    alive: frozenset[str]


class StagedProgram:
    """The legs of one program.

    Args:
        program: an exported model.
        wanted: for each leg the nodes whose values it must end with.

    Example:
        >>> from pfa_gate.graph import export_model
        >>> program = export_model(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU()), (torch.ones(2, 2),), {})
        >>> linear, relu, _ = program.nodes
        >>> stream = StagedProgram(program, [[linear], [relu]])
        >>> values = stream.start((torch.ones(4, 2),), {})
        >>> for leg in stream.legs:
        ...     values = stream.run(leg, values)
        >>> list(values), values["relu"].shape
        (['relu'], torch.Size([4, 3]))
    """

    def __init__(self, program: Program, wanted: Sequence[Iterable[Node]]) -> None:
        self._program = program
        self._order = list(program.exported.graph.nodes)
        self._sources = _sources(self._order)
        self.legs = tuple(self._legs([list(nodes) for nodes in wanted]))

    def start(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Values:
        """The values before the first leg: the inputs by name."""
        spec = self._program.exported.call_spec.in_spec
        ordered = reorder_kwargs(dict(kwargs), spec) if spec is not None else dict(kwargs)
        flat = pytree.tree_leaves((args, ordered), is_leaf=lambda leaf: leaf is None)
        inputs = [n for n in self._order if n.op == "placeholder" and n not in self._program.aliases]
        return {node.name: value for node, value in zip(inputs, flat, strict=True)}

    def run(self, leg: Stage, values: Values) -> Values:
        """Compute one leg on one batch; gives the values alive at its end."""
        values = dict(values)
        with torch.no_grad():
            for node, drops in zip(leg.nodes, leg.drops, strict=True):
                values[node.name] = self._compute(node, values)
                for name in drops:
                    del values[name]
        return {name: value for name, value in values.items() if name in leg.alive}

    def above(self, node: Node) -> frozenset[Node]:
        """All nodes that a node depends on, itself among them."""
        seen, waiting = set[Node](), [node]
        while waiting:
            current = waiting.pop()
            if current not in seen:
                seen.add(current)
                waiting.extend(self._sources[current].values())
        return frozenset(seen)

    def _compute(self, node: Node, values: Values) -> Any:
        def held(source: Node) -> Any:
            return self._held(self._sources[node][source], values)

        operands: Any = torch.fx.node.map_arg((node.args, node.kwargs), held)
        args, kwargs = substituted(operands, self._program.instead)
        if _works_in_place(node):
            args = (args[0].clone(), *args[1:])
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def _held(self, node: Node, values: Values) -> Any:
        if node in self._program.constants:
            return self._program.constants[node]
        if node.op == "get_attr":
            return getattr(self._program.exported.graph_module, str(node.target))
        if node.op == "placeholder" and node in self._program.aliases:
            return self._program.tensors[self._program.aliases[node].name]
        return values[node.name]

    def _legs(self, wanted: list[list[Node]]) -> Iterable[Stage]:
        needed = frozenset[Node]().union(*(self.above(node) for nodes in wanted for node in nodes))
        readers = {node: [user for user in needed if node in self._sources[user].values()] for node in needed}
        done = {node for node in self._order if self._given(node)}
        for place, nodes in enumerate(wanted):
            goals = frozenset[Node]().union(*(self.above(node) for node in nodes))
            steps = [node for node in self._order if node in goals and node not in done]
            later = {node for others in wanted[place:] for node in others}
            drops = []
            for step in steps:
                done.add(step)
                finished = {source for source in self._sources[step].values() if not self._fixed(source)}
                drops.append(tuple(s.name for s in finished if s not in later and done.issuperset(readers[s])))
            alive = {n.name for n in done & needed if n in later or not done.issuperset(readers[n])}
            yield Stage(tuple(steps), tuple(drops), frozenset(alive))

    def _given(self, node: Node) -> bool:
        return node.op == "placeholder" or self._fixed(node)

    def _fixed(self, node: Node) -> bool:
        program = self._program
        held = node.op == "placeholder" and node in program.aliases
        return held or node.op == "get_attr" or node in program.constants


def _sources(order: Sequence[Node]) -> dict[Node, dict[Node, Node]]:
    """For each node, the nodes whose values its arguments have: after an operator in place, that operator."""
    latest: dict[Node, Node] = {}
    sources: dict[Node, dict[Node, Node]] = {}
    for node in order:
        sources[node] = {source: latest.get(source, source) for source in node.all_input_nodes}
        if _works_in_place(node) and isinstance(node.args[0], Node):
            changed = node.args[0]
            for old in [changed, *(key for key, value in latest.items() if value is latest.get(changed, changed))]:
                latest[old] = node
    return sources


def _works_in_place(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return node.op == "call_function" and schema is not None and bool(schema.is_mutable) and _is_tensor(node)


def _is_tensor(node: Node) -> bool:
    return bool(node.args) and isinstance(node.args[0], Node) and isinstance(node.args[0].meta.get("val"), Tensor)
