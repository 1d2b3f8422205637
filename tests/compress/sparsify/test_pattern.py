"""Counting zeros: along the channels that a layer reads, at each place of its kernel, whatever its kind."""

import pytest
import torch
from torch import Tensor, nn

from pfa_gate.compress.sparsify import COUNTED, GroupCount, Pattern, groups_meeting


def by_hand(lines: Tensor, pattern: Pattern) -> GroupCount:
    """Of lines of channels, each group on its own."""
    groups = [line[at : at + pattern.of] for line in lines.tolist() for at in range(0, len(line), pattern.of)]
    return GroupCount(sum(sum(value != 0 for value in group) <= pattern.kept for group in groups), len(groups))


@pytest.mark.parametrize("pattern", COUNTED)
@pytest.mark.parametrize(
    ("layer", "axis", "blocks"),
    [
        (nn.Linear(12, 5), 1, 1),
        (nn.Linear(10, 5), 1, 1),
        (nn.Conv2d(12, 4, 3), 1, 1),
        (nn.Conv1d(24, 6, 3, groups=2), 1, 1),
        (nn.ConvTranspose2d(16, 4, 3), 0, 1),
        (nn.ConvTranspose2d(12, 4, 3, groups=2), 0, 2),
    ],
)
def test_groups_are_counted_along_the_channels(layer: nn.Module, axis: int, blocks: int, pattern: Pattern) -> None:
    draw = torch.Generator().manual_seed(0)
    shape = dict(layer.named_parameters())["weight"].shape
    weight = torch.randn(shape, generator=draw) * (torch.rand(shape, generator=draw) < 0.4)
    lines = weight.movedim(axis, -1).flatten(0, -2)
    lines = torch.cat(torch.chunk(lines, blocks, 1)) if blocks > 1 else lines
    found = groups_meeting(weight, axis, pattern, blocks)
    assert found == by_hand(lines, pattern)
    assert found.met > 0


def test_zeros_along_another_axis_are_no_pattern() -> None:
    weight = torch.ones(8, 8, 1, 1)
    weight[::2] = 0  # whole filters
    assert groups_meeting(weight, 1, Pattern(2, 4)) == GroupCount(8, 16)
    assert groups_meeting(weight, 0, Pattern(2, 4)).whole
