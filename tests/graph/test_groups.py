"""Which filters live or die together, on small networks with one idea each."""

import pytest
import torch
from networks import NETWORKS, conditioned, coupling, network
from torch import Tensor, nn

from pfa_gate.errors import TraceError
from pfa_gate.graph import trace

FEEDS_OUTPUT = "it feeds the model's output"

GROUPS = {
    "residual": [
        ("stem", 8, ("stem", "conv2"), ("conv1", "shortcut", "conv3")),
        ("conv1", 8, ("conv1",), ("conv2",)),
        ("shortcut", 16, ("shortcut", "conv3"), ("head",)),
    ],
    "depthwise": [
        ("expand", 12, ("expand", "depth", "excite"), ("squeeze", "project")),
        ("squeeze", 6, ("squeeze",), ("excite",)),
        ("project", 8, ("project",), ("head",)),
    ],
    "grouped": [("first", 4, ("first",), ("grouped",)), ("grouped", 6, ("grouped",), ("last",))],
    "branches": [
        ("one", 8, ("one",), ("mix",)),
        ("two", 4, ("two",), ("mix",)),
        ("three", 4, ("three",), ("mix",)),
        ("mix", 6, ("mix",), ("left",)),
        ("mix#2", 6, ("mix",), ("right",)),
        ("left", 4, ("left", "right"), ("head",)),
    ],
    "decoder": [
        ("down", 8, ("down",), ("deep",)),
        ("deep", 12, ("deep",), ("up",)),
        ("up", 8, ("up",), ("out",)),
        ("skip", 6, ("skip",), ("out",)),
    ],
    "sequence": [("conv", 10, ("conv",), ("hidden",)), ("hidden", 14, ("hidden",), ("head",))],
    "volume": [("conv", 6, ("conv",), ("next",)), ("next", 8, ("next",), ("head",))],
    "shared": [("stem", 8, ("stem", "twice"), ("twice", "head"))],
    "padded_shortcut": [
        ("stem", 8, ("stem", "conv2"), ("conv1", "head")),
        ("conv1", 16, ("conv1",), ("conv2",)),
        ("conv2", 8, ("conv2",), ("head",)),
    ],
}


@pytest.mark.parametrize("name", NETWORKS)
def test_groups_of_each_network(name: str) -> None:
    found = coupling(name)
    free = [(group.name, group.width, group.layers, group.readers) for group in found.free]
    assert free == GROUPS[name]
    assert found.unknown == ()


@pytest.mark.parametrize("name", NETWORKS)
def test_what_feeds_the_output_is_frozen_and_says_so(name: str) -> None:
    frozen = [group for group in coupling(name).groups if group.frozen is not None]
    assert [group.frozen for group in frozen] == [FEEDS_OUTPUT]


def test_parameters_name_the_filter_of_each_row() -> None:
    parameters = coupling("grouped").group("first").parameters
    axis, filters = parameters["first.weight"]
    assert (axis, filters.tolist()) == (0, [0, 1, 2, 3] * 4)
    assert parameters["grouped.weight"][0] == 1


def test_rows_of_other_groups_are_minus_one() -> None:
    _, filters = coupling("padded_shortcut").group("stem").parameters["conv2.weight"]
    assert filters.tolist() == [-1] * 4 + list(range(8)) + [-1] * 4


def test_a_residual_group_is_read_at_its_sums() -> None:
    found = coupling("residual")
    assert [tap.node for tap in found.group("stem").taps] == ["add"]
    assert [tap.node for tap in found.group("conv1").taps] == ["conv2d_1"]


def test_groups_do_not_depend_on_the_batch_of_the_example() -> None:
    model, example = network("residual")
    assert [(g.name, g.width) for g in trace(model, example[:1]).groups] == [
        (g.name, g.width) for g in trace(model, example).groups
    ]


def test_padding_cuts_each_feeder_of_a_sum_by_itself() -> None:
    found = coupling("residual", "pad")
    assert [group.layers for group in found.free] == [("stem",), ("conv1",), ("conv2",), ("shortcut",), ("conv3",)]
    assert found.scattered == ("add", "add_1")


def test_padding_never_frees_what_feeds_the_output() -> None:
    assert coupling("shared", "pad").group("head").frozen == FEEDS_OUTPUT


class Odd(nn.Module):
    """An operator without a rule, on the way of one of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.odd, self.plain, self.head = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.plain(torch.special.erfcx(self.odd(x))).relu())


def test_an_operator_without_a_rule_pins_and_is_reported() -> None:
    found = trace(conditioned(Odd()), torch.randn(2, 4))
    assert [group.name for group in found.free] == ["plain"]
    assert found.group("odd").frozen == "operator special_erfcx has no rule"
    assert found.unknown == ("operator special_erfcx has no rule",)


class Beside(nn.Module):
    """A token of its own beside values that cannot be followed, with a place for each; and a ratio of two sums."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.token = nn.Linear(4, 6), nn.Parameter(torch.randn(1, 1, 6))
        self.places, self.head = nn.Parameter(torch.randn(1, 4, 6)), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        embedded = self.embed(x)
        beside = torch.cat([self.token.expand(x.shape[0], -1, -1), torch.special.erfcx(embedded)], 1)
        return self.head(beside + self.places), embedded.sum() / x.sum()


def test_what_stands_beside_values_that_cannot_be_followed_stays_and_is_counted() -> None:
    model = conditioned(Beside())
    found = trace(model, torch.randn(2, 3, 4))
    assert (found.free, found.unknown) == ((), ("operator special_erfcx has no rule",))
    assert found.footprint().parameters == sum(parameter.numel() for parameter in model.parameters())


class Undecided(nn.Module):
    """Control flow that depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x) if x.sum() > 0 else self.head(-x)


def test_a_model_that_cannot_be_followed_says_why() -> None:
    with pytest.raises(TraceError, match="cannot be followed"):
        trace(Undecided(), torch.randn(2, 4))


def test_mappings_and_tuples_are_examples_too() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.head = nn.Linear(3, 6), nn.Linear(5, 6), nn.Linear(6, 2)

        def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
            return {"logits": self.head((self.one(left) + self.two(right)).relu())}

    left, right = torch.randn(2, 3), torch.randn(2, 5)
    for example in ((left, right), {"left": left, "right": right}, {"right": right, "left": left}):
        assert trace(Two(), example).group("one").layers == ("one", "two")
