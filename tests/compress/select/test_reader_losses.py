"""Reconstruction against least squares on the activations of the module itself, and how much of the probe it reads."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from networks import conditioned
from torch import Tensor, nn
from torch.nn import functional

from pfa_gate.compress.select import SELECTIONS, Evidence, reader_losses
from pfa_gate.graph import record_model, trace_program
from pfa_gate.model import Batch

Read = tuple[np.ndarray, np.ndarray]  # what a reader reads, [rows, filters, columns of each]; weights likewise
RIDGE = 1e-3


class Net(nn.Module):
    """A layer, and what reads it."""

    def __init__(self, first: nn.Module, *rest: nn.Module) -> None:
        super().__init__()
        self.first, self.rest = first, nn.Sequential(*rest)

    def forward(self, x: Tensor) -> Tensor:
        return self.rest(self.first(x))


class Heads(Net):
    """Two readers of one layer."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x).relu()
        return torch.cat([head(h) for head in self.rest], 1)


class Beside(Net):
    """A reader of two layers, of which the second is not asked about."""

    def forward(self, x: Tensor) -> Tensor:
        return self.rest[1](torch.cat([self.first(x), self.rest[0](x)], 1))


def linear(net: nn.Module, x: Tensor) -> list[Read]:
    return [(net.first(x).relu()[:, :, None], net.rest[-1].weight.T[:, None])]


def heads(net: nn.Module, x: Tensor) -> list[Read]:
    h = net.first(x).relu()[:, :, None]
    return [(h, head.weight.T[:, None]) for head in net.rest]


def beside(net: nn.Module, x: Tensor) -> list[Read]:
    h = torch.cat([net.first(x), net.rest[0](x)], 1).permute(0, 2, 3, 1).flatten(0, 2)
    return [(h[:, :, None], net.rest[1].weight.flatten(1).T[:, None])]


def flattened(net: nn.Module, x: Tensor) -> list[Read]:
    h = net.first(x).relu().flatten(2)
    return [(h, net.rest[-1].weight.reshape(-1, 4, h.shape[2]).permute(1, 2, 0))]


def convolved(net: nn.Module, x: Tensor) -> list[Read]:
    """Every output times the scale of the batch norm that follows."""
    *before, reader, norm = net.rest
    h = nn.Sequential(net.first, *before)(x)
    rows = functional.unfold(h, 3, stride=2, padding=1).transpose(1, 2).flatten(0, 1)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return [(rows.unflatten(1, (4, 9)), reader.weight.flatten(2).permute(1, 2, 0) * scale)]


def grouped(net: nn.Module, x: Tensor) -> list[Read]:
    """Each half of the reader reads four of eight filters: one filter of each half is one of the group."""
    h, reader = net.first(x).relu(), net.rest[-1]
    rows = functional.unfold(h, 3).transpose(1, 2).flatten(0, 1).unflatten(1, (2, 4, 9))
    weight = reader.weight.flatten(2).unflatten(0, (2, 3)).permute(0, 2, 3, 1)
    return [(rows[:, half], weight[half]) for half in range(2)]


def transposed(net: nn.Module, x: Tensor) -> list[Read]:
    """With stride and kernel 2 each output reads one place of the input, by one of four taps."""
    h = net.first(x).relu().permute(0, 2, 3, 1).flatten(0, 2)
    rows = torch.zeros(4, len(h), 4, 4, dtype=h.dtype)
    for tap in range(4):
        rows[tap, :, :, tap] = h
    return [(rows.flatten(0, 1), net.rest[-1].weight.flatten(2).transpose(1, 2))]


CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module, Tensor], list[Read]], tuple[int, ...]]] = {
    "linear": (lambda: Net(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3)), linear, (600, 5)),
    "two heads": (lambda: Heads(nn.Linear(5, 6), nn.Linear(6, 3), nn.Linear(6, 2)), heads, (600, 5)),
    "beside": (lambda: Beside(nn.Conv2d(2, 4, 1), nn.Conv2d(2, 3, 1), nn.Conv2d(7, 5, 1)), beside, (28, 2, 2, 2)),
    "flattened": (
        lambda: Net(nn.Conv2d(2, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)),
        flattened,
        (600, 2, 3, 3),
    ),
    "convolved": (
        lambda: Net(
            nn.Conv2d(2, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 3, 3, stride=2, padding=1),
            nn.BatchNorm2d(3),
        ),
        convolved,
        (64, 2, 7, 7),
    ),
    "grouped": (
        lambda: Net(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 6, 3, groups=2)),
        grouped,
        (64, 3, 5, 5),
    ),
    "transposed": (
        lambda: Net(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 3, 2, stride=2)),
        transposed,
        (7, 2, 5, 5),
    ),
}


def left_over(reads: list[Read], alive: tuple[int, ...], width: int) -> float:
    """Error of the best weights on what these filters give, as a share of what is made; halves of a layer as one."""
    error = whole = 0.0
    for rows, weights in reads:
        filters = [j for j in range(rows.shape[1]) if j >= width or j in alive]
        centred = rows - rows.mean(0)
        flat, weight = centred.reshape(len(rows), -1), weights.reshape(-1, weights.shape[2])
        gram = flat.T @ flat
        loaded = gram + RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        size = rows.shape[2]
        kept = [j * size + c for j in filters for c in range(size)]
        step = weight.copy()
        step[kept] -= np.linalg.solve(loaded[np.ix_(kept, kept)], loaded[kept] @ weight)
        error += np.trace(step.T @ loaded @ step)
        whole += np.trace(weight.T @ gram @ weight)
    return float(error / whole)


def evidence(net: nn.Module, x: Tensor, sizes: tuple[int, ...], *names: str) -> Evidence:
    """Of the group `first` unless others are named."""
    program = record_model(net, (x[:2],), {})
    groups = [group for group in trace_program(program).groups if group.name in (names or ("first",))]
    return Evidence(program, groups, {}, [Batch((part,), {}, None) for part in x.split(sizes)])


@pytest.mark.parametrize("name", CASES)
def test_losses_are_those_of_a_fresh_least_squares_on_all_positions(name: str) -> None:
    build, read, shape = CASES[name]
    net, x = conditioned(build()), torch.randn(shape, generator=torch.Generator().manual_seed(1))
    first = 3 * shape[0] // 8
    given = evidence(net, x, (first, shape[0] - first))
    (group,) = given.groups
    order = SELECTIONS["reconstruction"](given)["first"].tolist()
    losses = reader_losses(given)["first"]

    with torch.no_grad():
        reads = [(rows.double().numpy(), weights.double().numpy()) for rows, weights in read(net, x)]
    apart = [[each] for each in reads] if name == "two heads" else [reads]  # halves of one layer share its output
    alive = tuple(range(group.width))
    before = 0.0
    for gone, loss in zip(order, losses, strict=True):
        costs = {
            j: sum(left_over(each, tuple(i for i in alive if i != j), group.width) for each in apart) - before
            for j in alive
        }
        assert gone == min(costs, key=costs.__getitem__)
        assert loss == pytest.approx(costs[gone], rel=2e-4, abs=1e-6)
        before += costs[gone]
        alive = tuple(i for i in alive if i != gone)


class Counting:
    """A program that says which batches it ran over."""

    def __init__(self, given: Evidence) -> None:
        self.program, self.seen = given.running, list[int]()
        vars(given)["running"] = self

    def __getattr__(self, name: str) -> object:
        return getattr(self.program, name)

    def run(self, args: tuple[Tensor], *rest: object) -> object:
        self.seen.append(int(args[0].flatten()[0]))
        return self.program.run(args, *rest)


def numbered(count: int, size: int, columns: int) -> Tensor:
    """Rows of which the first value is the number of their batch."""
    rows = torch.randn(count * size, columns, generator=torch.Generator().manual_seed(1))
    rows[:, 0] = torch.arange(count).repeat_interleave(size)
    return rows


@pytest.mark.parametrize(
    ("columns", "count", "size", "read"),
    [
        (4, 20, 100, 8),  # 768 samples, however few columns there are
        (4, 4, 768, 1),
        (4, 4, 767, 2),
        (100, 20, 100, 8),  # eight patches for each column
        (100, 20, 97, 9),
        (100, 5, 100, 5),  # all, where there are no more
    ],
)
def test_as_many_samples_are_read_as_the_columns_need(columns: int, count: int, size: int, read: int) -> None:
    net = conditioned(Net(nn.Linear(3, columns), nn.ReLU(), nn.Linear(columns, 2)))
    given = evidence(net, numbered(count, size, 3), (size,) * count)
    counting = Counting(given)
    SELECTIONS["reconstruction"](given)
    assert len(counting.seen) == read
    assert sorted(counting.seen) == counting.seen
    gaps = np.diff([-1, *counting.seen, count])
    assert max(gaps) <= 2 * count / read + 1, "from all over the probe, which may be sorted"


def deep() -> nn.Module:
    return conditioned(Net(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 100), nn.ReLU(), nn.Linear(100, 2)))


def test_the_reader_that_needs_most_says_how_many_samples_are_read() -> None:
    given = evidence(deep(), numbered(20, 100, 3), (100,) * 20, "first", "rest.1")
    counting = Counting(given)
    SELECTIONS["reconstruction"](given)
    assert len(counting.seen) == 8


def test_each_layer_is_asked_of_its_own_readers() -> None:
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(1))
    both = reader_losses(evidence(deep(), x, (64,), "first", "rest.1"))
    for name in ("first", "rest.1"):
        assert both[name].tolist() == reader_losses(evidence(deep(), x, (64,), name))[name].tolist()


def test_samples_are_counted_by_the_first_input_that_has_some() -> None:
    """A number that a model is given beside them is none."""

    class Scaled(Net):
        def forward(self, times: int, scale: Tensor, x: Tensor) -> Tensor:
            return super().forward(times * scale * x)

    net, x = Scaled(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2)), numbered(20, 100, 3)
    plain = evidence(conditioned(Net(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2))), 3 * x, (100,) * 20)
    beside = (2, torch.tensor(1.5))
    program = record_model(conditioned(net), (*beside, x[:2]), {})
    groups = [group for group in trace_program(program).groups if group.name == "first"]
    given = Evidence(program, groups, {}, [Batch((*beside, part), {}, None) for part in x.split(100)])
    np.testing.assert_allclose(reader_losses(given)["first"], reader_losses(plain)["first"], rtol=1e-4)


class Twice(Net):
    """A reader that is called twice has no one set of rows."""

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x).relu()
        return self.rest[0](h) + self.rest[0](h.square())


class Untransposed(Net):
    """The weight of a product lies the other way round, as GPT-2 has it."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.addmm(self.rest[0].bias, self.first(x).relu(), self.rest[0].weight)


@pytest.mark.parametrize("kind", [Twice, Untransposed])
def test_a_reader_whose_weight_is_not_the_matrix_of_one_call_is_not_asked(kind: type[Net]) -> None:
    net = conditioned(kind(nn.Linear(3, 6), nn.Linear(6, 6)))
    given = evidence(net, torch.randn(64, 3), (64,))
    assert reader_losses(given) == {}
    assert SELECTIONS["reconstruction"](given)["first"].tolist() == SELECTIONS["l1"](given)["first"].tolist()


def test_positions_of_a_map_stand_for_samples() -> None:
    """Of 25 places in each map 160 samples would do for 500 columns; 768 are read all the same."""
    net = conditioned(Net(nn.Conv2d(1, 20, 1), nn.ReLU(), nn.Conv2d(20, 2, 5, padding=2)))
    rows = numbered(20, 64, 25).reshape(-1, 1, 5, 5)
    given = evidence(net, rows, (64,) * 20)
    counting = Counting(given)
    SELECTIONS["reconstruction"](given)
    assert len(set(counting.seen)) == len(counting.seen) == 12


def test_more_positions_bring_the_losses_of_all_positions() -> None:
    """Sixteen drawn patches for each column say about what all of them say, and another seed draws others."""
    net = conditioned(Net(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3)))
    x = torch.randn(512, 2, 12, 12, generator=torch.Generator().manual_seed(1))
    drawn = [reader_losses(replace(evidence(net, x, (256, 256)), seed=seed))["first"] for seed in (0, 1)]
    with torch.no_grad():
        rows = functional.unfold(net.first(x).relu(), 3).transpose(1, 2).flatten(0, 1).unflatten(1, (6, 9)).double()
        weight = net.rest[-1].weight.flatten(2).permute(1, 2, 0).double()
    assert not np.allclose(*drawn, rtol=1e-3), "and no more than these"
    best = min(left_over([(rows.numpy(), weight.numpy())], kept, 6) for kept in combinations(range(6), 3))
    for losses in drawn:
        assert losses[:3].sum() == pytest.approx(best, rel=0.1)


def test_a_transposed_convolution_that_reads_apart_is_not_asked() -> None:
    net = conditioned(Net(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 4, 2, groups=2), nn.Conv2d(4, 2, 1)))
    given = evidence(net, torch.randn(64, 2, 5, 5), (64,))
    assert reader_losses(given) == {}
    assert SELECTIONS["reconstruction"](given)["first"].tolist() == SELECTIONS["l1"](given)["first"].tolist()


def test_a_layer_whose_reader_makes_nothing_is_ordered_by_norm() -> None:
    net = conditioned(Net(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2)))
    net.rest[-1].weight.data.zero_()
    given = evidence(net, torch.randn(64, 3), (64,))
    assert reader_losses(given) == {}
    assert SELECTIONS["reconstruction"](given)["first"].tolist() == SELECTIONS["l1"](given)["first"].tolist()


def test_a_filter_that_nobody_reads_goes_first_and_costs_nothing() -> None:
    net = conditioned(Net(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 2)))
    net.rest[-1].weight.data[:, 2] = 0
    given = evidence(net, torch.randn(64, 3, generator=torch.Generator().manual_seed(1)), (64,))
    assert SELECTIONS["reconstruction"](given)["first"][0] == 2
    assert (reader_losses(given)["first"] == 0).tolist() == [True] + [False] * 5
