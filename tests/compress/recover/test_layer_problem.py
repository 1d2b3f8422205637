"""A layer with fewer rows than columns: the closed form of its columns, at the price of its rows."""

from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import torch
from torch import nn

from pfa_gate.compress.prune import narrow
from pfa_gate.compress.prune.cut import axis_indices_of
from pfa_gate.compress.recover import compensate, refit
from pfa_gate.compress.recover.forecast import Speed, forecast
from pfa_gate.compress.recover.layer_problem import DualProblem, PrimalProblem
from pfa_gate.compress.recover.rectifier_targets import Rows
from pfa_gate.compress.recover.refit import LinearLayer
from pfa_gate.compress.recover.row_sampler import COLUMNS, NUMBERS, ROWS, RowPlan
from pfa_gate.compress.regress import FEWEST, FIRST, FOLDS
from pfa_gate.graph import record_model, trace_program

GROUPS, ROWS_HERE, WIDE, FILTERS = 2, 48, 130, 3


def drawn(centred: bool, wide: int = WIDE) -> tuple[LinearLayer, Rows]:
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    read, start = normal(GROUPS, ROWS_HERE, wide) + 2, normal(GROUPS, wide, FILTERS)
    target = read @ (start + 0.3 * normal(*start.shape)) + 0.1 * normal(GROUPS, ROWS_HERE, FILTERS)
    offset = normal(GROUPS, FILTERS) if centred else torch.zeros(GROUPS, FILTERS, dtype=torch.float64)
    layer = LinearLayer(start, offset, torch.ones_like(offset), centred)
    return layer, Rows(read, target, normal(GROUPS, ROWS_HERE, FILTERS))


def filled(problem: PrimalProblem | DualProblem, rows: Rows) -> PrimalProblem | DualProblem:
    for fold, part in enumerate(rows.split([ROWS_HERE // FOLDS] * FOLDS)):
        problem.add(part, fold)
    return problem


@pytest.mark.parametrize("centred", [True, False])
def test_the_space_of_the_rows_holds_the_solution_of_the_columns(centred: bool) -> None:
    """The least of |y - x W|^2 + r |W - start|^2, by NumPy on all columns."""
    layer, rows = drawn(centred)
    (fit,) = filled(DualProblem(layer, torch.ones_like(layer.offset), rectified=False), rows).solved()
    assert fit.ridge is not None
    assert fit.after < fit.before
    for group in range(GROUPS):
        x, y, start = (each[group].numpy() for each in (rows.read, rows.target, layer.weights))
        about = [each.mean(0) * centred for each in (x, y)]
        x, y = x - about[0], y - about[1]
        # The ridge is relative to the mean diagonal of the matrix that was solved, which has as many rows as there are.
        root = np.sqrt(fit.ridge * np.square(x).sum() / ROWS_HERE)
        above, beside = np.vstack([x, root * np.eye(WIDE)]), np.vstack([y, root * start])
        wanted = np.linalg.lstsq(above, beside, rcond=None)[0]
        np.testing.assert_allclose(fit.weights[group], wanted, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(fit.offset[group], about[1] - about[0] @ wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rectified", [True, False])
def test_both_ways_agree_where_rows_are_as_many_as_columns(rectified: bool) -> None:
    layer, rows = drawn(True, ROWS_HERE)
    scale = torch.full_like(layer.offset, 1.5)
    (wide,) = filled(DualProblem(layer, scale, rectified=rectified), rows).solved()
    (straight,) = filled(PrimalProblem(layer, scale, ROWS_HERE, rectified=rectified), rows).solved()
    assert wide.ridge == straight.ridge
    assert wide.after == pytest.approx(straight.after, rel=1e-4)
    torch.testing.assert_close(wide.weights, straight.weights, rtol=1e-3, atol=1e-4)


def test_rows_that_repeat_and_vanish_are_no_trouble() -> None:
    layer, rows = drawn(True)
    half = Rows(*(torch.cat([each[:, :24], each[:, :24]], 1) for each in (rows.read, rows.target, rows.rest)))
    half.read[:, 5] = 0
    (fit,) = filled(DualProblem(layer, torch.ones_like(layer.offset), rectified=True), half).solved()
    assert fit.weights.isfinite().all()
    assert fit.after <= fit.before


def test_a_wide_linear_layer_is_solved_on_few_samples() -> None:
    """As behind a flattened map: 10,800 columns, more than any matrix is built for, and 300 samples."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 26 * 26, 12)
    ).eval()
    images = nn.functional.interpolate(torch.randn(400, 1, 5, 5), size=30, mode="bilinear")
    program = record_model(net, (images[:2],), {})
    kept = axis_indices_of(trace_program(program), {"2": range(15)})
    smaller = narrow(net, kept)
    mended, (repair,) = compensate(program, smaller, kept, images[:300].split(100))
    assert COLUMNS < 15 * 26 * 26
    assert (repair.layer, repair.rows, repair.reason) == ("5", 300, None)
    with torch.no_grad():
        cut, after = ((each(images[300:]) - net(images[300:])).square().mean() for each in (smaller, mended))
    assert after < 0.2 * cut


@pytest.mark.parametrize(
    ("columns", "positions", "samples", "dual", "first"),
    [
        (144, 1024, 3805, False, FIRST * 144),
        (9216, 1, 600, True, 600),
        (1000, 1, 600, True, 600),
        (600, 1, 600, False, 600),
        (4608, 49, 5000, False, FEWEST * 49),
        (COLUMNS + 1, 49, 5000, True, ROWS),
        (100_000, 1, 5000, True, NUMBERS // 100_000),
    ],
)  # fmt: skip
def test_rows_of_wide_layers_suffice_and_are_no_more(
    columns: int, positions: int, samples: int, dual: bool, first: int
) -> None:
    plan = RowPlan(1, columns, 10, positions, samples)
    assert (plan.dual, plan.first) == (dual, first)
    assert plan.first <= plan.most <= plan.available


class _Branches(nn.Module):
    """Three layers read what the first makes, as query, key and value do; the last reads all they make."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 24)
        self.query, self.key, self.value = nn.Linear(24, 6), nn.Linear(24, 6), nn.Linear(24, 9)
        self.last = nn.Linear(21, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.first(x))
        return self.last(torch.cat([self.query(x), self.key(x) * 30, self.value(x) ** 2], 1))


def test_layers_that_read_one_stream_are_solved_on_one_matrix_as_if_each_stood_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    net, samples = _Branches().eval(), torch.randn(600, 8)
    program = record_model(net, (samples[:2],), {})
    kept = axis_indices_of(trace_program(program), {"first": range(15)})
    case = (program, narrow(net, kept), kept, samples.split(100))
    factored, sizes = refit.factored, []

    def counted(gram: torch.Tensor, ridge: float) -> torch.Tensor | None:
        sizes.append(gram.shape[1])
        return factored(gram, ridge)

    monkeypatch.setattr(refit, "factored", counted)
    together, repairs = compensate(*case)
    shared = sizes.count(15)
    monkeypatch.setattr(
        import_module("pfa_gate.compress.recover.compensate"),
        "of_one_stream",
        lambda targets: [[target] for target in targets],
    )
    sizes.clear()
    alone, repairs_alone = compensate(*case)
    assert [repair.layer for repair in repairs] == ["query", "key", "value", "last"]
    assert 2 * shared <= sizes.count(15)
    for one, other in zip(repairs, repairs_alone, strict=True):
        assert (one.layer, one.ridge, one.rows) == (other.layer, other.ridge, other.rows)
        assert one.after == pytest.approx(other.after, rel=1e-3)
    for name, tensor in together.state_dict().items():
        torch.testing.assert_close(tensor, alone.state_dict()[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rows", [600, 20])
def test_sharing_is_foreseen(rows: int) -> None:
    speed = Speed(products=5e10, solves=1e10, sample=0.0)
    alone = RowPlan(1, 256, 64, 1, rows)
    together = replace(alone, sharing=3)
    seconds, apart = (forecast({"a": each}, [["a"]], speed).seconds for each in (together, alone))
    assert apart / 3 < seconds < apart
