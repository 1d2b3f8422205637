"""Attention over channels, without softmax, and with complex rotations: a head is a filter, in any order of axes."""

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


class Linear(nn.Module):
    """As in EfficientViT: keys and values are multiplied first, beside a one that gives the sum of the keys."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.width = 12 // heads
        self.embed, self.pack, self.project = nn.Conv2d(3, 12, 1), nn.Conv2d(12, 36, 1), nn.Conv2d(12, 12, 1)
        self.head = nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        packed = self.pack(x).reshape(x.shape[0], -1, 3 * self.width, 20).transpose(-1, -2)
        query, key, value = packed.chunk(3, -1)
        value = functional.pad(value, (0, 1), mode="constant", value=1)
        mixed = query.relu() @ (key.relu().transpose(-1, -2) @ value)
        mixed = mixed[..., :-1] / (mixed[..., -1:] + 1e-3)
        return self.head(x + self.project(mixed.transpose(-1, -2).reshape(x.shape)))  # type: ignore[no-any-return]


class Rotated(nn.Module):
    """As the first Llama: pairs of a head's channels are complex numbers, turned by their place."""

    turns: Tensor

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.embed, self.project, self.head = nn.Linear(3, 16), nn.Linear(16, 16), nn.Linear(16, 2)
        self.pack = nn.Linear(16, 48)
        angles = torch.outer(torch.arange(5.0), torch.rand(8 // heads))
        self.register_buffer("turns", torch.polar(torch.ones_like(angles), angles))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        query, key, value = self.pack(x).view(*x.shape[:2], 3, self.heads, -1).unbind(2)
        query, key = self.turned(query).transpose(1, 2), self.turned(key).transpose(1, 2)
        mixed = (query @ key.transpose(2, 3)).softmax(-1) @ value.transpose(1, 2)
        return self.head(x + self.project(mixed.transpose(1, 2).flatten(2)))  # type: ignore[no-any-return]

    def turned(self, x: Tensor) -> Tensor:
        pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
        return torch.view_as_real(pairs * self.turns.view(1, x.shape[1], 1, -1)).flatten(3)


NETWORKS: dict[str, tuple[type[nn.Module], tuple[int, ...], int]] = {
    "tokens": (CrossCovariance, (2, 5, 3), 12),
    "images": (Transposed, (2, 3, 4, 5), 12),
    "linear": (Linear, (2, 3, 4, 5), 12),
    "rotated": (Rotated, (2, 5, 3), 16),
}


@pytest.mark.parametrize("heads", [2, 4])
@pytest.mark.parametrize(("make", "shape", "width"), NETWORKS.values(), ids=NETWORKS)
def test_a_head_is_a_filter(make: type[nn.Module], shape: tuple[int, ...], width: int, heads: int) -> None:
    example = torch.randn(shape)
    cut = halved(make(heads), example)
    assert {name: cut.groups.group(name).width for name in cut.keep} == {"embed": width, "pack": heads}
    assert cut.left < 0.4
    assert_alike(cut.result.model, cut.silenced(), example)
