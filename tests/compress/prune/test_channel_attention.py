"""Attention over the channels of each head: a head is a filter, whatever the order of its axes."""

import pytest
import torch
from halving import assert_alike, halved
from torch import Tensor, nn
from torch.nn import functional


class CrossCovariance(nn.Module):
    """As in XCiT: tokens of channels, split into heads behind the three of queries, keys and values."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.embed, self.pack, self.project = nn.Linear(3, 12), nn.Linear(12, 36), nn.Linear(12, 12)
        self.temperature, self.head = nn.Parameter(torch.ones(heads, 1, 1)), nn.Linear(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        batch, tokens, width = x.shape
        packed = self.pack(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 4, 1)
        query, key, value = packed.unbind(0)
        scores = functional.normalize(query, dim=-1) @ functional.normalize(key, dim=-1).transpose(-2, -1)
        mixed = (scores * self.temperature).softmax(-1) @ value
        return self.head(x + self.project(mixed.permute(0, 3, 1, 2).reshape(batch, tokens, width)))  # type: ignore[no-any-return]


class Transposed(nn.Module):
    """As in Restormer: images of channels, of which each head is a block."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.embed, self.pack = nn.Conv2d(3, 12, 1), nn.Conv2d(12, 36, 1)
        self.depth, self.project = nn.Conv2d(36, 36, 3, padding=1, groups=36), nn.Conv2d(12, 12, 1)
        self.temperature, self.head = nn.Parameter(torch.ones(heads, 1, 1)), nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        parts = (part.reshape(x.shape[0], self.heads, -1, 20) for part in self.depth(self.pack(x)).chunk(3, 1))
        query, key, value = parts
        scores = functional.normalize(query, dim=-1) @ functional.normalize(key, dim=-1).transpose(-2, -1)
        mixed = (scores * self.temperature).softmax(-1) @ value
        return self.head(x + self.project(mixed.reshape(x.shape)))  # type: ignore[no-any-return]


NETWORKS = {"tokens": (CrossCovariance, (2, 5, 3)), "images": (Transposed, (2, 3, 4, 5))}


@pytest.mark.parametrize("heads", [2, 4])
@pytest.mark.parametrize(("make", "shape"), NETWORKS.values(), ids=NETWORKS)
def test_a_head_is_a_filter(make: type[nn.Module], shape: tuple[int, ...], heads: int) -> None:
    example = torch.randn(shape)
    cut = halved(make(heads), example)
    assert {name: cut.groups.group(name).width for name in cut.keep} == {"embed": 12, "pack": heads}
    assert cut.left < 0.4
    assert_alike(cut.result.model, cut.silenced(), example)
