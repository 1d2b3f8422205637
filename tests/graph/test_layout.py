"""A program in the layout that is fastest: the same values, and not where an operator depends on the layout."""

from collections.abc import Callable

import pytest
import torch
from networks import NETWORKS, network
from torch import Tensor, nn

from pfa_gate.graph import inputs_of, record_model
from pfa_gate.graph.layout import fastest_layout


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_operator_gives_the_same(name: str) -> None:
    model, example = network(name)
    program = record_model(model, *inputs_of(example))
    layout = fastest_layout(program)
    values: list[Tensor] = []

    def observed(_node: object, value: object) -> None:
        values.append(value.clone() if isinstance(value, Tensor) else torch.zeros(()))

    program.run(*inputs_of(example), observed)
    usual, values = values, []
    program.run(*layout.of(inputs_of(example)), observed, layout.instead)
    assert len(values) == len(usual)
    for one, other in zip(values, usual, strict=True):
        assert one.shape == other.shape
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-4, equal_nan=True)


class Written(nn.Module):
    """Convolutions, and something done to the output of the first one in between."""

    def __init__(self, between: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.between = between

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.between(self.first(x)))


def through_a_view(x: Tensor) -> Tensor:
    x.view(len(x), -1).relu_()
    return x


def through_a_slice(x: Tensor) -> Tensor:
    x[:, :2].relu_()
    return x


def strided(x: Tensor) -> Tensor:
    return x.as_strided(x.shape, (x.shape[1] * x.shape[2] * x.shape[3], 36, 6, 1))


def noisy(x: Tensor) -> Tensor:
    return x + torch.rand_like(x)


@pytest.mark.parametrize(
    ("between", "last"), [(through_a_view, False), (strided, False), (noisy, False), (through_a_slice, True)]
)
def test_operators_that_depend_on_the_layout_keep_it(between: Callable[[Tensor], Tensor], last: bool) -> None:
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    model = Written(between).eval()
    program = record_model(model, (images,), {})
    layout = fastest_layout(program)
    assert layout.channels_last is last
    torch.manual_seed(0)
    with torch.no_grad():
        found = program.run((layout.of(images),), {}, None, layout.instead)
    torch.manual_seed(0)
    with torch.no_grad():
        assert torch.allclose(found, model(images), atol=1e-5)


def test_only_images_of_real_numbers_are_moved() -> None:
    layout = fastest_layout(record_model(nn.Conv2d(3, 4, 1).eval(), (torch.zeros(2, 3, 4, 5),), {}))
    values = [torch.zeros(2, 3), torch.zeros(2, 3, 4, 5, dtype=torch.int64), torch.zeros(2, 3, 4, 5), "mask"]
    moved = layout.of(values)
    assert [one is other for one, other in zip(moved, values, strict=True)] == [True, True, False, True]
    assert moved[2].is_contiguous(memory_format=torch.channels_last)
