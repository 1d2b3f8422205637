"""What the full model gave at drawn positions: kept from a pass that is made anyway, for the compensation that follows.

The pass of a selection reads as many samples as most layers are solved on. The few that are solved on more, at the end
of a network, are kept from the pass over the whole probe: else the full model would run over all of it once more.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from pfa_gate.compress.regress import FEWEST, FIRST, draw, outputs, position_count
from pfa_gate.graph import Program
from pfa_gate.graph.calls import Call, calls, epilogue_of, matrix_of
from pfa_gate.graph.program import shape_of

MEMORY = 3 * 2**27  # bytes; where it would be more, nothing is kept
NARROW = 288  # columns, up to which a layer's rows are so small that twice as many as it begins with are kept


class FullRows:
    """Outputs of layers, and what is added to them, at as many positions as their readers are solved on.

    Args:
        program: of the full model.
        samples: in the whole probe; at most so many where all of it is kept.
        seed: of the positions drawn.
        whole: whether what is observed is the whole probe: then layers that are solved on most of it are kept.
        others: rows that are kept already.

    Example:
        >>> import torch
        >>> from pfa_gate.graph import record_model
        >>> program = record_model(torch.nn.Linear(3, 2), (torch.zeros(2, 3),), {})
        >>> (call,), kept = calls(program), FullRows(program, samples=2, seed=0)
        >>> kept.observe(0, call.node, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        >>> kept.rows(0, call, call.node, range(1)).tolist(), kept.has(1, call, call.node, 1)
        ([[1.0, 2.0], [3.0, 4.0]], False)
    """

    def __init__(
        self, program: Program, samples: int, seed: int, *, whole: bool = False, others: "FullRows | None" = None
    ) -> None:
        self._seed, self._others, read = seed, others, samples if whole else min(samples, FEWEST)
        self._places: dict[str, list[tuple[Call, int]]] = {}
        self._held: dict[tuple[int, str, str], Tensor] = {}
        chosen = [call for call in calls(program) if not whole or _wide(program, call)]
        wanted = [(node, call, _count(program, call, read)) for call in chosen for node in _nodes(program, call)]
        if sum(4 * read * count * shape_of(call.node)[call.channels] for _, call, count in wanted) <= MEMORY:
            for node, call, count in wanted:
                self._places.setdefault(node.name, []).append((call, count))

    def observe(self, batch: int, node: Node, value: Any) -> None:
        """Keep what is wanted of a value of the full model, right after it was computed."""
        for call, count in self._places.get(node.name, ()):
            if self.has(batch, call, node, count):
                continue
            drawn = draw(len(value), position_count(call, shape_of(call.node)), count, self._seed + batch)
            with torch.inference_mode(False):  # what is kept is computed with later
                rows = outputs(call, value, drawn)
                self._held[batch, call.weight, node.name] = rows.reshape(len(value), -1, rows.shape[-1])

    def has(self, batch: int, call: Call, node: Node, count: int) -> bool:
        """Whether a value of a batch is kept at so many positions of each sample."""
        held = self._of(batch, call, node)
        return held is not None and count <= held.shape[1]

    def _of(self, batch: int, call: Call, node: Node) -> Tensor | None:
        held = self._held.get((batch, call.weight, node.name))
        return self._others._of(batch, call, node) if held is None and self._others is not None else held

    def rows(self, batch: int, call: Call, node: Node, drawn: range) -> Tensor:
        """The value at some of the positions drawn in each sample, [samples x positions, filters]."""
        held = self._of(batch, call, node)
        if held is None:
            raise KeyError(f"Nothing is kept of {call.layer} for batch {batch}.")
        return held[:, drawn.start : drawn.stop].flatten(0, 1)


def _nodes(program: Program, call: Call) -> Iterator[Node]:
    yield call.node
    added = epilogue_of(program, call).added
    if added is not None:
        yield added


def _wide(program: Program, call: Call) -> bool:
    """Whether a layer is solved on more samples than most."""
    columns = matrix_of(call, program.tensors[call.weight]).shape[1]
    return FIRST * columns > FEWEST * position_count(call, shape_of(call.node))


def _count(program: Program, call: Call, samples: int) -> int:
    """Positions of each of so many samples, with which a layer begins at most, or twice as many."""
    columns = matrix_of(call, program.tensors[call.weight]).shape[1]
    rows = (2 if columns <= NARROW else 1) * FIRST * columns
    return min(position_count(call, shape_of(call.node)), math.ceil(rows / samples))
