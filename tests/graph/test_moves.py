"""Labels that are moved where they change alone, held against the operator itself on all labels."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.fx import Node
from torch.fx.node import map_arg

from pfa_gate.graph import record_model
from pfa_gate.graph.labels import RULES, LabelFlow
from pfa_gate.graph.partition import narrowed
from pfa_gate.graph.program import is_tensor, operator_name, shape_of
from pfa_gate.graph.propagate import propagate_labels
from pfa_gate.graph.rules.moves import moved, reshaped

MOVES: dict[
    str, Callable[[Tensor], Any]
] = {  # of a value [samples, 4, 6, 8] with filters on axis 1, or on the last one
    "view": lambda x: x.view(-1, 2, 2, 48),
    "merged": lambda x: x.flatten(0, 1).reshape(-1, 12, 4),
    "unflatten": lambda x: torch.unflatten(x, 1, (2, 2)),
    "permute": lambda x: x.permute(0, 2, 3, 1),
    "transpose": lambda x: x.transpose(-1, 1).mT,
    "movedim": lambda x: x.movedim(1, -1).swapaxes(0, 1),
    "squeeze": lambda x: x.unsqueeze(1).squeeze(1).unsqueeze(-1),
    "expand": lambda x: x.unsqueeze(0).expand(3, -1, -1, -1, -1),
    "slice": lambda x: x[:, 1:3, ::2, -3:],
    "select": lambda x: [x[:, 2].unsqueeze(1), x[..., 3, None], x[1]],
    "split": lambda x: [*torch.split(x, 2, 1), *torch.split(x, [1, 5], -2), *x.chunk(3, 2), *x.tensor_split(2, -1)],
    "unbind": lambda x: [*x.unbind(1), *x.unbind(-1)],
    "roll": lambda x: x.roll((1, 2), (1, 3)).roll(3, 2),
    "roll of all": lambda x: x.roll(5),
    "flip": lambda x: x.flip(1, 2),
    "repeat": lambda x: x.repeat(2, 1, 1, 2, 1),
    "tile": lambda x: x.tile(2, 1),
    "repeat_interleave": lambda x: [x.repeat_interleave(2, 1), x.repeat_interleave(3, 2)],
    "unfold": lambda x: x.unfold(2, 3, 1).unfold(1, 2, 2),
    "pixel_shuffle": lambda x: nn.functional.pixel_shuffle(x, 2),
    "diagonal": lambda x: x.diagonal(0, 1, 2),
    "rot90": lambda x: x.rot90(1, (1, 2)),
    "cat": lambda x: [torch.cat([x, x], 1), torch.cat([x, x.flip(1)], -1), torch.cat([torch.zeros(0), x])],
    "stack": lambda x: [torch.stack([x, x.roll(1, 1)], -1), torch.stack([x, x])],
    "hstack": lambda x: torch.hstack([x, x]),
}


class Moves(nn.Module):
    def __init__(self, move: Callable[[Tensor], Any], last: bool) -> None:
        super().__init__()
        self.move = move
        self.layer = nn.Linear(3, 8) if last else nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Any:
        return self.move(self.layer(x))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("name", MOVES)
def test_labels_are_moved_as_numbers_are(name: str, last: bool) -> None:
    example = torch.randn((2, 4, 6, 3) if last else (2, 3, 6, 8))
    program = record_model(Moves(MOVES[name], last).eval(), (example,), {})
    flow = propagate_labels(program)
    assert not flow.unknown
    moves = [node for node in program.nodes if operator_name(node) in RULES and RULES[operator_name(node)] is moved]
    assert moves
    for node in moves:
        args, kwargs = map_arg((node.args, node.kwargs), lambda source: _whole(flow, source))
        expected = node.target(*args, **kwargs)  # type: ignore[operator]
        assert [each.tolist() for each in _parts(flow.values[node])] == [
            narrowed(each).tolist() for each in _parts(expected)
        ]


def _whole(flow: LabelFlow, source: Node) -> Any:
    return flow.loose(source).expand(shape_of(source)).contiguous() if is_tensor(source) else source.meta["val"]


def _parts(labels: Any) -> list[Tensor]:
    return [labels] if isinstance(labels, Tensor) else list(labels)


@st.composite
def shapes(draw: st.DrawFn) -> tuple[list[int], list[int], list[bool]]:
    """Two shapes of the same size, and along which axes of the first labels change."""
    factors = draw(st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=6))
    cuts = [sorted(draw(st.lists(st.integers(0, len(factors)), max_size=3))) for _ in range(2)]
    edges = [[0, *cut, len(factors)] for cut in cuts]
    before, after = ([math.prod(factors[start:end]) for start, end in pairwise(each)] for each in edges)
    return before, after, draw(st.lists(st.booleans(), min_size=len(before), max_size=len(before)))


@given(shapes())
def test_a_reshape_of_few_labels_is_that_of_all(case: tuple[list[int], list[int], list[bool]]) -> None:
    before, after, changes = case
    few = [size if change else 1 for size, change in zip(before, changes, strict=True)]
    labels = torch.arange(math.prod(few)).reshape(few)
    assert torch.equal(reshaped(labels, before, after).expand(after), labels.expand(before).reshape(after))
