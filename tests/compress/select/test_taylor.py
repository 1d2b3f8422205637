"""First-order importance against autograd on the module itself."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from networks import conditioned
from torch import Tensor, nn
from torch.nn import functional

from pfa_gate.compress.select import SELECTIONS, Evidence
from pfa_gate.errors import LabelsError
from pfa_gate.graph import record_model, trace_program
from pfa_gate.model import Batch

LABELS = torch.arange(24) % 3


class Sum(nn.Module):
    """Two layers that end in one sum, which is where their filters are read."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 12), nn.Linear(4, 12), nn.Linear(12, 3)
        self.sum = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.sum(self.first(x) + self.second(x.square())).relu())


class Tokens(nn.Module):
    """Frozen weights and numbers of words: nothing of it can be differentiated; positions are averaged."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.first, self.head = nn.Embedding(9, 5), nn.Linear(5, 12), nn.Linear(12, 3)
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.first(self.words(x)).sigmoid().mean(1))


class Named(nn.Module):
    """A mapping of outputs, as Hugging Face's models give it; the first of it is not the scores."""

    def __init__(self, key: str = "logits") -> None:
        super().__init__()
        self.key = key
        self.first, self.aside = nn.Linear(4, 12), nn.Linear(4, 40)
        self.head, self.other = nn.Linear(12, 3), nn.Linear(40, 5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        scores, other = self.head(self.first(x).relu()), self.other(self.aside(x).relu())
        return {"hidden": other, self.key: scores} if self.key == "logits" else {self.key: scores, "zero": other}


def conv() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 12, 3), nn.BatchNorm2d(12), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(12, 3),
    )  # fmt: skip


class Gated(nn.Module):
    """Filters that two layers make, one at every position and the other once."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate, self.head = nn.Conv2d(2, 12, 3), nn.Conv2d(2, 12, 1), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head((self.first(x) * self.gate(x.mean((2, 3), keepdim=True)).sigmoid()).relu().mean((2, 3)))


class Counted(Sum):
    """The first of what it gives is no tensor."""

    def forward(self, x: Tensor) -> tuple[int, Tensor]:
        return 7, super().forward(x)


class Switched(Sum):
    """One of whose inputs is no tensor."""

    def forward(self, x: Tensor, twice: bool) -> Tensor:
        return super().forward(2 * x if twice else x)


def frozen() -> nn.Module:
    """Nothing is trained, and a rectifier writes into the very values that are looked at."""
    return nn.Sequential(nn.Linear(4, 12), nn.ReLU(inplace=True), nn.Linear(12, 3)).requires_grad_(False)


def evidence(model: nn.Module, batches: Sequence[Any], names: Sequence[str]) -> Evidence:
    inputs = batches[0].args if isinstance(batches[0], Batch) else (batches[0],)
    program = record_model(model, (inputs[0][:2], *inputs[1:]), {})
    groups = [group for group in trace_program(program).groups if group.name in names]
    assert [group.name for group in groups] == list(names)
    return Evidence(program, groups, {}, batches)


def expected(model: nn.Module, read: nn.Module | list[nn.Module], x: Tensor, axis: int) -> list[int]:
    """|mean over positions of response x gradient of the cross-entropy|, summed over samples and over the layers read.

    Returns:
        The filters, least first.
    """
    held: list[Tensor] = []

    def hold(module: nn.Module, args: object, made: Tensor) -> Tensor:
        made.requires_grad_(True).retain_grad()
        held.append(made)
        return made.clone()  # a rectifier in place writes into this one

    hooks = [each.register_forward_hook(hold) for each in (read if isinstance(read, list) else [read])]
    made = model(x)
    scores = made["logits"] if isinstance(made, dict) else made
    functional.cross_entropy(scores, LABELS[: len(x)], reduction="sum").backward()
    for hook in hooks:
        hook.remove()
    products = [(each * each.grad).movedim(axis, 1).reshape(*each.movedim(axis, 1).shape[:2], -1) for each in held]
    total = sum(product.mean(2).abs().sum(0) for product in products)
    return total.detach().numpy().argsort(kind="stable").tolist()


REALS = torch.randn(24, 4, generator=torch.Generator().manual_seed(1))
MAPS = torch.randn(24, 2, 6, 6, generator=torch.Generator().manual_seed(1))
WORDS = torch.randint(9, (24, 7), generator=torch.Generator().manual_seed(1))
CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module], Any], Tensor, str, int]] = {
    "a convolution": (conv, lambda model: model[0], MAPS, "0", 1),
    "a sum": (Sum, lambda model: model.sum, REALS, "first", 1),
    "tokens": (Tokens, lambda model: model.first, WORDS, "first", 2),
    "a gate": (Gated, lambda model: [model.first, model.gate], MAPS, "first", 1),
    "frozen": (frozen, lambda model: model[0], REALS, "0", 1),
    "a mapping": (Named, lambda model: model.first, REALS, "first", 1),
}


@pytest.mark.parametrize("sizes", [(24,), (5, 12, 7)], ids=["at once", "in batches"])
@pytest.mark.parametrize("name", CASES)
def test_importance_is_that_of_autograd_on_the_module(name: str, sizes: tuple[int, ...]) -> None:
    build, read, x, group, axis = CASES[name]
    model = conditioned(build())
    batches = [Batch((part,), {}, labels) for part, labels in zip(x.split(sizes), LABELS.split(sizes), strict=True)]
    found = SELECTIONS["taylor"](evidence(model, batches, [group]))[group]
    assert found.tolist() == expected(model, read(model), x, axis)
    assert found.dtype == np.int64


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8])
def test_labels_may_be_integers_of_any_kind(dtype: torch.dtype) -> None:
    model = conditioned(Sum())
    found = SELECTIONS["taylor"](evidence(model, [Batch((REALS,), {}, LABELS.to(dtype))], ["first"]))["first"]
    assert found.tolist() == expected(model, model.sum, REALS, 1)


def test_an_input_may_be_no_tensor() -> None:
    model, twin = conditioned(Switched()), conditioned(Sum())
    found = SELECTIONS["taylor"](evidence(model, [Batch((REALS, True), {}, LABELS)], ["first"]))["first"]
    assert found.tolist() == expected(twin, twin.sum, 2 * REALS, 1)
    assert not REALS.requires_grad, "the batch is left as it was"


def test_filters_that_the_scores_do_not_read_are_worth_nothing() -> None:
    model = conditioned(Named())
    found = SELECTIONS["taylor"](evidence(model, [Batch((REALS,), {}, LABELS)], ["first", "aside"]))
    assert found["aside"].tolist() == list(range(40))
    assert found["first"].tolist() == expected(model, model.first, REALS, 1)


def test_what_is_given_beside_the_scores_may_be_no_tensor() -> None:
    model, twin = conditioned(Counted()), conditioned(Sum())
    found = SELECTIONS["taylor"](evidence(model, [Batch((REALS,), {}, LABELS)], ["first"]))["first"]
    assert found.tolist() == expected(twin, twin.sum, REALS, 1)


def test_without_logits_the_first_output_is_the_scores() -> None:
    model = conditioned(Named("a"))
    found = SELECTIONS["taylor"](evidence(model, [Batch((REALS,), {}, LABELS)], ["first"]))["first"]
    twin = conditioned(Named())
    assert found.tolist() == expected(twin, twin.first, REALS, 1)


@pytest.mark.parametrize(
    ("labels", "fact"),
    [
        (None, "selection: taylor needs integer labels in the probe."),
        (LABELS.float(), "selection: taylor needs integer labels in the probe."),
        (LABELS[:8], "selection: taylor needs class scores [8, classes]; the model gave [24, 3]."),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels: Tensor | None, fact: str) -> None:
    given = evidence(conditioned(Sum()), [Batch((REALS,), {}, labels)], ["first"])
    with pytest.raises(LabelsError) as caught:
        SELECTIONS["taylor"](given)
    assert str(caught.value) == f"{fact}\n  Choose another selection."


def test_a_probe_without_labels_is_refused_too() -> None:
    with pytest.raises(LabelsError, match="needs integer labels"):
        SELECTIONS["taylor"](evidence(conditioned(Sum()), [REALS], ["first"]))


def test_scores_of_every_position_are_refused() -> None:
    model = conditioned(nn.Sequential(nn.Conv2d(2, 12, 3), nn.ReLU(), nn.Conv2d(12, 3, 1)))
    with pytest.raises(LabelsError) as caught:
        SELECTIONS["taylor"](evidence(model, [Batch((MAPS,), {}, LABELS)], ["0"]))
    assert caught.value.fact == ("selection: taylor needs class scores [24, classes]; the model gave [24, 3, 4, 4].")
