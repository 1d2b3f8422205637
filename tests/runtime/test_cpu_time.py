"""Two programs timed by a clock that the test moves: ratio, standard error, turns, and when it ends."""

import statistics
from collections.abc import Callable

import numpy as np
import pytest

from pfa_gate.runtime.cpu_time import AIM, FEWEST_PAIRS, MOST_PAIRS, CpuTimes, cpu_times


class Clock:
    """Time that passes only while a program runs."""

    def __init__(self, noise: Callable[[], float] = lambda: 1.0) -> None:
        self.now, self.calls, self._noise = 0.0, [], noise

    def __call__(self) -> float:
        return self.now

    def program(self, name: str, seconds: float) -> Callable[[], None]:
        def run() -> None:
            self.calls.append(name)
            self.now += seconds * self._noise()

        return run

    def times(self, first: float, other: float, longest: float = 60.0, tick: float = 1e-9) -> CpuTimes:
        programs = self.program("first", first), self.program("other", other)
        return cpu_times(*programs, longest=longest, clock=self, tick=tick)


def test_two_programs_that_always_take_as_long_are_told_at_once() -> None:
    found = Clock().times(0.004, 0.003)
    assert (found.ratio, found.pairs) == (pytest.approx(0.75), FEWEST_PAIRS)
    assert found.error == pytest.approx(0.0, abs=1e-9)
    assert (found.first, found.other) == (pytest.approx(0.004), pytest.approx(0.003))
    assert found.interval == (pytest.approx(0.75), pytest.approx(0.75))


def test_who_begins_changes_with_each_pair() -> None:
    clock = Clock()
    clock.times(0.1, 0.1, longest=2.0)
    turns = [clock.calls[at : at + 2] for at in range(4, len(clock.calls), 2)]
    assert turns[:4] == [["first", "other"], ["other", "first"], ["first", "other"], ["other", "first"]]


@pytest.mark.parametrize(("tick", "least"), [(1e-9, 0.0025), (0.0156, 0.312)])
def test_a_turn_is_long_beside_a_tick_of_the_clock(tick: float, least: float) -> None:
    clock = Clock()
    found = clock.times(1e-4, 1e-4, tick=tick)
    assert clock.calls.count("first") / found.pairs * 1e-4 >= least


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    held, errors, ratios = 0, [], []
    for seed in range(150):
        draw = np.random.default_rng(seed)
        found = Clock(lambda draw=draw: 1 + 0.2 * draw.exponential()).times(0.02, 0.016)
        held += found.interval[0] <= 0.8 <= found.interval[1]
        errors.append(found.error)
        ratios.append(found.ratio)
        assert found.error < AIM
    assert held >= 0.9 * 150
    assert statistics.mean(errors) == pytest.approx(statistics.stdev(ratios), rel=0.35)


def test_turns_that_were_disturbed_do_not_count() -> None:
    """A neighbour on the core slows one program more than the other, most of the time."""
    draw = np.random.default_rng(0)
    clock = Clock()

    def turn(seconds: float, slowed: float) -> Callable[[], None]:
        def run() -> None:
            clock.now += seconds * (slowed if draw.random() < 0.7 else 1.0)

        return run

    found = cpu_times(turn(0.02, 1.3), turn(0.01, 1.9), clock=clock, tick=1e-9)
    assert found.ratio == pytest.approx(0.5, rel=0.01)


def test_it_ends_when_the_time_is_up_and_says_how_little_it_knows() -> None:
    draw = np.random.default_rng(1)
    found = Clock(lambda: float(np.exp(draw.standard_normal()))).times(1.0, 1.0, longest=5.0)
    assert found.pairs == 3
    assert found.error > 0.1


def test_a_small_model_has_a_limit_of_its_own() -> None:
    draw = np.random.default_rng(2)
    found = Clock(lambda: float(np.exp(2 * draw.standard_normal()))).times(0.02, 0.02, longest=1e9)
    assert found.pairs == MOST_PAIRS
    assert found.error >= AIM
