"""KSE against the definitions of the paper written out in loops, and `activation` by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pfa_gate.analysis.spectrum import analyse
from pfa_gate.compress.select import SELECTIONS, Evidence
from pfa_gate.compress.select.kernels import NEIGHBOURS, indicator
from pfa_gate.graph import record_model, trace_program


def entropy(kernels: np.ndarray) -> float:
    """Of the kernels [N, D] of one filter; in bits."""
    densities = []
    for one, kernel in enumerate(kernels):
        distances = sorted(np.linalg.norm(kernel - other) for at, other in enumerate(kernels) if at != one)
        densities.append(sum(distances[:NEIGHBOURS]))
    total = sum(densities)
    return -sum(each / total * math.log2(each / total) for each in densities if each) if total else 0.0


def scaled(values: list[float]) -> np.ndarray:
    low, high = min(values), max(values)
    return np.array([(value - low) / (high - low) if high > low else 0.0 for value in values])


def by_definition(kernels: np.ndarray) -> np.ndarray:
    sparsity, entropies = scaled([np.abs(each).sum() for each in kernels]), scaled([entropy(each) for each in kernels])
    return scaled(list(np.sqrt(sparsity / (1 + entropies))))


@given(st.integers(1, 7), st.integers(1, 12), st.integers(1, 9), st.integers(0, 99))
def test_the_indicator_is_the_papers(filters: int, readers: int, taps: int, seed: int) -> None:
    kernels = np.random.default_rng(seed).standard_normal((filters, readers, taps))
    np.testing.assert_allclose(indicator(torch.from_numpy(kernels)), by_definition(kernels), atol=1e-9)


def order_of(model: nn.Module, example: torch.Tensor, name: str = "0") -> list[int]:
    program = record_model(model.eval(), (example,), {})
    group = next(group for group in trace_program(program).groups if group.name == name)
    return SELECTIONS["kse"](Evidence(program, [group], {}, []))[name].tolist()


@pytest.mark.parametrize("form", ["convolution", "grouped", "flattened"])
def test_the_kernels_are_those_of_the_layer_that_reads(form: str) -> None:
    torch.manual_seed(0)
    first, image = nn.Conv2d(2, 6, 3), torch.zeros(2, 2, 5, 5)
    if form == "flattened":
        reader = nn.Linear(6 * 9, 8)
        model = nn.Sequential(first, nn.Flatten(), reader)
        kernels = reader.weight.detach().reshape(8, 6, 9).transpose(0, 1)
    else:
        reader = nn.Conv2d(6, 8, 3, groups=2 if form == "grouped" else 1)
        model = nn.Sequential(first, nn.ReLU(), reader)
        kernels = reader.weight.detach().reshape(8, -1, 9).transpose(0, 1)
    found = order_of(model, image)
    if form == "grouped":  # only filters that are read alike go together
        assert sorted(found) == list(range(len(found)))
        return
    assert found == by_definition(kernels.double().numpy()).argsort(kind="stable").tolist()


def test_the_order_of_readers_and_the_sign_of_weights_do_not_matter() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(3, 7), nn.ReLU(), nn.Linear(7, 9))
    before = order_of(model, torch.zeros(2, 3))
    with torch.no_grad():
        model[2].weight.copy_(-model[2].weight[torch.randperm(9)])
    assert order_of(model, torch.zeros(2, 3)) == before


def test_what_varies_least_goes_first_by_activation() -> None:
    draw = np.random.default_rng(0).standard_normal((200, 4)) * [3, 0, 1, 2] + 5
    given = SimpleNamespace(groups=[SimpleNamespace(name="stem")], spectra={"stem": analyse(draw)})
    assert SELECTIONS["activation"](given)["stem"].tolist() == [1, 2, 3, 0]
