"""What depends on parameters alone is computed once, unless a generator takes part."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pfa_gate.graph import record_model

DRAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "rand_like": torch.rand_like,
    "bernoulli": torch.bernoulli,
    "normal": lambda rate: torch.normal(rate, 0.1),
    "poisson": torch.poisson,
    "exponential, in place": lambda rate: torch.empty_like(rate).exponential_(),
    "dropout": lambda rate: torch.dropout(rate, 0.5, True),
}


class Scaled(nn.Module):
    """An activation times what is made of a parameter."""

    def __init__(self, made: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.made, self.rate = made, nn.Parameter(torch.full((3,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.made(self.rate)


@torch.library.custom_op("pfa_gate_tests::operand", mutates_args=())
def operand(rate: Tensor) -> Tensor:
    """An operator in whose name "rand" stands by chance."""
    return rate.square()


operand.register_fake(torch.empty_like)


def folded(made: Callable[[Tensor], Tensor]) -> list[str]:
    return list(record_model(Scaled(made), (torch.zeros(2, 3),), {}).folded)


@pytest.mark.parametrize("name", DRAWS)
def test_what_a_generator_draws_is_no_constant(name: str) -> None:
    assert [constant for constant in folded(DRAWS[name]) if "empty" not in constant] == []


@pytest.mark.parametrize("made", [torch.erf, operand], ids=["erf", "operand"])
def test_what_nobody_draws_is_one(made: Callable[[Tensor], Tensor]) -> None:
    assert len(folded(made)) == 1


def test_attention_that_drops_nothing_draws_nothing() -> None:
    def attended(rate: Tensor) -> Tensor:
        rows = rate.expand(1, 1, 2, 3)
        return nn.functional.scaled_dot_product_attention(rows, rows, rows).flatten(0, 2)

    assert folded(attended) == ["folded:expand", "folded:scaled_dot_product_attention", "folded:flatten"]


@pytest.mark.parametrize("made", [torch.exp, lambda rate: (1 + rate).unsqueeze(0), lambda rate: rate[None].view(1, 3)])
def test_a_vector_that_activations_read_elementwise_is_followed_itself(made: Callable[[Tensor], Tensor]) -> None:
    assert folded(made) == []
