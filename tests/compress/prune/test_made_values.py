"""Zeros that a forward makes, values that it spreads, parts that it writes into: all as wide as what is left."""

from collections.abc import Callable

import pytest
import torch
from halving import assert_alike, halved
from networks import conditioned
from torch import Tensor, nn
from torch.nn import functional

from pfa_gate.compress.prune import compress
from pfa_gate.graph import inputs_of, trace

HIDDEN = 4
Zeros = Callable[[Tensor], Tensor]

STATES: dict[str, Zeros] = {
    "zeros": lambda x: torch.zeros(x.shape[0], HIDDEN, *x.shape[3:]),
    "new_zeros": lambda x: x.new_zeros((x.shape[0], HIDDEN, x.shape[3], x.shape[4])),
    "expanded": lambda x: torch.zeros(1, HIDDEN, *x.shape[3:]).expand(x.shape[0], -1, -1, -1),
    "repeated": lambda x: torch.zeros_like(x[:, 0, :1]).repeat(1, HIDDEN, 1, 1),
    "permuted": lambda x: x.new_zeros(x.shape[0], *x.shape[3:], HIDDEN).permute(0, 3, 1, 2),
}


class ConvLSTM(nn.Module):
    """Two steps over images: the first reads states that no layer made."""

    def __init__(self, zeros: Zeros) -> None:
        super().__init__()
        self.zeros = zeros
        self.gates, self.head = nn.Conv2d(3 + HIDDEN, 4 * HIDDEN, 3, padding=1), nn.Linear(HIDDEN, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.zeros(x)
        cell = torch.zeros_like(hidden)
        for step in range(x.shape[1]):
            i, f, o, g = self.gates(torch.cat([x[:, step], hidden], 1)).chunk(4, 1)
            cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
            hidden = o.sigmoid() * cell.tanh()
        return self.head(hidden.mean((2, 3)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("zeros", STATES.values(), ids=STATES)
def test_a_first_state_of_zeros_is_as_wide_as_those_after_it(zeros: Zeros) -> None:
    example = torch.randn(2, 2, 3, 6, 5)
    cut = halved(ConvLSTM(zeros), example)
    assert {name: cut.groups.group(name).width for name in cut.keep} == {"gates": HIDDEN}
    assert_alike(cut.result.model, cut.silenced(), example)


class Recurrent(nn.Module):
    """A state of zeros, and a table of answers that is filled step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.turn, self.head = nn.Linear(3, HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, 2)

    def forward(self, x: Tensor) -> Tensor:
        hidden, answers = x.new_zeros(x.shape[0], HIDDEN), torch.zeros(x.shape[0], x.shape[1], HIDDEN)
        for step in range(x.shape[1]):
            hidden = torch.tanh(self.read(x[:, step]) + self.turn(hidden))
            answers[:, step] = hidden
        return self.head(answers)  # type: ignore[no-any-return]


class Padded(nn.Module):
    """Zeros as the channels that a shortcut lacks, on both sides of it; and as the time before the first."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(3, 4, 1), nn.Conv1d(4, 8, 2)
        self.head = nn.Conv1d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(torch.cat([torch.zeros(x.shape[0], 3, 1), x], 2)).relu()
        beside = x.new_zeros(x.shape[0], 2, x.shape[2])
        y = self.second(torch.cat([x, x.new_full((x.shape[0], 4, 1), 0.5)], 2))
        return self.head((torch.cat([beside, x, beside], 1) + y).relu())  # type: ignore[no-any-return]


class Shifted(nn.Module):
    """As the temporal shift: an eighth of the channels comes from the step after, one from before, by slices."""

    def __init__(self, fold: int) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 2)
        self.fold = fold

    def forward(self, x: Tensor) -> Tensor:
        x, fold = self.first(x), self.fold
        out = torch.zeros_like(x)
        out[:, :-1, :fold] = x[:, 1:, :fold]
        out[:, 1:, fold : 2 * fold] = x[:, :-1, fold : 2 * fold]
        out[:, :, 2 * fold :] = x[:, :, 2 * fold :]
        x = self.second(out).relu()
        other = torch.empty(x.shape)
        other[:, 0] = x[:, -1]
        other[:, 1:].copy_(x[:, :-1])
        x[..., 2].fill_(0.5)
        return self.head(other + x)  # type: ignore[no-any-return]


class Gathered(nn.Module):
    """Tokens picked, put back and summed by index, as in masked autoencoders and message passing."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(3, 8), nn.Linear(8, 6), nn.Linear(6, 8)
        self.head = nn.Linear(8, 2)
        self.mask = nn.Parameter(torch.zeros(1, 1, 8))
        self.register_buffer("places", torch.tensor([3, 0, 2, 1]))

    def forward(self, x: Tensor) -> Tensor:
        order = x[..., 0].argsort(1)[..., None]
        x = self.first(x)
        x = x.gather(1, order.repeat(1, 1, 8)).relu()
        y = torch.zeros(x.shape[0], 5, 6).index_add(1, self.places, self.second(x))
        y = y.scatter_add(1, order.expand(-1, -1, 6), y[:, :4])
        y = torch.cat([self.third(y)[:, :3], self.mask.repeat(x.shape[0], 2, 1)], 1)
        y[:, self.places] = y[:, :4] + x
        return self.head(y.masked_fill(y > 3, 0).relu())  # type: ignore[no-any-return]


class Sampled(nn.Module):
    """Windows, sampling and places of maxima, each filter by itself; statistics that are spread by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Conv2d(3, 4, 3), nn.Conv2d(16, 4, 1), nn.Conv2d(4, 6, 1)
        self.head = nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.unfold(self.first(x), 2)
        x = self.second(x.unflatten(2, (3, 3)))
        pooled, places = functional.max_pool2d(x, 2, stride=1, return_indices=True)
        x = self.third(functional.max_unpool2d(pooled, places, 2, stride=1, output_size=x.shape[2:]))
        x = x / (x.norm(dim=1, keepdim=True).expand(-1, 6, -1, -1) + 1)
        grid = functional.affine_grid(
            torch.eye(2, 3)[None].expand(x.shape[0], -1, -1), list(x.shape), align_corners=False
        )
        return self.head(functional.grid_sample(x, grid * 0.7, align_corners=False).relu())  # type: ignore[no-any-return]


class Remembering(nn.Module):
    """A buffer that each forward writes anew."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(3, 8), nn.Linear(8, 2)
        self.register_buffer("memory", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        self.memory.copy_(0.9 * self.memory + x.mean(0))
        return self.head((x + self.memory).relu())  # type: ignore[no-any-return]


class Selective(nn.Module):
    """As Mamba: each channel has a state, which is fed by outer products and read by a product with another vector."""

    def __init__(self, einsum: bool) -> None:
        super().__init__()
        self.einsum = einsum
        self.read, self.depth = nn.Linear(3, 12), nn.Conv1d(6, 6, 3, groups=6, padding=2)
        self.choose, self.steps = nn.Linear(6, 7), nn.Linear(1, 6)
        self.decay, self.skip = nn.Parameter(torch.rand(6, 3)), nn.Parameter(torch.ones(6))
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x, gate = self.read(x).transpose(1, 2).chunk(2, 1)
        x = self.depth(x)[..., : gate.shape[-1]].tanh()
        step, write, show = self.choose(x.transpose(1, 2)).split([1, 3, 3], -1)
        step = functional.softplus(self.steps(step)).transpose(1, 2)
        kept = torch.exp(-self.decay.exp()[None, :, None] * step[..., None])
        if self.einsum:
            written = torch.einsum("bct, btn, bct -> bctn", step, write, x)
        else:
            written = step[..., None] * write[:, None] * x[..., None]
        state, shown = x.new_zeros(x.shape[0], 6, 3), []
        for place in range(x.shape[-1]):
            state = kept[:, :, place] * state + written[:, :, place]
            shown.append((state @ show[:, place, :, None])[..., 0])
        x = (torch.stack(shown, -1) + x * self.skip[:, None]) * gate.sigmoid()
        return self.head(x.transpose(1, 2))  # type: ignore[no-any-return]


class OfNoSize(nn.Module):
    """Rotated halves beside a rest of no size, a narrowing that starts at a counted place, a write at no place."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 8), nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        turned = torch.cat([-x[..., 4:], x[..., :4]], -1)
        x = torch.cat([x + turned, x[..., 8:]], -1)
        x = self.second(torch.narrow(x, 1, torch.tensor(1), 2))
        none = torch.zeros(0, dtype=torch.int64)
        x[none, none] = 0.0
        return self.head(x.relu())


NETWORKS = {
    "state space": (Selective(einsum=False), (2, 4, 3), {"read": 6, "choose": 1}),
    "state space by einsum": (Selective(einsum=True), (2, 4, 3), {"read": 6, "choose": 1}),
    "recurrent": (Recurrent(), (2, 3, 3), {"read": 4}),
    "padded": (Padded(), (2, 3, 6), {"first": 4, "second": 2}),
    "temporal shift": (Shifted(2), (2, 4, 3), {"first": 8, "second": 8}),
    "by index": (Gathered(), (2, 4, 3), {"first": 8, "second": 6}),
    "by places": (Sampled(), (2, 3, 6, 6), {"first": 4, "second": 4, "third": 6}),
    "buffer": (Remembering(), (5, 3), {"first": 8}),
    "of no size": (OfNoSize(), (2, 3, 4), {"first": 4, "second": 6}),
}


@pytest.mark.parametrize(("model", "shape", "widths"), NETWORKS.values(), ids=NETWORKS)
def test_what_a_forward_makes_follows_the_cut(model: nn.Module, shape: tuple[int, ...], widths: dict[str, int]) -> None:
    example = torch.randn(shape)
    cut = halved(model, example)
    assert cut.groups.unknown == ()
    assert {name: cut.groups.group(name).width for name in cut.keep} == widths
    assert_alike(cut.result.model, cut.silenced(), example)


def test_a_slice_may_lose_all_its_filters() -> None:
    model, example = conditioned(Shifted(2)), torch.randn(2, 4, 3)
    groups = trace(model, example)
    result = compress(model, groups, {"first": [4, 5, 7], "second": [2]}, inputs_of(example))
    assert (result.put_back, result.form) == ({}, "graph")
    with torch.no_grad():
        model.first.weight[[0, 1, 2, 3, 6]] = 0
        model.first.bias[[0, 1, 2, 3, 6]] = 0
        model.head.weight[:, [0, 1, 3, 4, 5, 6, 7]] = 0
    assert_alike(result.model, model, example)


class Mixed(nn.Module):
    """Zeros that are read in a way that is not known: nothing follows them, and what they meet stays whole."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(3, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        start = x.new_zeros(x.shape[0], 8)
        return self.head(self.first(x) + start.cumsum(1) + start)  # type: ignore[no-any-return]


def test_zeros_that_are_read_otherwise_have_no_filters() -> None:
    group = trace(conditioned(Mixed()), torch.randn(2, 3)).group("first")
    assert group.frozen == "meets a value whose filters cannot be cut"
