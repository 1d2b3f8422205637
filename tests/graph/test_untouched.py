"""The model is only borrowed: nothing of it changes, not even when something fails."""

import copy
import gc
import logging

import numpy as np
import pytest
import torch
from networks import NETWORKS, network
from torch import Tensor, nn

from pfa_gate.compress.prune import operate
from pfa_gate.errors import PFAGateError
from pfa_gate.graph import trace


def portrait(model: nn.Module) -> tuple[object, ...]:
    """All of a model and of the process that could be altered, but for the values of the model's tensors."""
    return (
        [gc.isenabled(), torch.fx.config.do_not_emit_stack_traces, logging.getLogger("torch.__trace").disabled],
        [(name, module.training, len(module._forward_hooks)) for name, module in model.named_modules()],
        [(name, id(tensor), tensor.requires_grad, tensor._version) for name, tensor in model.named_parameters()],
        [(name, id(tensor), tensor._version) for name, tensor in model.named_buffers()],
        [sorted(vars(module)) for module in model.modules()],
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_trace_and_operate_leave_the_model_as_it_was(name: str) -> None:
    model, example = network(name)
    next(model.children()).train()
    before, weights = portrait(model), copy.deepcopy(model.state_dict())
    group = trace(model, example).free[0]
    operate(model, example, {group.name: np.arange(group.width - 1)})
    assert portrait(model) == before
    assert all(torch.equal(tensor, weights[key]) for key, tensor in model.state_dict().items())


class Failing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(4, 2), nn.BatchNorm1d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.layer(x))
        raise RuntimeError("the user's own fault")


def test_it_is_given_back_as_it_was_after_an_exception() -> None:
    model = Failing().train()
    before = portrait(model)
    with pytest.raises(PFAGateError, match="the user's own fault"):
        trace(model, torch.randn(2, 4))
    assert portrait(model) == before


class Remembering(nn.Module):
    """Keeps what it saw and hooks itself in its first forward pass, as some public models do."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(4, 6), nn.Linear(6, 2)
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        self.length = x.shape[-1]
        if not self.layer._forward_hooks:
            self.layer.register_forward_hook(lambda module, inputs, output: output * 2)
        self.seen = self.seen + 1
        return self.head(self.layer(x).relu())


def test_what_its_own_forward_keeps_is_taken_back() -> None:
    model = Remembering().eval()
    before = portrait(model)
    trace(model, torch.randn(2, 4))
    assert portrait(model) == before
