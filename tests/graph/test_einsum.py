"""Attention and layers written with einsum, as many public models have them."""

import numpy as np
import pytest
import torch
from networks import conditioned
from torch import Tensor, nn

from pfa_gate.compress.prune import compress
from pfa_gate.graph import trace


class Attention(nn.Module):
    """Four heads, fused queries, keys and values, two einsums."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.qkv, self.out = nn.Linear(6, 12), nn.Linear(12, 48), nn.Linear(16, 12)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        batch, length, _ = x.shape
        query, key, value = self.qkv(x).view(batch, length, 3, 4, 4).permute(2, 0, 3, 1, 4)
        scores = torch.einsum("bhid,bhjd->bhij", query, key).mul(0.5).softmax(-1)
        mixed = torch.einsum("b h i j, b h j d -> b h i d", scores, value)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, 16))
        return self.head(x.mean(1))


class Matrix(nn.Module):
    """A layer that multiplies by its own parameter, and one whose parameter stands first."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.randn(5, 8)), nn.Parameter(torch.randn(3, 8))

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.einsum("bd,dk->bk", x, self.first).relu()
        return torch.einsum("ok,bk->bo", self.second, hidden)


CASES = {"attention": (Attention, (2, 5, 6)), "matrix": (Matrix, (2, 5))}
FREE = {"attention": [("inner", 12), ("qkv", 4)], "matrix": [("first", 8)]}


@pytest.mark.parametrize("name", CASES)
def test_what_is_read_by_einsum_can_be_cut_exactly(name: str) -> None:
    build, shape = CASES[name]
    torch.manual_seed(0)
    model, example = conditioned(build()), torch.randn(shape)
    coupling = trace(model, example)
    assert [(group.name, group.width) for group in coupling.free] == FREE[name]
    keep = {group.name: np.arange(group.width)[1::2] for group in coupling.free}
    result = compress(model, coupling, keep, ((example,), {}))
    assert result.put_back == {}
    assert result.proof.max_error < 1e-12
    small = sum(parameter.numel() for parameter in result.model.parameters())
    assert small == coupling.footprint({group: len(kept) for group, kept in keep.items()}).parameters


@pytest.mark.parametrize("equation", ["...d,dk->...k", "bd,dk", "bb,bk->k"])
def test_other_equations_stay_whole_and_are_reported(equation: str) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.made, self.weight = nn.Linear(4, 4), nn.Parameter(torch.randn(4, 4))

        def forward(self, x: Tensor) -> Tensor:
            return torch.einsum(equation, self.made(x), self.weight)

    coupling = trace(Odd(), torch.randn(4, 4))
    assert not coupling.free
    assert any("einsum" in each for each in coupling.unknown)
