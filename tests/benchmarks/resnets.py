"""The CIFAR ResNets and the clean subset in the shared folder: see its cifar10/README.md."""

import os
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

SHARED = Path(os.environ.get("PFA_GATE_SHARED") or Path(__file__).parents[3] / "shared")
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Block(nn.Module):
    """Two convolutions; the shortcut is subsampled and padded with zeros (option A of He et al. 2016)."""

    def __init__(self, read: int, made: int) -> None:
        super().__init__()
        self.stride, self.pad = made // read, (made - read) // 2
        self.conv1, self.bn1 = nn.Conv2d(read, made, 3, self.stride, 1, bias=False), nn.BatchNorm2d(made)
        self.conv2, self.bn2 = nn.Conv2d(made, made, 3, 1, 1, bias=False), nn.BatchNorm2d(made)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        if self.stride > 1:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return (inner + x).relu()


class ResNet(nn.Module):
    """6 n + 2 layers in three stages of n blocks."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        widths = [(16, 16), (16, 32), (32, 64)]
        for stage, (read, made) in enumerate(widths, 1):
            stack = [Block(read, made), *(Block(made, made) for _ in range(blocks - 1))]
            setattr(self, f"layer{stage}", nn.Sequential(*stack))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(self.bn1(self.conv1(x)).relu())))
        return self.linear(x.mean((2, 3)))


def resnet(depth: int) -> nn.Module:
    """ResNet-20 or -56 with its trained weights, in eval mode."""
    model = ResNet((depth - 2) // 6)
    model.load_state_dict(load_file(SHARED / "cifar10" / f"resnet{depth}.safetensors"), strict=False)
    return model.eval()


def images(part: str) -> tuple[Tensor, Tensor]:
    """`train` or `test`: float32 [N, 3, 32, 32], normalised, and labels int64 [N]."""
    held = np.load(SHARED / "cifar10" / f"{part}.npz")
    pixels = torch.from_numpy(held["images"]).permute(0, 3, 1, 2).float() / 255
    mean, spread = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, SPREAD))
    return ((pixels - mean) / spread).contiguous(), torch.from_numpy(held["labels"]).long()


def probe() -> tuple[Tensor, Tensor]:
    """The training images, for a pfa.yaml."""
    return images("train")


def test() -> tuple[Tensor, Tensor]:
    """The test images, for a pfa.yaml."""
    return images("test")
