"""Attention and layers written with einsum, as many public models have them."""

import copy
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from networks import conditioned
from torch import Tensor, nn

from pfa_gate.compress.prune import compress
from pfa_gate.graph import Coupling, trace
from pfa_gate.graph.cost import cost
from pfa_gate.model import batch_of


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


class Heads(nn.Module):
    """Four heads, each with matrices and a shift of its own, in tensors of three axes."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(6, 12), nn.Linear(12, 3)
        self.query, self.key, self.value = (nn.Parameter(torch.randn(12, 4, 5)) for _ in range(3))
        self.shift, self.out = nn.Parameter(torch.randn(4, 5)), nn.Parameter(torch.randn(4, 5, 12))

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        weights = (self.query, self.key, self.value)
        query, key, value = (torch.einsum("b t d, d h k -> b t h k", x, weight) for weight in weights)
        scores = torch.einsum("bthk,bshk->bhts", query + self.shift, key).softmax(-1)
        mixed = torch.einsum("bhts,bshk->bthk", scores, value)
        return self.head(x + torch.einsum("bthk,hkd->btd", mixed, self.out))


class Dots(nn.Module):
    """Leading axes as dots, a result that is left out, axes turned, and a weight that stands first."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = nn.Linear(6, 8), nn.Parameter(torch.randn(3, 9))
        self.first, self.second = nn.Parameter(torch.randn(8, 10)), nn.Parameter(torch.randn(10, 9))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.einsum("...d,dk->...k", self.inner(x).relu(), self.first).relu()
        x = torch.einsum("bik,kz", x, self.second).relu()
        turned = torch.einsum("biz->zbi", x)
        return torch.einsum("oz,zbi->bio", self.last, turned)


class Pointwise(nn.Module):
    """Products over channels that stand before space."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.randn(8, 6)), nn.Parameter(torch.randn(9, 8))
        self.last = nn.Parameter(torch.randn(3, 9))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.einsum("oc,bcl->bol", self.first, x.transpose(1, 2)).relu()
        return self.last @ (self.second @ x).relu()


CASES = {
    "attention": (Attention, (2, 5, 6)),
    "matrix": (Matrix, (2, 5)),
    "heads": (Heads, (2, 5, 6)),
    "dots": (Dots, (2, 5, 6)),
    "pointwise": (Pointwise, (2, 5, 6)),
}
FREE = {
    "attention": [("inner", 12), ("qkv", 4)],
    "matrix": [("first", 8)],
    "heads": [("inner", 12), ("query", 4)],
    "dots": [("inner", 8), ("first", 10), ("second", 9)],
    "pointwise": [("first", 8), ("second", 9)],
}


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
    silent = copy.deepcopy(model)
    silence(silent, coupling, keep)
    fresh = torch.randn(shape)
    with torch.no_grad():
        torch.testing.assert_close(result.model(fresh), silent(fresh))


def silence(model: nn.Module, coupling: Coupling, keep: Mapping[str, np.ndarray]) -> None:
    """Zeros in all that makes or reads a filter that goes."""
    tensors = dict(model.named_parameters())
    for name, kept in keep.items():
        for part in coupling.group(name).slices:
            gone = np.flatnonzero((part.filters >= 0) & ~np.isin(part.filters, kept))
            tensors[part.parameter].data.index_fill_(part.axis, torch.from_numpy(gone), 0)


def test_what_is_summed_or_shared_by_einsum_is_counted_as_torch_counts_it() -> None:
    for build, shape in CASES.values():
        model, example = conditioned(build()), torch.randn(shape)
        whole = cost(model, batch_of(example))
        assert trace(model, example).footprint() == (whole.parameters, whole.bytes, whole.macs)


@pytest.mark.parametrize("equation", ["bb,bk->k", "bd,kk->bd", "bd,dk->b"])
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
