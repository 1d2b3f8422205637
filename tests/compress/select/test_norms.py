"""Selections by weights alone, against the same norms taken of the module by hand."""

import numpy as np
import torch
from networks import conditioned, network
from torch import Tensor, nn
from torch.nn import functional

from pfa_gate.compress.select import SELECTIONS, Evidence
from pfa_gate.graph import record_model, trace_program


def orders(model: nn.Module, example: Tensor, group: str) -> dict[str, list[int]]:
    """Of one group by each of the three, from one export."""
    program = record_model(model.eval(), (example,), {})
    groups = [each for each in trace_program(program).groups if each.name == group]
    given = Evidence(program, groups, {}, [])
    return {name: SELECTIONS[name](given)[group].tolist() for name in ("l1", "geometric_median", "batchnorm")}


def l1(layer: nn.Module, axis: int = 0) -> np.ndarray:
    return layer.weight.detach().abs().double().movedim(axis, 0).flatten(1).sum(1).numpy()


def distances(layer: nn.Module, axis: int = 0) -> np.ndarray:
    rows = layer.weight.detach().double().movedim(axis, 0).flatten(1).numpy()
    return np.array([sum(np.linalg.norm(row - other) for other in rows) for row in rows])


def scales(norm: nn.Module) -> np.ndarray:
    return norm.weight.detach().abs().double().numpy()


def mean_order(*importances: np.ndarray) -> list[int]:
    """Each maker by its own mean."""
    return np.argsort(sum(each / each.mean() for each in importances), kind="stable").tolist()


def test_all_makers_of_a_sum_count_alike() -> None:
    """Whatever the size of the weights of one of them is."""
    model, example = network("residual")
    model.shortcut.weight.data *= 100
    model.norm3.weight.data[3] *= -1
    assert orders(model, example, "shortcut") == {
        "l1": mean_order(l1(model.conv3), l1(model.shortcut)),
        "geometric_median": mean_order(distances(model.conv3), distances(model.shortcut)),
        "batchnorm": mean_order(scales(model.norm3), l1(model.shortcut)),
    }


def test_filters_of_a_transposed_convolution_lie_along_its_second_axis() -> None:
    model, example = network("decoder")
    assert orders(model, example, "up") == {
        "l1": mean_order(l1(model.up, 1)),
        "geometric_median": mean_order(distances(model.up, 1)),
        "batchnorm": mean_order(l1(model.up, 1)),
    }


def test_a_weight_under_two_names_counts_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(3, 6), nn.Linear(3, 6)
            self.other, self.head = nn.Linear(3, 6), nn.Linear(6, 2)
            self.two.weight = self.one.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.head((self.one(x) + self.two(x.relu()) + self.other(x)).relu())

    model = conditioned(Twice(), seed=5)
    once, twice = mean_order(l1(model.one), l1(model.other)), mean_order(l1(model.one), l1(model.one), l1(model.other))
    assert orders(model, torch.randn(2, 3), "one")["l1"] == once != twice


def test_weights_of_nothing_come_in_order() -> None:
    model = nn.Sequential(nn.Linear(3, 40), nn.ReLU(), nn.Linear(40, 2))
    model[0].weight.data.zero_()
    assert set(map(tuple, orders(model, torch.randn(2, 3), "0").values())) == {tuple(range(40))}


def test_a_maker_of_nothing_leaves_the_order_to_the_others() -> None:
    model, example = network("residual")
    model.shortcut.weight.data.zero_()
    assert orders(model, example, "shortcut") == {
        "l1": mean_order(l1(model.conv3)),
        "geometric_median": mean_order(distances(model.conv3)),
        "batchnorm": mean_order(scales(model.norm3)),
    }


def test_distances_do_not_depend_on_what_all_filters_share() -> None:
    """A large offset swallows them where they are taken by products; there are more than 25 filters, as for that."""
    model = nn.Sequential(nn.Linear(3, 40), nn.ReLU(), nn.Linear(40, 2)).double()
    whole = torch.randint(3, (40, 3), generator=torch.Generator().manual_seed(0)).double()
    model[0].weight.data = whole
    plain = orders(model, torch.randn(2, 3).double(), "0")["geometric_median"]
    model[0].weight.data = whole + 2.0**40
    assert orders(model, torch.randn(2, 3).double(), "0")["geometric_median"] == plain


class Normed(nn.Module):
    """A batch norm written by hand, whose tensors have other names than torch's."""

    def __init__(self, affine: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.head = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 2, 1)
        self.gamma = nn.Parameter(torch.tensor([0.5, -2.0, 0.1, 1.0])) if affine else None
        self.register_buffer("centre", torch.tensor([4.0, 3.0, 2.0, 1.0]))
        self.register_buffer("spread", torch.tensor([1.0, 2.0, 3.0, 4.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(functional.batch_norm(self.conv(x), self.centre, self.spread, self.gamma).relu())


def test_the_scale_of_a_batch_norm_is_known_by_its_place_and_not_by_its_name() -> None:
    model, example = Normed(affine=True), torch.randn(2, 2, 3, 3)
    assert orders(model, example, "conv")["batchnorm"] == [2, 0, 3, 1]
    named = nn.Sequential()
    named.add_module("running_mean_block", nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)))
    named.running_mean_block[1].weight.data = torch.tensor([0.5, -2.0, 0.1, 1.0])
    assert orders(named, example, "running_mean_block.0")["batchnorm"] == [2, 0, 3, 1]


def test_a_batch_norm_without_a_scale_leaves_the_norm_of_the_weights() -> None:
    model = Normed(affine=False)
    assert orders(model, torch.randn(2, 2, 3, 3), "conv")["batchnorm"] == mean_order(l1(model.conv))


class Units(nn.Module):
    """Recurrent units, read by a head; experts, whose weights lie in one tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.experts, self.head = (
            nn.GRU(4, 6, batch_first=True),
            nn.Parameter(torch.randn(2, 6, 5)),
            nn.Linear(5, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.einsum("btd,edf->ebtf", self.rnn(x)[0], self.experts).relu().sum(0))  # type: ignore[no-any-return]


def test_units_and_experts_count_by_their_weights_too() -> None:
    model, example = conditioned(Units()), torch.randn(2, 3, 4)
    gates = (
        model.rnn.weight_ih_l0.view(3, 6, 4).abs().sum((0, 2)),
        model.rnn.weight_hh_l0.view(3, 6, 6).abs().sum((0, 2)),
    )
    read = model.rnn.weight_hh_l0.abs().sum(0) / model.rnn.weight_hh_l0.abs().sum(0).mean()
    units = sum(3 * each / each.mean() for each in gates) + read
    assert orders(model, example, "rnn")["l1"] == units.argsort().tolist()
    assert orders(model, example, "experts")["l1"] == model.experts.abs().sum((0, 1)).argsort().tolist()
