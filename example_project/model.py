"""The network: a residual trunk and a plain branch that read the same stem and share one linear head."""

import torch
from torch import Tensor, nn


class Convolution(nn.Conv2d):
    """A convolution with its batch norm, which has the bias."""

    def __init__(self, inputs: int, outputs: int, *, size: int = 3, stride: int = 1) -> None:
        super().__init__(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        return self.norm(super().forward(x))


class Block(nn.Module):
    """Two convolutions beside a shortcut, which is projected where the width or the stride changes."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.first = Convolution(inputs, outputs, stride=stride)
        self.second = Convolution(outputs, outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else Convolution(inputs, outputs, size=1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        return torch.relu(self.second(torch.relu(self.first(x))) + self.shortcut(x))


class Digits(nn.Module):
    """Scores for ten digits from one 8 x 8 image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = Convolution(1, width)
        self.trunk = nn.Sequential(
            Block(width, width),
            Block(width, 2 * width, stride=2),
            Block(2 * width, 2 * width),
        )
        self.branch = nn.ModuleList([Convolution(width, width, stride=2), Convolution(width, width)])
        self.head = nn.Linear(3 * width, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, 1, 8, 8] to scores [N, 10]."""
        x = torch.relu(self.stem(images))
        beside = x
        for convolution in self.branch:
            beside = torch.relu(convolution(beside))
        features = torch.cat([self.trunk(x), beside], dim=1)
        return self.head(features.mean(dim=(2, 3)))


def build(width: int = 32) -> Digits:
    """Give the network with random weights; `width` is the number of filters in the stem."""
    return Digits(width)
