"""The proof runs on the example and on random inputs: side by side where they are small, else one by one."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.fx import symbolic_trace

from pfa_gate.compress.prune import compress, prove
from pfa_gate.compress.prune.arguments import RemainingValues
from pfa_gate.compress.prune.cut import axis_indices_of, narrow
from pfa_gate.compress.prune.proof import SMALL_INPUTS, SMALL_VALUES, Proof, Silenced
from pfa_gate.compress.prune.silence import at_precision
from pfa_gate.errors import SurgeryError
from pfa_gate.graph import record_model, trace
from pfa_gate.graph.editing import as_module

KEEP = {"inner": np.array([0, 2])}
BATCHES: list[int] = []  # those that the networks of this file were called on


class Network(nn.Module):
    def __init__(self, batch: int = -1, repeats: int = 1) -> None:
        super().__init__()
        self.inner, self.outer, self.batch, self.repeats = nn.Linear(6, 4), nn.Linear(4, 2), batch, repeats

    def forward(self, x: Tensor) -> Tensor:
        BATCHES.append(x.shape[0])
        made: Tensor = self.outer(self.inner(x.reshape(self.batch, 6)).relu())
        return made.repeat(1, self.repeats)


def cut_of(model: nn.Module, samples: int) -> tuple[nn.Module, Silenced]:
    """The smaller model, and its reference on a batch of so many samples."""
    example = torch.randn(samples, 6, generator=torch.Generator().manual_seed(1))
    groups = trace(model.eval(), example)
    indices = axis_indices_of(groups, KEEP)
    BATCHES.clear()
    return narrow(model, indices), Silenced(model, groups, indices, RemainingValues(groups, KEEP), ((example,), {}))


def passed(proof: Proof) -> tuple[bool, str, int]:
    return proof.passed, proof.dtype, proof.inputs


def test_small_inputs_are_tried_in_one_pass_of_each_model() -> None:
    smaller, silenced = cut_of(Network(), 3)
    assert passed(prove(smaller, silenced)) == (True, "float64", 3)
    assert BATCHES == [9, 9]


def test_a_reference_runs_once_for_all_that_is_compared_with_it() -> None:
    smaller, silenced = cut_of(Network(), 3)
    prove(smaller, silenced)
    prove(smaller, silenced)
    assert BATCHES == [9, 9, 9]


def test_large_inputs_are_tried_one_by_one() -> None:
    samples = SMALL_INPUTS // 6 + 1
    smaller, silenced = cut_of(Network(), samples)
    assert passed(prove(smaller, silenced)) == (True, "float64", 2)
    assert set(BATCHES) == {samples}
    assert len(BATCHES) == 4  # the example and as many random samples, through two models


def test_small_inputs_of_large_values_are_tried_one_by_one() -> None:
    smaller, silenced = cut_of(Network(repeats=SMALL_VALUES // 6 + 1), 3)
    assert passed(prove(smaller, silenced)) == (True, "float64", 3)
    assert BATCHES == [3, 3, 3, 3, 3, 3]


def test_a_model_of_one_batch_is_tried_on_that_batch() -> None:
    smaller, silenced = cut_of(Network(batch=3), 3)
    assert passed(prove(smaller, silenced)) == (True, "float64", 3)
    assert BATCHES[-6:] == [3] * 6


def test_a_graph_with_a_batch_written_into_it_is_tried_on_that_batch() -> None:
    smaller, silenced = cut_of(Network(), 3)
    vars(smaller)["batch"] = 3
    graph = symbolic_trace(smaller)
    BATCHES.clear()
    assert passed(prove(graph, silenced)) == (True, "float64", 3)
    assert BATCHES == [9, 3, 3, 3]  # of the reference; a graph notes nothing
    assert {tensor.dtype for tensor in graph.parameters()} == {torch.float32}


def test_an_error_in_one_of_the_inputs_is_seen() -> None:
    smaller, silenced = cut_of(Network(), 3)
    smaller.register_forward_hook(lambda _, __, output: output + torch.arange(9)[:, None].eq(8) * 1e-8)
    proof = prove(smaller, silenced)
    assert not proof.passed
    assert 1e-9 < proof.max_error < 1e-7


def test_a_smaller_model_that_does_not_run_is_refused() -> None:
    smaller, silenced = cut_of(Network(), 3)
    smaller.outer = nn.Linear(3, 2)
    with pytest.raises(SurgeryError) as refused:
        prove(smaller, silenced)
    assert str(refused.value) == (
        "The compressed model does not run: RuntimeError: mat1 and mat2 shapes cannot be multiplied (9x2 and 3x2)"
    )


class Drawing(nn.Module):
    """Numbers drawn in each forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(6, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x + torch.rand_like(x)).relu())


def test_a_forward_that_draws_numbers_draws_the_same_for_both() -> None:
    model, example = Drawing().eval(), torch.randn(3, 6)
    state = torch.get_rng_state()
    found = compress(model, trace(model, example), KEEP, ((example,), {}))
    assert (found.put_back, found.proof.passed, found.form) == ({}, True, "module")
    assert torch.equal(torch.get_rng_state(), state)


class Boxes(nn.Module):
    """Widths of boxes, looked up: a box whose corners are drawn apart has none."""

    def __init__(self) -> None:
        super().__init__()
        self.widths, self.inner, self.outer = nn.Embedding(8, 6), nn.Linear(6, 4), nn.Linear(4, 2)

    def forward(self, boxes: Tensor) -> Tensor:
        return self.outer(self.inner(self.widths(boxes[..., 2] - boxes[..., 0])).relu())


def test_integers_that_belong_together_are_drawn_together() -> None:
    corners = torch.tensor([[0, 0, 7, 7], [5, 1, 6, 3], [3, 3, 3, 6]])
    example = torch.stack([corners, corners.flip(0)])
    found = compress(Boxes(), trace(Boxes(), example), KEEP, ((example,), {}))
    assert (found.put_back, found.proof.inputs) == ({}, 3)


class Casting(nn.Module):
    """A network that casts to single precision, with inputs by keyword and outputs by name."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 3)
        self.register_buffer("scale", torch.full((3,), 1 / 3))

    def forward(self, one: Tensor, other: Tensor) -> dict[str, Tensor]:
        made = self.second(self.first(one).float()) * self.scale
        return {"made": made, "less": made - other.to(torch.float32)}


def test_a_graph_that_casts_to_single_precision_runs_in_double() -> None:
    model, one, other = Casting().eval(), torch.randn(2, 3), torch.randn(2, 3)
    graph = as_module(record_model(model, (), {"one": one, "other": other}))
    found = at_precision(graph, torch.float64)(other=other.double(), one=one.double())
    weights = {name: tensor.double() for name, tensor in model.state_dict().items()}
    inner = one.double() @ weights["first.weight"].T + weights["first.bias"]
    made = (inner @ weights["second.weight"].T + weights["second.bias"]) * weights["scale"]
    assert found.keys() == {"made", "less"}
    torch.testing.assert_close(found["made"], made, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(found["less"], made - other.double(), rtol=1e-13, atol=1e-13)
    assert graph(one=one, other=other)["made"].dtype == torch.float32
