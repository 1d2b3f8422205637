"""Which width each layer gets, for the least harm within so many bytes: a knapsack with one choice from each layer."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Name = TypeVar("Name", bound=Hashable)
Choice = TypeVar("Choice", bound=Hashable)

_MOST_STATES = 2**18
_RULED_OUT = 1e12
"""What a choice counts that is infinitely far."""


def allocate(
    costs: Mapping[Name, Mapping[Choice, int]], harms: Mapping[Name, Mapping[Choice, float]], budget: int
) -> dict[Name, Choice]:
    """One choice for each name, with the least sum of harms whose costs fit in a budget.

    It is exact while the budget has at most 262,144 steps of what all costs are multiples of. Of more, costs are
    rounded up to such a step: what it gives still fits, and choices are made better one by one while they fit.

    Args:
        costs: name -> choice -> its cost, a whole number from 0.
        harms: name -> choice -> its harm, from 0; infinite where it is to be avoided if that is possible.
        budget: most that the chosen costs sum up to.

    Returns:
        Of equal sums the one with the smaller cost.

    Raises:
        ValueError: not even the cheapest choices fit.

    Example:
        >>> costs, harms = {"a": {2: 2, 4: 4}, "b": {2: 2, 4: 4}}, {"a": {2: 0.5, 4: 0.1}, "b": {2: 0.2, 4: 0.1}}
        >>> allocate(costs, harms, 6)
        {'a': 4, 'b': 2}
    """
    least = {name: min(each.values()) for name, each in costs.items()}
    room = budget - sum(least.values())
    if room < 0:
        raise ValueError(f"the cheapest choices take {budget - room:,} of {budget:,}")
    extra = {name: {choice: cost - least[name] for choice, cost in each.items()} for name, each in costs.items()}
    room = min(room, sum(max(each.values()) for each in extra.values()))
    unit = int(np.gcd.reduce([cost for each in extra.values() for cost in each.values()])) or 1
    step = unit * -(-(room // unit) // _MOST_STATES) if room >= unit else unit
    plan = _least(extra, harms, room // step, step)
    return plan if step == unit else _bettered(plan, extra, harms, room)


def _least(
    extra: Mapping[Name, Mapping[Choice, int]], harms: Mapping[Name, Mapping[Choice, float]], states: int, step: int
) -> dict[Name, Choice]:
    """By dynamic programming over what is spent: the least harm with at most so many steps."""
    best = np.zeros(states + 1)
    taken: list[tuple[Name, Sequence[Choice], npt.NDArray[np.int64]]] = []
    for name, each in extra.items():
        choices = sorted(each, key=lambda choice: (each[choice], str(choice)))
        fresh, picked = np.full(states + 1, np.inf), np.zeros(states + 1, np.int64)
        for number, choice in enumerate(choices):
            steps = -(-each[choice] // step)
            if steps > states:
                continue
            sums = np.full(states + 1, np.inf)
            sums[steps:] = best[: states + 1 - steps] + min(harms[name][choice], _RULED_OUT)
            better = sums < fresh
            fresh[better], picked[better] = sums[better], number
        taken.append((name, choices, picked))
        best = fresh
    left = int(np.flatnonzero(best == best[-1])[0])  # the fewest steps with the same harm
    plan: dict[Name, Choice] = {}
    for name, known, picked in reversed(taken):
        plan[name] = known[picked[left]]
        left -= -(-extra[name][plan[name]] // step)
    return {name: plan[name] for name in extra}


def _bettered(
    plan: dict[Name, Choice],
    extra: Mapping[Name, Mapping[Choice, int]],
    harms: Mapping[Name, Mapping[Choice, float]],
    room: int,
) -> dict[Name, Choice]:
    """The plan with what rounding has left over spent, the change first that gains most."""
    left = room - sum(extra[name][choice] for name, choice in plan.items())
    while True:
        gains = [
            (min(harms[name][plan[name]], _RULED_OUT) - harms[name][choice], name, choice)
            for name, each in extra.items()
            for choice, cost in each.items()
            if cost - each[plan[name]] <= left
        ]
        gain, name, choice = max(gains, key=lambda each: each[0])
        if not gain > 0:
            return plan
        left -= extra[name][choice] - extra[name][plan[name]]
        plan = {**plan, name: choice}
