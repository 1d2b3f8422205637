"""Small networks for tests, each with one idea, and weights under which mistakes show.

With default initialisation a permuted normalisation or a mixed-up branch changes almost nothing, so weights of
normalisations are drawn from [0.5, 1.5], shifts with a standard deviation of 0.3, and statistics are not trivial.
"""

from collections.abc import Callable
from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from pfa_gate.graph import Coupling, trace


def conditioned(model: nn.Module, seed: int = 0) -> nn.Module:
    """Give every normalisation, bias and slope values that matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if not tensor.is_floating_point():
                continue
            if name.endswith("running_var") or (tensor.ndim == 1 and name.endswith("weight")):
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
            elif tensor.ndim <= 1 or name.endswith("running_mean"):
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3)
            else:
                fan = tensor[0].numel()
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * (2 / fan) ** 0.5)
    return model.eval()


class Residual(nn.Module):
    """Stem, an identity block and a block with a projection shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.conv1, self.norm1 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv3, self.norm3 = nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16)
        self.shortcut = nn.Conv2d(8, 16, 1, stride=2)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = (x + self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))).relu()
        x = (self.shortcut(x) + self.norm3(self.conv3(x))).relu()
        return self.head(x.mean((2, 3)))


class Depthwise(nn.Module):
    """Expansion, depthwise with a multiplier of 2, squeeze-and-excite, projection."""

    def __init__(self) -> None:
        super().__init__()
        self.expand = nn.Conv2d(3, 12, 1)
        self.depth = nn.Conv2d(12, 24, 3, padding=1, groups=12)
        self.norm = nn.BatchNorm2d(24)
        self.squeeze, self.excite = nn.Conv2d(24, 6, 1), nn.Conv2d(6, 24, 1)
        self.project = nn.Conv2d(24, 8, 1)
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.hardswish(self.norm(self.depth(self.expand(x))))
        gate = functional.adaptive_avg_pool2d(x, 1)
        x = x * functional.hardsigmoid(self.excite(self.squeeze(gate).relu()))
        return self.head(self.project(x).relu())


class Grouped(nn.Module):
    """A grouped convolution between two plain ones."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3)
        self.grouped = nn.Conv2d(16, 24, 3, groups=4)
        self.norm = nn.BatchNorm2d(24)
        self.last = nn.Conv2d(24, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(functional.leaky_relu(self.norm(self.grouped(self.first(x).relu()))))


class Branches(nn.Module):
    """Concatenation of three branches, one of them pooled; then split again."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)
        self.mix = nn.Conv2d(16, 12, 1)
        self.left, self.right = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 1)
        self.head = nn.Linear(4 * 4 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        pooled = functional.max_pool2d(x, 3, stride=1, padding=1)
        x = torch.cat([self.one(x).relu(), self.two(x).sigmoid(), functional.silu(self.three(pooled))], 1)
        left, right = self.mix(x).relu().chunk(2, 1)
        x = functional.avg_pool2d(self.left(left) + self.right(right), 2)
        return self.head(x.flatten(1))


class Decoder(nn.Module):
    """Transposed convolution, a skip by concatenation, interpolation, reflection padding."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.deep = nn.Conv2d(8, 12, 3, padding=1)
        self.up = nn.ConvTranspose2d(12, 8, 2, stride=2)
        self.slope = nn.PReLU(8)
        self.skip = nn.Conv2d(3, 6, 1)
        self.out = nn.Conv2d(14, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        deep = self.slope(self.up(self.deep(self.down(x).relu()).relu()))
        x = torch.cat([deep, self.skip(x).tanh()], 1)
        return self.out(functional.pad(x, (1, 1, 1, 1), mode="reflect"))


class Sequence(nn.Module):
    """One-dimensional: convolutions over time, permutation, a linear over channels, mean over time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(4, 10, 3, padding=1), nn.BatchNorm1d(10)
        self.hidden, self.head = nn.Linear(10, 14), nn.Linear(14, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.elu(self.norm(self.conv(x))).permute(0, 2, 1)
        return self.head(self.hidden(x).relu().mean(1))


class Volume(nn.Module):
    """Three-dimensional convolutions and pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv3d(1, 6, 3, padding=1), nn.BatchNorm3d(6)
        self.next, self.head = nn.Conv3d(6, 8, 3, padding=1), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool3d(self.norm(self.conv(x)).relu(), 2)
        return self.head(self.next(x).relu().mean((2, 3, 4)))


class Shared(nn.Module):
    """One convolution called twice, and one weight under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.twice = nn.Conv2d(8, 8, 3, padding=1)
        self.head, self.again = nn.Linear(8, 4), nn.Linear(8, 4)
        self.again.weight = self.head.weight

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.twice(self.stem(x).relu()).relu()).mean((2, 3))
        return self.head(x) + self.again(x.relu())


class PaddedShortcut(nn.Module):
    """Option A of He et al. 2016: the shortcut is subsampled and padded with channels of zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv1, self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        inner = self.conv2(self.conv1(x).relu())
        x = (inner + functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 4, 4))).relu()
        return self.head(x.mean((2, 3)))


class Dense(nn.Module):
    """Every layer reads what all before it made, through a normalisation of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        widths = (8, 14, 20)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths)
        self.convs = nn.ModuleList(nn.Conv2d(width, 6, 3, padding=1, bias=False) for width in widths)
        self.head = nn.Linear(26, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = torch.cat([x, conv(norm(x).relu())], 1)
        return self.head(x.mean((2, 3)))


class Attention(nn.Module):
    """A transformer layer: projections in one weight, heads, an MLP, and normalisation over the width."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(5, 16)
        self.layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, activation="gelu", batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self.embed(x)).mean(1))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "residual": (Residual, (2, 3, 8, 8)),
    "depthwise": (Depthwise, (2, 3, 6, 6)),
    "grouped": (Grouped, (2, 3, 8, 8)),
    "branches": (Branches, (2, 3, 8, 8)),
    "decoder": (Decoder, (2, 3, 8, 8)),
    "sequence": (Sequence, (2, 4, 9)),
    "volume": (Volume, (2, 1, 4, 4, 4)),
    "shared": (Shared, (2, 3, 6, 6)),
    "padded_shortcut": (PaddedShortcut, (2, 3, 8, 8)),
}
# Of these only recovery and selection are tested here; tests/zoo cuts whole architectures of their kind.
CONNECTED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "dense": (Dense, (2, 3, 6, 6)),
    "attention": (Attention, (2, 6, 5)),
}


@cache
def coupling(name: str, residual: Literal["project", "pad"] = "project") -> Coupling:
    """The coupling of a network, traced once for all tests."""
    return trace(*network(name), residual=residual)


def network(name: str) -> tuple[nn.Module, Tensor]:
    """A conditioned network and an example batch for it."""
    build, shape = (NETWORKS | CONNECTED)[name]
    torch.manual_seed(0)
    return conditioned(build()), torch.randn(shape, generator=torch.Generator().manual_seed(1))
