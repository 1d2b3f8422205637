"""Operators in place: they write where nothing else looks, and on a copy everywhere else."""

import copy

import pytest
import torch
from torch import nn

from pfa_gate.compress.recover import in_place
from pfa_gate.compress.recover.staged_run import StagedProgram
from pfa_gate.graph import record_model


class OfInput(nn.Module):
    def forward(self, x):
        return x.view(-1).relu_().sum()


class OfParameter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4))

    def forward(self, x):
        return x + self.weight.detach().view(3, 4).clamp_(min=0)


class OfView(nn.Module):
    """The sum of a value and of what was rectified in a view of it."""

    def forward(self, x):
        made = x * 2
        return made.view(3, 4).relu_() - x


class OfOwn(nn.Module):
    def forward(self, x):
        return (x * 2 - 1).relu_().add_(1).sum()


# What is made of parameters alone is computed once, before all batches.
CASES = {"input": (OfInput(), 1), "parameter": (OfParameter(), 0), "view": (OfView(), 0), "own": (OfOwn(), 0)}


@pytest.mark.parametrize("cuts", [1, 2, 9])
@pytest.mark.parametrize("case", CASES)
def test_what_is_held_elsewhere_is_as_before(case: str, cuts: int) -> None:
    model = CASES[case][0]
    example = torch.randn(3, 4)
    program = record_model(copy.deepcopy(model), (example.clone(),), {})
    nodes = [node for node in program.nodes if node.op == "call_function"]
    goals = [node for node in nodes[:-1][-cuts + 1 :] if cuts > 1]
    staged = StagedProgram(program, [[goal] for goal in [*goals, nodes[-1]]])
    given, tensors = example.clone(), {name: tensor.clone() for name, tensor in program.tensors.items()}
    values = staged.start((given,), {})
    for stage in staged.stages:
        before = copy.deepcopy(values)
        after = staged.run(stage, values)
        assert all(torch.equal(values[name], before[name]) for name in values)
        values = after
    assert torch.equal(given, example)
    assert all(torch.equal(program.tensors[name], tensor) for name, tensor in tensors.items())
    torch.testing.assert_close(values[nodes[-1].name], copy.deepcopy(model)(example.clone()))


@pytest.mark.parametrize("case", CASES)
def test_only_what_is_held_elsewhere_is_copied(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, copies = CASES[case]
    program = record_model(copy.deepcopy(model), (torch.randn(3, 4),), {})
    staged = StagedProgram(program, [[[node for node in program.nodes if node.op == "call_function"][-1]]])
    values, made = staged.start((torch.randn(3, 4),), {}), []
    clone = torch.Tensor.clone
    monkeypatch.setattr(torch.Tensor, "clone", lambda self: made.append(self) or clone(self))
    staged.run(staged.stages[0], values)
    assert len(made) == copies


def test_memory_is_that_of_every_tensor_inside() -> None:
    one, other = torch.zeros(2), torch.zeros(2)
    assert in_place.storages([[one, {"a": other}], 3, None]) == {one.data_ptr(), other.data_ptr()}
