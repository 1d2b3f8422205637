"""The network: a residual trunk and a plain branch that read the same stem and share one linear head."""

import torch
from torch import Tensor, nn


def convolution(inputs: int, outputs: int, *, size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution and batch norm; the norm has the bias, so the convolution needs none."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


class Block(nn.Module):
    """Two convolutions beside a shortcut, which is projected where the width or the stride changes."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Sequential(convolution(inputs, outputs, stride=stride), nn.ReLU())
        self.second = convolution(outputs, outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else convolution(inputs, outputs, size=1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        return torch.relu(self.second(self.first(x)) + self.shortcut(x))


class Digits(nn.Module):
    """Scores for ten digits from one 8 x 8 image."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolution(1, width), nn.ReLU())
        self.trunk = nn.Sequential(
            Block(width, width),
            Block(width, 2 * width, stride=2),
            Block(2 * width, 2 * width),
        )
        self.branch = nn.Sequential(
            nn.Sequential(convolution(width, width, stride=2), nn.ReLU()),
            nn.Sequential(convolution(width, width), nn.ReLU()),
        )
        self.head = nn.Linear(3 * width, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, 1, 8, 8] to scores [N, 10]."""
        x = self.stem(images)
        features = torch.cat([self.trunk(x), self.branch(x)], dim=1)
        return self.head(features.mean(dim=(2, 3)))


def build(width: int = 32) -> Digits:
    """Give the network with random weights; `width` is the number of filters in the stem."""
    return Digits(width)
