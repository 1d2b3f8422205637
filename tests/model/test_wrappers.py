"""Models that are wrapped for training or speed: judged under their plain names, and run as they were written."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import pfa_gate
from pfa_gate.errors import FactoryError
from pfa_gate.model import batch_of
from pfa_gate.model.device import CPU, exact_arithmetic
from pfa_gate.model.torch_module import forward, unwrap_inside, unwrapped
from pfa_gate.pipeline.check_model import CheckOptions, check

PLAIN = ["0.weight", "0.bias", "2.weight", "2.bias"]


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def of_compiled_blocks() -> nn.Module:
    return nn.Sequential(*map(torch.compile, net().children()))


WRAPPED: dict[str, Callable[[], nn.Module]] = {
    "plain": net,
    "compiled": lambda: torch.compile(net()),  # type: ignore[dict-item, return-value]
    "parallel": lambda: nn.DataParallel(net()),
    "averaged": lambda: AveragedModel(net()),
    "averaged, parallel and compiled": lambda: torch.compile(AveragedModel(nn.DataParallel(net()))),  # type: ignore[dict-item, return-value]
    "compiled blocks": of_compiled_blocks,
    "compiled, of compiled blocks": lambda: torch.compile(of_compiled_blocks()),  # type: ignore[dict-item, return-value]
}


@pytest.mark.parametrize("make", WRAPPED.values(), ids=WRAPPED)
def test_the_names_are_those_of_the_model_within(make: Callable[[], nn.Module]) -> None:
    model = unwrapped(make())
    unwrap_inside(model)
    assert [name for name, _ in model.named_parameters()] == PLAIN


def test_a_parallel_part_stays_where_forward_looks_for_it_and_runs_on_any_device() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.DataParallel(net(), device_ids=None)
            self.body.device_ids = [0]  # as where there is a GPU

        def forward(self, x: Tensor) -> Any:
            return self.body(x) + self.body.module(x)

    model = Outer()
    unwrap_inside(model)
    assert forward(model, batch_of(torch.zeros(2, 4))).shape == (2, 3)


def refuse(graph: object, inputs: object) -> None:
    pytest.fail("it was compiled")


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Any:
        return self.inner(x) + 1


def in_place() -> nn.Module:
    model = Own()
    model.compile(backend=refuse)
    return model


@torch.compile(backend=refuse)
def act(x: Tensor) -> Tensor:
    return x.relu()


class OfAFunction(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return act(x)


COMPILED: dict[str, Callable[[], nn.Module]] = {
    "a block": lambda: nn.Sequential(torch.compile(nn.Linear(4, 3), backend=refuse)),  # type: ignore[arg-type]
    "in place": in_place,
    "a function": OfAFunction,
}


@pytest.mark.parametrize("make", COMPILED.values(), ids=COMPILED)
def test_nothing_is_compiled(make: Callable[[], nn.Module]) -> None:
    model = make()
    forward(model, batch_of(torch.zeros(2, 4)))
    with exact_arithmetic(CPU), torch.no_grad():
        model(torch.zeros(2, 4))
    # After it, the user's own choice holds again.
    with pytest.raises(BaseException, match="it was compiled"), torch.no_grad():
        model(torch.zeros(2, 4))


def test_a_model_in_a_test_is_judged_under_its_plain_names_and_stays_wrapped() -> None:
    model = torch.compile(nn.DataParallel(net()), backend=refuse)
    record = check(model, torch.randn(64, 4), CheckOptions({"kl": 1.0}))  # type: ignore[arg-type]
    assert [layer.name for layer in record.layers] == ["0", "2"]
    assert next(name for name, _ in model.named_parameters()) == "_orig_mod.module.0.weight"  # type: ignore[attr-defined]


SCRIPTS: dict[str, Callable[[], nn.Module]] = {
    "script": lambda: torch.jit.script(net()),
    "trace": lambda: torch.jit.trace(net(), torch.zeros(2, 4)),
    "script in a wrapper": lambda: nn.DataParallel(torch.jit.script(net())),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("make", SCRIPTS.values(), ids=SCRIPTS)
def test_a_script_is_refused(make: Callable[[], nn.Module]) -> None:
    model = make()
    with pytest.raises(FactoryError) as caught:
        check(model, torch.randn(64, 4), CheckOptions({"kl": 1.0}))
    assert str(caught.value) == (
        "The model is a ScriptModule: its layers are compiled code, which cannot be measured or cut.\n"
        "  Give the nn.Module that it was made from; torch.jit.load(path).state_dict() holds its weights."
    )


def test_a_model_without_layers_is_told_so() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight

    with pytest.raises(pfa_gate.LayerPatternError) as caught:
        check(Bare(), torch.randn(64, 4), CheckOptions({"kl": 1.0}))
    assert str(caught.value) == (
        "The model (Bare) has no convolution and no linear module that could be measured.\n"
        "  Build it of torch.nn's layers."
    )
