"""The size of each stored tensor and the work of each product, as products of axis lengths that groups determine."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.graph.computed_weights import held_nodes, sources_of
from pfa_gate.graph.group import Axis, Footprint, Volume
from pfa_gate.graph.labels import LabelFlow
from pfa_gate.graph.program import Program


@dataclass(frozen=True)
class Sizes:
    """What a traced network stores and computes.

    Attributes:
        flow: the finished trace.
        touched: for each tensor, the axes that carry filters.
        products: the axes of the products of activations, in their order.
        free: the groups that may be cut.
    """

    flow: LabelFlow
    touched: Mapping[str, Mapping[int, Axis]]
    products: Sequence[Axis]
    free: Collection[str]

    def volumes(self) -> Iterator[Volume]:
        """The terms of the footprint."""
        stored = self._stored()
        for name, size in stored.items():
            until = self._replaced.get(name, ())
            yield Volume(self._axes(name), size.parameters, size.bytes, size.macs, until_cut=until, name=name)
        for name, groups in self._computed.items():
            size = self._computed_size(name)
            yield Volume(self._axes(name), size.parameters, size.bytes, once_cut=groups)
        products = iter(self.products)
        for call in self.flow.contractions:
            if call.axes or call.weight is None:
                yield Volume(tuple(islice(products, len(call.axes))), macs=call.work)
            elif call.weight not in stored:
                yield Volume(self._axes(call.weight), macs=call.work)

    def _stored(self) -> dict[str, Footprint]:
        """What one element of each stored tensor costs; tied tensors count once, under the name the graph reads."""
        state, trained = self.flow.program.state, self.flow.program.parameters
        work: dict[str | None, float] = {}
        for call in (call for call in self.flow.contractions if not call.axes):
            work[call.weight] = work.get(call.weight, 0.0) + call.work
        names: dict[tuple[int, int], str] = {}
        for name, tensor in state.items():
            names.setdefault((tensor.data_ptr(), tensor.numel()) if tensor.numel() else (id(tensor), 0), name)
        return {
            name: Footprint(int(name in trained), state[name].element_size(), work.get(name, 0))  # type: ignore[arg-type]
            for name in names.values()
        }

    # --- constants that are stored, in place of what they are computed from, once they are cut

    @cached_property
    def _computed(self) -> dict[str, frozenset[str]]:
        """Constants that are cut with some groups, or computed from what is, and these groups."""
        program = self.flow.program
        groups = {name: self._groups(name) for name in self.touched if name in program.folded}
        for name, sources in read_constants(program).items():
            groups[name] = groups.get(name, frozenset()).union(*map(self._groups, sources))
        return {name: each for name, each in groups.items() if each}

    def _groups(self, name: str) -> frozenset[str]:
        axes = self.touched.get(name, {}).values()
        return frozenset(group for axis in axes for group in axis.shares if group in self.free)

    def _computed_size(self, name: str) -> Footprint:
        program = self.flow.program
        sources = sources_of(program, program.folded[name])
        trained = any(source in program.parameters for source in sources)
        return Footprint(int(trained), program.tensors[name].element_size() if sources else 0, 0)

    @cached_property
    def _replaced(self) -> dict[str, tuple[frozenset[str], ...]]:
        """Stored tensors that nothing but such constants is computed from, and when each of them is cut."""
        program = self.flow.program
        computed = {program.folded[name].name: groups for name, groups in self._computed.items()}
        replaced: dict[str, tuple[frozenset[str], ...]] = {}
        for node, name in held_nodes(program).items():
            readers = _readers(node, computed, program.constants)
            if readers and None not in readers:
                replaced[name] = tuple(computed[reader] for reader in sorted(filter(None, readers)))
        return replaced

    # --- lengths

    @cached_property
    def _shapes(self) -> dict[str, torch.Size]:
        tensors: Mapping[str, Tensor] = {**self.flow.program.state, **self.flow.program.tensors}
        return {name: tensor.shape for name, tensor in tensors.items() if isinstance(tensor, Tensor)}

    def _axes(self, name: str) -> tuple[Axis, ...]:
        axes = self.touched.get(name, {})
        return tuple(axes.get(axis) or Axis(size, {}) for axis, size in enumerate(self._shapes[name]))


def read_constants(program: Program) -> dict[str, list[str]]:
    """The constants that something reads which depends on the input, and the stored tensors they are computed from."""
    constants = program.constants
    read = {name: node for name, node in program.folded.items() if any(user not in constants for user in node.users)}
    return {name: sources_of(program, node) for name, node in read.items()}


def _readers(node: Node, computed: Collection[str], constants: Collection[Node]) -> set[str | None]:
    """The first of these constants on each way from a stored tensor; None where a way leads past them."""
    readers: set[str | None] = set()
    waiting = list(node.users)
    while waiting:
        user = waiting.pop()
        if user.name in computed:
            readers.add(user.name)
        elif user in constants:
            waiting.extend(user.users)
        else:
            readers.add(None)
    return readers
