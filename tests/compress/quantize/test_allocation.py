"""The allocation of bits is the best there is: against trying all plans."""

import itertools

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from pfa_gate.compress.quantize import allocation
from pfa_gate.compress.quantize.allocation import allocate

_CHOICES = (2, 3, 4)
_CASES = st.lists(
    st.tuples(*[st.integers(0, 30)] * 3, *[st.sampled_from([0.0, 0.5, 1.25, 3.0, 7.5])] * 3),
    min_size=1, max_size=4,
)  # fmt: skip


def _tables(cases: list[tuple[float, ...]]) -> tuple[dict[str, dict[int, int]], dict[str, dict[int, float]]]:
    names = [f"layer{number}" for number in range(len(cases))]
    costs = {
        name: {c: int(v) for c, v in zip(_CHOICES, case[:3], strict=True)}
        for name, case in zip(names, cases, strict=True)
    }
    harms = {name: dict(zip(_CHOICES, case[3:], strict=True)) for name, case in zip(names, cases, strict=True)}
    return costs, harms


@given(cases=_CASES, budget=st.integers(0, 120))
@settings(max_examples=60)
def test_no_other_plan_within_the_budget_harms_less(cases: list[tuple[float, ...]], budget: int) -> None:
    costs, harms = _tables(cases)
    plans = [dict(zip(costs, picked, strict=True)) for picked in itertools.product(_CHOICES, repeat=len(costs))]
    sums = [
        (sum(harms[name][plan[name]] for name in plan), sum(costs[name][plan[name]] for name in plan)) for plan in plans
    ]
    fitting = [each for each in sums if each[1] <= budget]
    if not fitting:
        with pytest.raises(ValueError, match="the cheapest choices take"):
            allocate(costs, harms, budget)
        return
    found = allocate(costs, harms, budget)
    harm, cost = (sum(table[name][found[name]] for name in found) for table in (harms, costs))
    assert (harm, cost) == min(fitting)


def test_of_very_many_steps_the_plan_fits_and_is_nearly_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "_MOST_STATES", 256)
    costs = {str(n): {2: 200 + n, 4: 400 + 3 * n, 8: 800 + 7 * n} for n in range(12)}
    harms = {str(n): {2: 4.0 + n, 4: 1.0, 8: 0.0} for n in range(12)}
    found = allocate(costs, harms, 5_000)
    assert sum(costs[name][choice] for name, choice in found.items()) <= 5_000
    monkeypatch.undo()
    best = allocate(costs, harms, 5_000)
    harm, least = (sum(harms[name][choice] for name, choice in plan.items()) for plan in (found, best))
    assert least <= harm <= 1.1 * least


def test_a_choice_that_rules_answers_out_is_taken_only_where_nothing_else_fits() -> None:
    costs, harms = {"a": {2: 1, 4: 2}, "b": {2: 1, 4: 2}}, {"a": {2: float("inf"), 4: 9.0}, "b": {2: 5.0, 4: 0.0}}
    assert allocate(costs, harms, 3) == {"a": 4, "b": 2}
    assert allocate(costs, harms, 2) == {"a": 2, "b": 2}
