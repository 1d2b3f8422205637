"""Inactive filters are constants: folded into the readers' biases where that is exact."""

import numpy as np
import pytest
import torch
from networks import conditioned
from torch import Tensor, nn

from pfa_gate.compress.prune import compress, fold_constants, removed_and_inactive
from pfa_gate.graph import trace


class Shifted(nn.Module):
    """Convolution, batch norm with a shift, sigmoid: a dead filter still gives its reader a number."""

    def __init__(self, padding: int, bias: bool) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 6, 3, padding=padding, bias=bias)
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.first(x)).sigmoid()
        return self.head(self.second(x).relu().mean((2, 3)))


def with_dead_filters(padding: int = 0, bias: bool = True) -> tuple[nn.Module, Tensor]:
    model = conditioned(Shifted(padding, bias))
    with torch.no_grad():
        model.get_submodule("first").weight[[2, 5]] = 0
    return model, torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("bias", [True, False])
def test_the_cut_model_equals_the_untouched_one(bias: bool) -> None:
    model, example = with_dead_filters(bias=bias)
    folded = fold_constants(model, trace(model, example), {"first": [2, 5]}, ((example,), {}))
    assert folded is not None
    assert folded.proof.passed
    keep = {"first": [0, 1, 3, 4, 6, 7]}
    smaller = compress(folded.model, trace(folded.model, example), keep, ((example,), {})).model
    assert smaller.get_submodule("first").weight.shape[0] == 6
    fresh = torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(smaller(fresh), model(fresh), rtol=1e-5, atol=1e-5)


def test_without_folding_the_constant_would_be_lost() -> None:
    model, example = with_dead_filters()
    smaller = compress(model, trace(model, example), {"first": [0, 1, 3, 4, 6, 7]}, ((example,), {})).model
    with torch.no_grad():
        assert float((smaller(example) - model(example)).abs().max()) > 0.01


def test_zero_padding_makes_a_border_so_nothing_is_folded() -> None:
    model, example = with_dead_filters(padding=1)
    assert fold_constants(model, trace(model, example), {"first": [2, 5]}, ((example,), {})) is None


def test_a_filter_that_is_constant_on_the_example_alone_is_not_folded() -> None:
    model, _ = with_dead_filters()
    with torch.no_grad():
        model.get_submodule("first").weight[3, 0] = 1.0
        model.get_submodule("first").weight[3, 1:] = 0.0
    example = torch.randn(2, 3, 8, 8)
    example[:, 0] = 0.25
    coupling = trace(model, example)
    assert fold_constants(model, coupling, {"first": [3]}, ((example,), {})) is None


def test_the_model_is_not_changed() -> None:
    model, example = with_dead_filters()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    fold_constants(model, trace(model, example), {"first": [2, 5]}, ((example,), {}))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_only_inactive_filters_that_go_are_candidates() -> None:
    found = removed_and_inactive({"a": [0, 1], "b": [0, 1, 2]}, {"a": [True, False, True, False], "b": [False] * 3})
    assert [(name, filters.tolist()) for name, filters in found] == [("a", [2])]
    assert not list(removed_and_inactive({"a": np.array([0])}, {}))
