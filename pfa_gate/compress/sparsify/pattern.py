"""N:M patterns: of every M weights in a row at most N are not zero, and how far a weight meets them.

Hardware that skips zeros reads a layer as a product of matrices and groups the weights along its inner axis: M
neighbouring input channels of one filter at one place of its kernel.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Pattern:
    """At most `kept` of each `of` neighbouring weights are not zero.

    Example:
        >>> Pattern.of_text("2:4")
        Pattern(kept=2, of=4)
    """

    kept: int
    of: int

    @classmethod
    def of_text(cls, text: str) -> "Pattern":
        """The pattern of a text such as 2:4."""
        kept, of = text.split(":")
        return cls(int(kept), int(of))

    def __str__(self) -> str:
        """As it is written."""
        return f"{self.kept}:{self.of}"


COUNTED = tuple(map(Pattern.of_text, ("1:4", "2:4", "4:8")))
"""What is counted in every layer; hardware of today runs 2:4."""


@dataclass(frozen=True)
class GroupCount:
    """How many groups of a weight meet a pattern, and how many there are.

    Example:
        >>> GroupCount(3, 4).whole
        False
    """

    met: int
    groups: int

    @property
    def whole(self) -> bool:
        """Whether every group meets it."""
        return self.met == self.groups


def column_groups(taps: int, channels: int, of: int) -> Tensor:
    """The group of each column of a layer's matrix, taps first: int64 [taps x channels].

    Where `of` does not divide the channels, the last group of each tap has fewer: hardware fills it up with zeros.

    Example:
        >>> column_groups(2, 3, 2).tolist()
        [0, 0, 1, 2, 2, 3]
    """
    width = -(-channels // of)
    return (torch.arange(taps)[:, None] * width + torch.arange(channels) // of).flatten()


def groups_meeting(weight: Tensor, axis: int, pattern: Pattern, blocks: int = 1) -> GroupCount:
    """Count the groups of a weight that meet a pattern.

    Args:
        weight: of any shape.
        axis: along which the channels lie that it reads.
        pattern: which.
        blocks: into which these channels are parted, as in a transposed convolution with groups; no group spans two.

    Example:
        >>> groups_meeting(torch.tensor([[1.0, 0, 2, 0, 3, 4, 5, 0]]), 1, Pattern(2, 4))
        GroupCount(met=1, groups=2)
    """
    held = (weight != 0).movedim(axis, -1).to(torch.uint8).reshape(-1, blocks, weight.shape[axis] // blocks)
    padded = functional.pad(held, (0, -held.shape[-1] % pattern.of))
    counts = padded.reshape(-1, pattern.of).sum(1)
    return GroupCount(int((counts <= pattern.kept).sum()), counts.numel())
