"""Mixtures of experts: hidden units of all experts are cut alike, at the same places, and no expert goes."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from networks import conditioned
from torch import Tensor, nn
from torch.nn import functional

from pfa_gate.compress.prune import compress
from pfa_gate.graph import inputs_of, trace
from pfa_gate.graph.cost import cost, stored
from pfa_gate.model import batch_of

EXPERTS, WIDTH, HIDDEN = 3, 8, 20
SAMPLE = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(1))
KEPT = [0, 4, 7, 19]
GONE = [unit for unit in range(HIDDEN) if unit not in KEPT]


class Mixture(nn.Module):
    """Experts whose weights lie in one parameter, and a router that weighs what each of them makes."""

    def __init__(self, way: str, chosen: int = EXPERTS) -> None:
        super().__init__()
        self.way, self.chosen = way, chosen
        self.embed, self.router, self.head = nn.Linear(6, WIDTH), nn.Linear(WIDTH, EXPERTS), nn.Linear(WIDTH, 3)
        self.up, self.down = (
            nn.Parameter(torch.randn(EXPERTS, WIDTH, HIDDEN)),
            nn.Parameter(torch.randn(EXPERTS, HIDDEN, WIDTH)),
        )
        self.shift, self.offset = nn.Parameter(torch.randn(EXPERTS, HIDDEN)), nn.Parameter(torch.randn(EXPERTS, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).relu().flatten(0, 1)
        weights = self.router(x).softmax(-1)
        if self.chosen < EXPERTS:
            most, which = weights.topk(self.chosen, -1)
            weights = torch.zeros_like(weights).scatter(-1, which, most)
        made = getattr(self, self.way)(x)
        return self.head(torch.einsum("te,etd->td", weights, made))  # type: ignore[no-any-return]

    def bmm(self, x: Tensor) -> Tensor:
        hidden = torch.bmm(x.expand(EXPERTS, -1, -1), self.up) + self.shift[:, None]
        return torch.bmm(hidden.relu(), self.down)

    def baddbmm(self, x: Tensor) -> Tensor:
        hidden = torch.baddbmm(self.shift.unsqueeze(1), x.expand(EXPERTS, -1, -1), self.up)
        return torch.baddbmm(self.offset.unsqueeze(1), hidden.relu(), self.down)

    def matmul(self, x: Tensor) -> Tensor:
        return (x @ self.up + self.shift[:, None]).relu() @ self.down

    def einsum(self, x: Tensor) -> Tensor:
        hidden = torch.einsum("td,edf->etf", x, self.up) + self.shift[:, None]
        return torch.einsum("e t f, e f d -> e t d", hidden.relu(), self.down)

    def one_by_one(self, x: Tensor) -> Tensor:
        def expert(which: int) -> Tensor:
            hidden = functional.linear(x, self.up[which].t(), self.shift[which]).relu()
            return functional.linear(hidden, self.down[which].t(), self.offset[which])

        return torch.stack([expert(which) for which in range(EXPERTS)])


class Routed(Mixture):
    """Each token goes to one expert, and tokens are sorted by expert for one grouped product."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).relu().flatten(0, 1)
        most, which = self.router(x).softmax(-1).max(-1)
        order = which.argsort()
        ends = (which[:, None] == torch.arange(EXPERTS)).sum(0).cumsum(0).int()
        hidden = torch._grouped_mm(x[order], self.up, offs=ends).relu()
        made = torch._grouped_mm(hidden, self.down, offs=ends)[order.argsort()]
        return self.head(made * most[:, None])  # type: ignore[no-any-return]


CASES: dict[str, Callable[[], nn.Module]] = {
    **{way: lambda way=way: Mixture(way) for way in ("bmm", "baddbmm", "matmul", "einsum", "one_by_one")},  # type: ignore[misc]
    "einsum, the best two": lambda: Mixture("einsum", 2),
    "grouped_mm": lambda: Routed("bmm"),
}


@pytest.mark.parametrize("case", CASES)
def test_hidden_units_of_all_experts_go_together(case: str) -> None:
    torch.manual_seed(0)
    model: Any = conditioned(CASES[case]())
    coupling = trace(model, SAMPLE)
    assert [(group.name, group.width) for group in coupling.free if group.width == HIDDEN] == [("up", HIDDEN)]
    result = compress(model, coupling, {"up": KEPT}, inputs_of(SAMPLE))
    smaller: Any = result.model
    assert (result.put_back, result.form) == ({}, "module")
    assert (smaller.up.shape, smaller.down.shape) == ((EXPERTS, WIDTH, 4), (EXPERTS, 4, WIDTH))
    silent = copy.deepcopy(model)
    with torch.no_grad():
        silent.up[:, :, GONE] = silent.shift[:, GONE] = silent.down[:, GONE] = 0
        torch.testing.assert_close(smaller(SAMPLE[:2]), silent(SAMPLE[:2]))
    foretold, held = coupling.footprint({"up": len(KEPT)}), stored(smaller)
    assert (foretold.parameters, foretold.bytes) == (held.parameters, held.bytes)


@pytest.mark.parametrize("case", [case for case in CASES if case != "grouped_mm"])  # of which torch counts no work
def test_the_work_of_experts_is_counted(case: str) -> None:
    model = conditioned(CASES[case]())
    whole = cost(model, batch_of(SAMPLE))
    assert trace(model, SAMPLE).footprint() == (whole.parameters, whole.bytes, whole.macs)


def test_experts_themselves_stay() -> None:
    coupling = trace(conditioned(Mixture("einsum")), SAMPLE)
    (router,) = [group for group in coupling.groups if "router" in group.layers]
    assert (router.width, router.frozen) == (EXPERTS, "is reduced across channels")
