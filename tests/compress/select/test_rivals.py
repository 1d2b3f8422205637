"""The other selections: elimination against every subset, weights by hand, labels, chance, another package's own."""

from functools import cache
from itertools import combinations
from typing import Literal

import numpy as np
import pluggy
import pytest
import torch
from networks import CONNECTED, NETWORKS, network
from torch import Tensor, nn
from torch.nn import functional

from pfa_gate.analysis.spectrum import analyse
from pfa_gate.compress.select import SELECTIONS, Evidence, Orders, criterion, hookimpl, keep_last
from pfa_gate.compress.select.elimination import GroupReader, eliminate
from pfa_gate.compress.select.registry import Hooks
from pfa_gate.errors import ConfigError, LabelsError
from pfa_gate.graph import record_model, trace_program
from pfa_gate.model import Batch

FORMS = [*((net, "project") for net in (*NETWORKS, *CONNECTED)), ("residual", "pad"), ("attention", "pad")]


@cache
def evidence(name: str, residual: Literal["project", "pad"] = "project", samples: int = 64) -> Evidence:
    model, example = network(name)
    program = record_model(model, (example,), {})
    groups = trace_program(program, residual).free
    draw = np.random.default_rng(0)
    spectra = {g.name: analyse(draw.standard_normal((100, g.width))) for g in groups}
    probe = torch.randn(samples, *example.shape[1:], generator=torch.Generator().manual_seed(1))
    return Evidence(program, groups, spectra, [Batch((probe,), {}, torch.arange(samples) % 2)])


def lost(gram: np.ndarray, weights: np.ndarray, kept: list[int]) -> float:
    """Squared error of the best linear map from the kept columns, on outputs made by all."""
    best = np.linalg.solve(gram[np.ix_(kept, kept)], gram[kept] @ weights)
    step = weights.copy()
    step[kept] -= best
    return float(np.trace(step.T @ gram @ step))


def test_elimination_finds_the_best_of_all_792_subsets():
    """Seven of twelve: five filters have a shadow each, at five levels of noise."""
    draw = np.random.default_rng(0)
    driven = draw.standard_normal((2000, 7))
    shadows = driven[:, :5] + np.linspace(0.1, 0.3, 5) * draw.standard_normal((2000, 5))
    rows = (np.concatenate([driven, shadows], 1) * np.linspace(1, 2, 12))[:, draw.permutation(12)]
    rows -= rows.mean(0)
    gram, weights = rows.T @ rows, draw.standard_normal((12, 4))
    reading = GroupReader(torch.tensor(gram)[None], torch.tensor(weights)[None], torch.arange(12)[:, None])
    found = sorted(eliminate([reading], 12, ridge=1e-12).order[5:].tolist())
    best = min(combinations(range(12), 7), key=lambda kept: lost(gram, weights, list(kept)))
    assert found == list(best)


@pytest.mark.parametrize("others", [0, 3])
def test_each_step_removes_what_a_fresh_least_squares_would(others):
    """Among columns in any order, some of which belong to no filter and stay."""
    draw, columns = np.random.default_rng(1), 12 + others
    rows = draw.standard_normal((300, columns)) @ draw.standard_normal((columns, columns))
    gram, weights = rows.T @ rows, draw.standard_normal((columns, 3))
    order = draw.permutation(columns)
    stay, blocks = order[12:].tolist(), order[:12].reshape(4, 3)
    reading = GroupReader(torch.tensor(gram)[None], torch.tensor(weights)[None], torch.from_numpy(blocks))
    alive = list(range(4))
    for gone in eliminate([reading], 4, ridge=1e-13).order.tolist()[:3]:
        costs = {j: lost(gram, weights, [*stay, *(c for b in alive if b != j for c in blocks[b])]) for j in alive}
        assert gone == min(costs, key=costs.__getitem__)
        alive.remove(gone)


@pytest.mark.parametrize("name", list(SELECTIONS))
@pytest.mark.parametrize(("net", "residual"), FORMS)
def test_every_order_is_a_permutation_and_the_same_again(name, net, residual):
    given = evidence(net, residual)
    if name == "taylor" and net in ("depthwise", "grouped", "decoder"):
        with pytest.raises(LabelsError, match="needs class scores"):
            SELECTIONS[name](given)
        return
    orders, again = (SELECTIONS[name](given) for _ in range(2))
    for group in given.groups:
        assert orders[group.name].dtype == np.int64
        assert sorted(orders[group.name]) == list(range(group.width))
        assert orders[group.name].tolist() == again[group.name].tolist()


def two_layers() -> tuple[nn.Module, Evidence]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    program = record_model(model, (torch.zeros(2, 2, 5, 5),), {})
    return model, Evidence(program, trace_program(program).groups[:1], {}, [torch.randn(128, 2, 5, 5)])


def test_norms_and_scales_by_hand():
    model, given = two_layers()
    weight = model[0].weight.detach().numpy().reshape(4, -1)
    model[1].weight.data.copy_(torch.tensor([0.5, -2.0, 0.1, 1.0]))
    assert SELECTIONS["l1"](given)["0"].tolist() == np.abs(weight).sum(1).argsort().tolist()
    distances = [sum(np.linalg.norm(one - other) for other in weight) for one in weight]
    assert SELECTIONS["geometric_median"](given)["0"].tolist() == np.argsort(distances).tolist()
    assert SELECTIONS["batchnorm"](given)["0"].tolist() == [2, 0, 3, 1]


@pytest.mark.parametrize("name", ["reconstruction", "taylor"])
def test_a_filter_that_nobody_reads_goes_first(name):
    model, given = two_layers()
    model[3].weight.data[:, 2] = 0
    probe = Batch((torch.randn(128, 2, 5, 5),), {}, torch.zeros(128, dtype=torch.int64))
    model_out = nn.Sequential(model, nn.Flatten())
    program = record_model(model_out, (torch.zeros(2, 2, 5, 5),), {})
    given = Evidence(program, trace_program(program).groups[:1], {}, [probe])
    assert SELECTIONS[name](given)["0.0"][0] == 2


def test_reconstruction_of_a_group_without_a_reader_is_by_norm():
    """What a padded branch adds to the sum is read with all else that is in it, by no layer of its own."""
    found = evidence("residual", "pad")
    mine, norms = SELECTIONS["reconstruction"](found), SELECTIONS["l1"](found)
    by_norm = {name for name in mine if mine[name].tolist() == norms[name].tolist()}
    assert by_norm == {"conv2", "shortcut", "conv3"}


class Reader(nn.Module):
    """A linear layer read by another one, which is written in one of several ways."""

    def __init__(self, form: str) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(3)
        self.form, self.first = form, nn.Linear(4, 6, bias=False)
        self.first.weight.data = torch.randn(6, 4, generator=draw)
        weight, bias = torch.randn(2, 6, generator=draw), torch.randn(2, generator=draw)
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.register_buffer("table", weight / 2)
        self.register_buffer("shift", bias / 2)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.first(x))
        forms = {
            "linear": lambda: functional.linear(h, self.weight, self.bias),
            "computed weight": lambda: functional.linear(h, self.table * 2, self.bias),
            "computed bias": lambda: functional.linear(h, self.weight, self.shift * 2),
            "addmm": lambda: torch.addmm(self.bias, h, self.weight.t()),
            "matmul": lambda: h @ self.weight.T + self.bias,
        }
        return forms[self.form]()


@pytest.mark.parametrize("form", ["computed weight", "computed bias", "addmm", "matmul"])
def test_a_reader_is_asked_however_it_is_written(form):
    """What cannot be set anew can be read all the same; the order is that of the plain layer, and not by norm."""

    def orders(form: str, selection: str) -> list[int]:
        program = record_model(Reader(form).eval(), (torch.zeros(2, 4),), {})
        groups = [group for group in trace_program(program).groups if group.name == "first"]
        probe = torch.randn(256, 4, generator=torch.Generator().manual_seed(1))
        return SELECTIONS[selection](Evidence(program, groups, {}, [probe]))["first"].tolist()

    assert orders(form, "reconstruction") == orders("linear", "reconstruction") != orders("linear", "l1")


def test_taylor_without_labels_says_so():
    _, given = two_layers()
    with pytest.raises(LabelsError, match="needs integer labels"):
        SELECTIONS["taylor"](given)


def test_chance_depends_on_the_seed_and_the_name():
    given = evidence("residual")
    other = Evidence(given.program, given.groups, given.spectra, given.batches, seed=1)
    one, two = SELECTIONS["random"](given), SELECTIONS["random"](other)
    assert any(one[name].tolist() != two[name].tolist() for name in one)


def test_counts_keep_the_last_in_ascending_order():
    assert keep_last({"a": np.array([3, 0, 2, 1])}, {"a": 2}).indices["a"].tolist() == [1, 2]


class Backwards:
    @hookimpl
    def pfa_gate_selection(self, name: str):
        def of(given: Evidence) -> Orders:
            return {group.name: np.arange(group.width)[::-1] for group in given.groups}

        return of if name == "backwards" else None


def test_another_package_adds_a_selection():
    manager = pluggy.PluginManager("pfa_gate")
    manager.add_hookspecs(Hooks)
    manager.register(Backwards())
    orders = criterion("backwards", manager)(two_layers()[1])
    assert orders["0"].tolist() == [3, 2, 1, 0]
    with pytest.raises(ConfigError, match="There is no selection 'sideways'"):
        criterion("sideways", manager)
