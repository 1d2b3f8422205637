"""What compensation will take is foreseen, told, and bounded."""

import time

import pytest
import torch
from torch import nn

from pfa_gate.compress.prune import AxisIndices, narrow
from pfa_gate.compress.prune.cut import axis_indices_of
from pfa_gate.compress.recover import CompensateSettings, Forecast, compensate
from pfa_gate.compress.recover.forecast import Schedule, Speed, forecast, within
from pfa_gate.compress.recover.row_sampler import RowPlan
from pfa_gate.graph import Program, record_model, trace_program

SPEED = Speed(products=5e10, solves=1e10, sample=1e-3)
Case = tuple[Program, nn.Module, AxisIndices, list[torch.Tensor]]


@pytest.fixture
def case() -> Case:
    """Three layers that read cut ones, the second of which lost most of its weights."""
    torch.manual_seed(0)
    net = nn.Sequential()
    for _ in range(3):
        net.extend([nn.Linear(12, 12), nn.Tanh()])
    net.append(nn.Linear(12, 3))
    program = record_model(net.eval(), (torch.zeros(2, 12),), {})
    kept = axis_indices_of(trace_program(program), {"0": range(10), "2": range(4), "4": range(8)})
    return program, narrow(net, kept), kept, list(torch.randn(600, 12).split(100))


def test_progress_says_beforehand_what_it_will_take(case: Case) -> None:
    told: list[tuple[Forecast, int, int]] = []
    compensate(*case, CompensateSettings(progress=lambda *each: told.append(each)))
    assert [each[1:] for each in told] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    found = told[0][0]
    assert set(found.layers) == {"2", "4", "6"}
    assert 0 < found.passes < found.seconds < 60
    assert found.memory > 0


def test_time_is_bounded_and_what_lost_most_comes_first(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pfa_gate.compress.recover.forecast._layer_seconds", lambda plan, speed: 40.0)
    _, repairs = compensate(*case, CompensateSettings(seconds=95))
    reason = "left out, as 95 s are not enough for all layers and others lost more"
    assert {repair.layer: repair.reason for repair in repairs} == {"2": reason, "4": None, "6": None}
    assert next(repair for repair in repairs if repair.layer == "4").solved


def test_without_time_nothing_is_changed_and_every_layer_says_so(case: Case) -> None:
    program, smaller, kept, batches = case
    mended, repairs = compensate(program, smaller, kept, batches, CompensateSettings(seconds=1e-9))
    assert all("left out" in (repair.reason or "") for repair in repairs)
    state = smaller.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in mended.state_dict().items())


def test_the_clock_counts_where_the_forecast_was_wrong() -> None:
    settings, gains = CompensateSettings(seconds=75), {"conv": 0.5, "fc": 0.2}
    now = time.perf_counter()
    soon = Schedule(settings, Forecast(0.0, {"conv": 10.0, "fc": 40.0}, 0), gains, now)
    assert not soon.reason(["conv"])("conv")
    assert not soon.reason(["fc"])("fc")
    late = Schedule(settings, Forecast(0.0, {"conv": 10.0, "fc": 14.0}, 0), gains, now - 50)
    late._started -= 20  # conv took so much longer than was foreseen
    assert late.reason(["fc"])("fc") == "left out, as the 75 s were over"


def test_more_work_is_foreseen_to_take_longer() -> None:
    plans = {
        name: RowPlan(1, columns, 64, positions, 2000)
        for name, columns, positions in (("small", 64, 64), ("wide", 576, 64), ("wider", 1152, 64), ("dual", 9216, 1))
    }
    found = forecast(plans, [["small"], ["wide", "wider"], ["dual"]], SPEED)
    assert found.layers["small"] < found.layers["wide"] < found.layers["wider"]
    together = forecast(plans, [["small", "wide", "wider", "dual"]], SPEED)
    assert together.memory > found.memory
    assert together.seconds == found.seconds


def test_a_layer_that_does_not_fit_makes_room_for_one_that_does() -> None:
    found = Forecast(0.0, {"large": 50.0, "small": 1.0}, 0)
    assert within(found, {"large": 0.9, "small": 0.1}, 10) == {"small"}
