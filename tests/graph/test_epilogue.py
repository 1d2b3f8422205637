"""What follows a layer's output: a batch norm counts where all that it reads is stored, and ends the walk elsewhere."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from pfa_gate.graph import record_model
from pfa_gate.graph.calls import calls, epilogue_of

Norm = Callable[[nn.BatchNorm2d, Tensor, Tensor], Tensor]


class Normed(nn.Module):
    def __init__(self, normed: Norm) -> None:
        super().__init__()
        self.first, self.norm, self.normed = nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), normed

    def forward(self, x: Tensor) -> Tensor:
        return self.normed(self.norm, self.first(x), x.mean()).relu()


def stored(norm: nn.BatchNorm2d, x: Tensor, drawn: Tensor) -> Tensor:
    return batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)


def plain(norm: nn.BatchNorm2d, x: Tensor, drawn: Tensor) -> Tensor:
    return batch_norm(x, norm.running_mean, norm.running_var)


def mean_of_the_batch(norm: nn.BatchNorm2d, x: Tensor, drawn: Tensor) -> Tensor:
    return batch_norm(x, norm.running_mean + drawn, norm.running_var, norm.weight, norm.bias)


def weight_of_the_batch(norm: nn.BatchNorm2d, x: Tensor, drawn: Tensor) -> Tensor:
    return batch_norm(x, norm.running_mean, norm.running_var, norm.weight * drawn, norm.bias)


def bias_of_the_batch(norm: nn.BatchNorm2d, x: Tensor, drawn: Tensor) -> Tensor:
    return batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias + drawn)


def followed(normed: Norm) -> tuple[Tensor, Tensor, str | None, bool]:
    net = Normed(normed).eval()
    with torch.no_grad():
        for place, value in enumerate((net.norm.running_mean, net.norm.running_var, net.norm.weight, net.norm.bias)):
            assert value is not None
            value.copy_(torch.tensor([1.0, 2.0, 3.0]) + place)
    program = record_model(net, (torch.randn(2, 1, 4, 4),), {})
    epilogue = epilogue_of(program, calls(program)[0])
    return epilogue.scale, epilogue.shift, epilogue.mean, epilogue.rectified


def test_a_norm_of_stored_values_counts() -> None:
    scale, shift, mean, rectified = followed(stored)
    expected = torch.tensor([3.0, 4, 5], dtype=torch.float64) / (torch.tensor([2.0, 3, 4]).double() + 1e-5).sqrt()
    torch.testing.assert_close(scale, expected)
    torch.testing.assert_close(
        shift, torch.tensor([4.0, 5, 6]).double() - torch.tensor([1.0, 2, 3]).double() * expected
    )
    assert (mean, rectified) == ("norm.running_mean", True)


def test_a_norm_without_weights_counts() -> None:
    scale, _, mean, rectified = followed(plain)
    torch.testing.assert_close(scale, (torch.tensor([2.0, 3, 4]).double() + 1e-5).rsqrt())
    assert (mean, rectified) == ("norm.running_mean", True)


@pytest.mark.parametrize("normed", [mean_of_the_batch, weight_of_the_batch, bias_of_the_batch])
def test_a_norm_that_reads_the_batch_ends_the_walk(normed: Norm) -> None:
    scale, shift, mean, rectified = followed(normed)
    assert (scale.tolist(), shift.tolist(), mean, rectified) == ([1.0] * 3, [0.0] * 3, None, False)
