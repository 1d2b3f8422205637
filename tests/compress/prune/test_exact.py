"""PrunedModel equals silenced, keep-all is identity, and a wrong rule does not get past the proof."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import NETWORKS, conditioned, coupling, network
from torch import Tensor, nn
from torch.fx import Node

from pfa_gate.compress.prune import compress, operate
from pfa_gate.errors import SurgeryError
from pfa_gate.graph import Coupling, trace
from pfa_gate.graph.cost import cost
from pfa_gate.graph.labels import RULES, LabelFlow, Residual
from pfa_gate.model import batch_of


def zeroed(model: nn.Module, groups: Coupling, keep: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """The silenced weights, made here by hand from the public page alone."""
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name, kept in keep.items():
        for part in groups.group(name).slices:
            gone = torch.tensor((part.filters >= 0) & ~np.isin(part.filters, kept))
            if not part.parameter.endswith(("running_mean", "running_var")):
                weights[part.parameter].index_fill_(part.axis, gone.nonzero().reshape(-1), 0)
    return weights


@st.composite
def cuts(draw: st.DrawFn) -> tuple[str, Coupling, dict[str, np.ndarray]]:
    name = draw(st.sampled_from(sorted(NETWORKS)))
    groups = coupling(name, draw(st.sampled_from(["project", "pad"])))
    keep = {
        group.name: np.array(sorted(draw(st.sets(st.integers(0, group.width - 1), min_size=1))))
        for group in groups.free
    }
    return name, groups, keep


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(cuts())
def test_compressed_equals_silenced_whatever_is_kept(cut: tuple[str, Coupling, dict[str, np.ndarray]]) -> None:
    name, groups, keep = cut
    model, example = network(name)
    result = compress(model, groups, keep, ((example,), {}))
    smaller = result.model
    silent, _ = network(name)
    assert not result.put_back
    silent.load_state_dict(zeroed(model, groups, keep))
    fresh = torch.randn(5, *example.shape[1:], generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(smaller.double()(fresh), silent.double()(fresh), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", NETWORKS)
def test_keeping_all_is_the_identity(name: str) -> None:
    model, example = network(name)
    keep = {group.name: np.arange(group.width) for group in coupling(name).free}
    same = operate(model, example, keep)
    assert all(torch.equal(tensor, model.state_dict()[key]) for key, tensor in same.state_dict().items())
    with torch.no_grad():
        assert torch.equal(same(example), model(example))


@pytest.mark.parametrize("residual", ["project", "pad"])
@pytest.mark.parametrize("name", NETWORKS)
def test_footprint_predicts_the_cost_of_the_compressed_model(name: str, residual: Residual) -> None:
    model, example = network(name)
    groups = coupling(name, residual)
    keep = {group.name: np.arange(group.width)[::2] for group in groups.free}
    result = compress(model, groups, keep, ((example,), {}))
    assert not result.put_back
    counts = {group: len(kept) for group, kept in keep.items()}
    assert tuple(cost(result.model, batch_of(example)).__dict__.values()) == tuple(groups.footprint(counts))
    assert tuple(cost(model, batch_of(example)).__dict__.values()) == tuple(groups.footprint())


def test_a_forward_with_widths_in_its_code_is_delivered_as_a_graph() -> None:
    """Option A pads by a number; its own class cannot run once stage and block lose different filters."""
    model, example = network("padded_shortcut")
    keep = {"stem": [0, 1, 2], "conv1": [3, 5], "conv2": [0, 1, 2, 7]}
    result = compress(model, coupling("padded_shortcut"), keep, ((example,), {}))
    assert (result.form, result.put_back) == ("graph", {})
    keep = {"conv1": [3, 5]}
    assert compress(model, coupling("padded_shortcut"), keep, ((example,), {})).form == "module"


class Reversed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.first(x).relu().flip(1))


def test_flip_over_filters_is_followed() -> None:
    model, example = conditioned(Reversed()), torch.randn(2, 4)
    head = operate(model, example, {"first": [0, 1, 2]}).get_submodule("head")
    assert torch.equal(head.weight, model.head.weight[:, 5:])


def test_a_planted_wrong_rule_is_caught_by_the_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    def as_elementwise(flow: LabelFlow, node: Node) -> Tensor:
        source = node.args[0]
        assert isinstance(source, Node)
        return flow.of(source)

    monkeypatch.setitem(RULES, "flip", as_elementwise)
    with pytest.raises(SurgeryError, match="cannot be proved exact: 'first': off by"):
        operate(conditioned(Reversed()), torch.randn(2, 4), {"first": [0, 1, 2]})


class TwoWays(nn.Module):
    """One layer whose filters are flipped, one whose are not."""

    def __init__(self) -> None:
        super().__init__()
        self.flipped, self.plain, self.head = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([self.flipped(x).relu().flip(1), self.plain(x).relu()], 1))


def test_a_group_that_cannot_be_proved_is_put_back_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, "flip", lambda flow, node: flow.of(node.args[0]))
    model, example = conditioned(TwoWays()), torch.randn(2, 4)
    groups = trace(model, example)
    result = compress(model, groups, {"flipped": [0, 1, 2], "plain": [1, 2]}, ((example,), {}))
    assert list(result.put_back) == ["flipped"]
    assert "off by" in result.put_back["flipped"]
    assert result.model.get_submodule("plain").out_features == 2
    assert result.model.get_submodule("flipped").out_features == 8
    assert result.proof.passed


class Swish(nn.Module):
    """After a sigmoid, silence is not zero: 0.5 reaches the reader of the full model."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.first(x)).sigmoid())


def test_silence_is_zero_where_it_is_read_not_where_it_is_made() -> None:
    model, example = conditioned(Swish()), torch.randn(2, 3, 6, 6)
    smaller = operate(model, example, {"first": [0, 2, 4, 6]})
    hidden = model.norm(model.first(example)).sigmoid()
    hidden[:, 1::2] = 0
    with torch.no_grad():
        torch.testing.assert_close(smaller(example), model.head(hidden))
