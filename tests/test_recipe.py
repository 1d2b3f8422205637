"""Counts by divergence and by energy, targets met exactly, rounding, and the printed plan."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
import reference
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pfa_gate.analysis.covariance import Moments
from pfa_gate.analysis.spectrum import Spectrum, analyse, spectrum
from pfa_gate.errors import ConfigError, TargetError
from pfa_gate.recipe import Recipe, Rule, keep_energy, keep_kl, recipe, recipe_by_losses


def of_variances(*variances: float) -> Spectrum:
    """The spectrum of uncorrelated filters with these variances."""
    count = 1000
    return spectrum(Moments(count, np.zeros(len(variances)), np.diag(variances) * (count - 1.0)))


def responses(seed: int, filters: int, samples: int = 200) -> np.ndarray:
    draw = np.random.default_rng(seed)
    rows = draw.standard_normal((samples, filters)) @ draw.standard_normal((filters, filters))
    if seed % 4 == 1 and filters > 1:
        rows[:, 0] = 0.0
    return rows


def never(keep: Mapping[str, int]) -> float:
    raise AssertionError("this strategy does not look at the footprint")


def allowed_counts(width: int, multiple: int, minimum: int) -> list[int]:
    """All of them: multiples, and the width."""
    return [n for n in range(1, width + 1) if (n % multiple == 0 and n >= minimum) or n == width]


def about(count: int, width: int, multiple: int, minimum: int) -> tuple[int, int]:
    """The nearest allowed counts on either side."""
    allowed, wanted = allowed_counts(width, multiple, minimum), min(width, max(count, minimum))
    above = next(n for n in allowed if n >= wanted)
    return next((n for n in reversed(allowed) if n <= wanted), above), above


def plain(groups: Mapping[str, Spectrum], energy: float, minimum: int = 1) -> dict[str, int]:
    return {name: about(keep_energy(s, energy), s.filters, 1, minimum)[0] for name, s in groups.items()}


def multiple(round_to: int | str, width: int) -> int:
    return round_to if isinstance(round_to, int) else 8 if width >= 32 else 4 if width >= 16 else 1


def below(groups: Mapping[str, Spectrum], energy: float, rule: Rule) -> dict[str, int]:
    return {
        name: about(keep_energy(s, energy), s.filters, multiple(rule.round_to, s.filters), rule.minimum)[0]
        for name, s in groups.items()
    }


any_responses = st.builds(responses, st.integers(0, 10_000), st.integers(1, 12))
energies = st.floats(0, 1)


class TestCounts:
    @given(rows=any_responses, energy=energies)
    @settings(deadline=None)
    def test_against_an_independent_reference(self, rows, energy):
        got = analyse(rows)
        assert keep_energy(got, energy) == reference.keep_energy(rows, energy)
        filters = rows.shape[1]
        ratio = reference.kl(rows) / np.log(filters) if filters > 1 else 0.0
        wanted = np.ceil(filters * (1 - ratio) - 1e-9)
        assert keep_kl(got) == max(1, min(wanted, reference.varying(rows).sum()))

    @given(rows=any_responses, one=energies, two=energies)
    @settings(deadline=None)
    def test_more_energy_never_keeps_fewer(self, rows, one, two):
        got = analyse(rows)
        low, high = sorted((one, two))
        assert 1 <= keep_energy(got, low) <= keep_energy(got, high) <= max(1, got.active)

    @given(rows=any_responses, energy=energies, seed=st.integers(0, 99))
    @settings(deadline=None, max_examples=40)
    def test_neither_order_nor_scale_of_filters_matters(self, rows, energy, seed):
        order = np.random.default_rng(seed).permutation(rows.shape[1])
        one, two = analyse(rows), analyse(1e3 * rows[:, order])
        assert keep_kl(one) == keep_kl(two)
        assert keep_energy(one, energy) == keep_energy(two, energy)

    def test_all_energy_keeps_all_that_vary(self):
        got = of_variances(5, 1, 0, 0.001, 0)
        assert keep_energy(got, 1.0) == got.active == 3

    def test_all_energy_lets_copies_go(self):
        rows = responses(2, 4)
        assert keep_energy(analyse(np.hstack([rows, rows])), 1.0) == 4

    def test_no_energy_keeps_one(self):
        assert keep_energy(of_variances(1, 1), 0.0) == 1

    @pytest.mark.parametrize("filters", [1, 3, 7, 10, 64, 100, 512])
    def test_equal_filters_at_a_border_are_not_moved_by_rounding(self, filters):
        # In floats this is ceil(3.0000000000000004).
        got = of_variances(*[0.1] * filters)
        assert keep_kl(got) == filters
        assert [keep_energy(got, k / filters) for k in range(1, filters + 1)] == list(range(1, filters + 1))

    @pytest.mark.parametrize(("nudge", "count"), [(-1e-10, 5), (1e-10, 5), (1e-7, 6)])
    def test_the_tolerance_of_energy(self, nudge, count):
        assert keep_energy(of_variances(*[1] * 10), 0.5 + nudge) == count

    def test_half_of_equal_filters_by_divergence(self):
        # p = 1/2 twice of C = 4: kl = ln 2, half of ln 4, so 2 stay.
        assert keep_kl(of_variances(1, 1, 0, 0)) == 2

    @pytest.mark.parametrize("energy", [-0.1, 1.0001, 95, float("nan")])
    def test_energy_out_of_range(self, energy):
        with pytest.raises(ConfigError, match="between 0 and 1") as caught:
            keep_energy(of_variances(1, 1), energy)
        assert "0.95" in caught.value.remedy


GROUPS = {
    "a": of_variances(8, 4, 2, 1, 1),
    "b": of_variances(1, 1, 1, 1),
    "c": of_variances(100, 1, 1, 0, 0, 0, 0, 0),
}


class TestStrategies:
    def test_kl(self):
        got = recipe(GROUPS, never, Rule("kl"))
        assert got.counts == {name: keep_kl(each) for name, each in GROUPS.items()}
        assert got.energy is None

    def test_energy(self):
        got = recipe(GROUPS, never, Rule("energy", energy=0.9))
        assert got.counts == {"a": 4, "b": 4, "c": 1}
        assert got.energy == 0.9
        assert got.widths == {"a": 5, "b": 4, "c": 8}

    def test_no_group(self):
        assert recipe({}, never, Rule("kl")).counts == {}
        assert recipe({}, lambda keep: 7.0, Rule("bytes", target=7)).counts == {}
        with pytest.raises(TargetError):
            recipe({}, lambda keep: 7.0, Rule("bytes", target=6))

    @pytest.mark.parametrize("strategy", ["parameters", "bytes", "macs"])
    @pytest.mark.parametrize("round_to", [1, 2, 3])
    @pytest.mark.parametrize("minimum", [1, 3])
    @given(seed=st.integers(0, 9999), share=st.floats(0, 1.2))
    @settings(deadline=None, max_examples=15)
    def test_largest_energy_that_meets_the_target(self, strategy, round_to, minimum, seed, share):
        groups = {str(i): analyse(responses(seed + i, 2 + (seed + 3 * i) % 9)) for i in range(3)}

        def footprint(keep: Mapping[str, int]) -> float:
            # Neighbours multiply, as weights do.
            return 3 * keep["0"] + keep["0"] * keep["1"] + 5 * keep["1"] * keep["2"] + 7

        rule = Rule(strategy, None, share * footprint({"0": 10, "1": 10, "2": 10}), round_to, minimum)
        every = sorted({0.0} | {min(1.0, e) for s in groups.values() for e in np.cumsum(s.eigenvalues)})
        meeting = [
            energy
            for energy in every
            if all(
                footprint(each) <= rule.target for each in (plain(groups, energy, minimum), below(groups, energy, rule))
            )
        ]
        if not meeting:
            least = max(footprint(plain(groups, 0.0, minimum)), footprint(below(groups, 0.0, rule)))
            with pytest.raises(TargetError, match=f"has {least:,.0f} {strategy}"):
                recipe(groups, footprint, rule)
            return
        got = recipe(groups, footprint, rule)
        assert footprint(got.counts) <= rule.target
        assert got.energy == meeting[-1]
        assert round_to > 1 or got.counts == plain(groups, meeting[-1], minimum)

    def test_out_of_reach_names_both_figures(self):
        with pytest.raises(TargetError) as caught:
            recipe(GROUPS, lambda keep: 1000 * sum(keep.values()), Rule("parameters", target=2999.0))
        assert str(caught.value).splitlines() == [
            "The smallest recipe has 3,000 parameters; the target is 2,999.",
            "  Set recipe.parameters to 3,000 or more, or lower round_to and minimum.",
        ]

    def test_the_smallest_is_in_reach_exactly(self):
        got = recipe(GROUPS, lambda keep: 1000 * sum(keep.values()), Rule("parameters", target=3000))
        assert got.counts == {"a": 1, "b": 1, "c": 1}

    def test_a_generous_target_keeps_all_that_vary(self):
        got = recipe(GROUPS, lambda keep: sum(keep.values()), Rule("macs", target=1e9))
        assert got.counts == {"a": 5, "b": 4, "c": 3}

    def test_few_footprints_are_counted(self):
        calls = []
        groups = {str(i): of_variances(*np.random.default_rng(i).random(256)) for i in range(20)}
        recipe(groups, lambda keep: calls.append(1) or sum(keep.values()), Rule("bytes", target=2000))
        assert len(calls) <= 14


class TestRounding:
    @pytest.mark.parametrize(
        ("round_to", "minimum", "count"), [(1, 1, 3), (2, 1, 4), (4, 1, 4), (8, 1, 5), (1, 4, 4), (2, 9, 5)]
    )
    def test_up_to_a_multiple_but_never_above_the_width(self, round_to, minimum, count):
        rule = Rule("energy", energy=0.85, round_to=round_to, minimum=minimum)
        assert recipe({"a": GROUPS["a"]}, never, rule).counts == {"a": count}

    @pytest.mark.parametrize(("width", "multiple"), [(15, 1), (16, 4), (31, 4), (32, 8), (100, 8)])
    def test_auto_is_of_8_from_32_filters_on_and_of_4_from_16_on(self, width, multiple):
        groups = {"a": analyse(responses(2, width, 300))}
        counts = {
            recipe(groups, lambda keep: keep["a"], Rule("parameters", None, size, "auto")).counts["a"]
            for size in range(multiple, width + 1)
        }
        assert counts == {*range(multiple, width + 1, multiple), width}

    @pytest.mark.parametrize("strategy", ["parameters", "bytes", "macs"])
    def test_a_target_is_met_by_the_neighbours_that_lose_least(self, strategy):
        # 13 filters of each are within the target, and up to the next multiple both were 16, which is above it.
        groups = {"a": of_variances(*[1] * 32), "b": of_variances(*[2.0**-n for n in range(32)])}
        assert recipe({"a": groups["a"]}, never, Rule("energy", 13 / 32, None, 8)).counts == {"a": 16}
        found = recipe(groups, lambda keep: sum(keep.values()), Rule(strategy, None, 24.0, 8))
        assert found.counts == {"a": 16, "b": 8}


WIDTHS = st.lists(st.sampled_from([1, 5, 12, 16, 20, 32, 48, 64, 100]), min_size=1, max_size=5)
ROUND_TO = st.sampled_from([1, 2, 3, 8, "auto"])


@contextmanager
def reachable() -> Iterator[None]:
    """Pass over a draw whose target is out of reach."""
    try:
        yield
    except TargetError:
        assume(False)


def decaying(widths: list[int], seed: int) -> dict[str, Spectrum]:
    draw = np.random.default_rng(seed)
    return {
        str(place): of_variances(*np.sort(np.exp(-draw.uniform(0.01, 0.3) * np.arange(width)))[::-1])
        for place, width in enumerate(widths)
    }


def chained(keep: Mapping[str, int]) -> float:
    counts = [3, *keep.values(), 10]
    return float(sum(9 * read * made for read, made in pairwise(counts)))


def assert_neighbours(
    counts: Mapping[str, int], groups: Mapping[str, Spectrum], own: Mapping[str, int], rule: Rule
) -> None:
    for name, count in counts.items():
        width = groups[name].filters
        assert count in about(own[name], width, multiple(rule.round_to, width), rule.minimum)


class TestLawsOfRounding:
    @given(WIDTHS, st.integers(0, 99), ROUND_TO, st.integers(1, 20), st.floats(0.05, 1.0))
    @settings(deadline=None, max_examples=60)
    def test_counts_are_neighbours_the_target_is_a_bound_and_no_room_is_left(
        self, widths, seed, round_to, minimum, share
    ):
        groups = decaying(widths, seed)
        rule = Rule("macs", None, share * chained({name: s.filters for name, s in groups.items()}), round_to, minimum)
        with reachable():
            found = recipe(groups, chained, rule)
        own = plain(groups, found.energy)
        assert chained(found.counts) <= rule.target
        assert_neighbours(found.counts, groups, own, rule)
        for name, count in found.counts.items():
            width = groups[name].filters
            above = about(own[name], width, multiple(round_to, width), minimum)[1]
            assert count == above or chained({**found.counts, name: above}) > rule.target

    @given(WIDTHS, st.integers(0, 99), ROUND_TO, st.floats(0.05, 1.0), st.floats(0.05, 1.0))
    @settings(deadline=None, max_examples=40)
    def test_a_larger_target_keeps_no_fewer_of_any_group_but_for_rounding(self, widths, seed, round_to, one, two):
        groups = decaying(widths, seed)
        whole = chained({name: each.filters for name, each in groups.items()})
        with reachable():
            small = recipe(groups, chained, Rule("macs", None, min(one, two) * whole, round_to))
            large = recipe(groups, chained, Rule("macs", None, max(one, two) * whole, round_to))
        assert small.energy <= large.energy
        for name, each in groups.items():
            assert small.counts[name] < large.counts[name] + multiple(round_to, each.filters)

    @given(WIDTHS, st.integers(0, 99), st.just(Rule("kl")) | energies.map(lambda energy: Rule("energy", energy)))
    @settings(deadline=None, max_examples=60)
    def test_auto_makes_no_model_larger_than_the_counts_of_its_strategy(self, widths, seed, rule):
        groups, auto = decaying(widths, seed), replace(rule, round_to="auto")
        own = recipe(groups, never, rule).counts
        counts = recipe(groups, chained, auto).counts
        assert_neighbours(counts, groups, own, auto)
        lowest = {name: about(own[name], s.filters, multiple("auto", s.filters), 1)[0] for name, s in groups.items()}
        assert chained(counts) <= chained(own) or counts == lowest

    @given(WIDTHS, st.integers(0, 99), st.sampled_from([2, 3, 8]), energies, energies)
    @settings(deadline=None, max_examples=40)
    def test_a_number_keeps_what_kl_and_energy_keep_and_more_energy_no_fewer(self, widths, seed, round_to, one, two):
        groups, low, high = decaying(widths, seed), *sorted((one, two))
        for rule in (Rule("kl"), Rule("energy", low)):
            own, counts = (recipe(groups, never, replace(rule, round_to=n)).counts for n in (1, round_to))
            assert all(own[name] <= counts[name] < own[name] + round_to for name in groups)
        less, more = (recipe(groups, never, Rule("energy", e, None, round_to)).counts for e in (low, high))
        assert all(less[name] <= more[name] for name in groups)

    @given(WIDTHS, st.integers(0, 99), ROUND_TO, st.floats(0.05, 1.0))
    @settings(deadline=None, max_examples=30)
    def test_by_losses_the_same_bounds_hold(self, widths, seed, round_to, share):
        groups = decaying(widths, seed)
        losses = {name: each.eigenvalues[::-1] for name, each in groups.items()}
        full = {name: each.filters for name, each in groups.items()}
        target = share * chained(full)
        with reachable():
            counts = recipe_by_losses(losses, full, chained, Rule("macs", None, target, round_to)).counts
        assert chained(counts) <= target
        for name, count in counts.items():
            assert count in allowed_counts(full[name], multiple(round_to, full[name]), 1)

    def test_a_group_that_was_cut_before_keeps_the_multiples_of_its_first_width(self):
        # 24 filters are left of 64: of 4 if they were all, of 8 as a part of 64.
        rule = Rule("macs", None, 20.0, "auto")
        groups = {"a": of_variances(*[1] * 24)}
        first, later = (
            recipe(groups, lambda keep: keep["a"], each) for each in (rule, replace(rule, widths={"a": 64}))
        )
        assert (first.counts, later.counts) == ({"a": 20}, {"a": 16})


class TestRule:
    @pytest.mark.parametrize(
        "arguments",
        [
            {"strategy": "energy"},
            {"strategy": "bytes"},
            {"strategy": "kl", "round_to": 0},
            {"strategy": "kl", "minimum": 0},
        ],
    )
    def test_what_is_missing_is_said(self, arguments):
        with pytest.raises(ConfigError):
            Rule(**arguments)


def test_a_plan_prints_sorted():
    plan = recipe(GROUPS, never, Rule("energy", energy=0.9), {"head": "it feeds the output"})
    assert str(plan).splitlines() == [
        "energy 0.9",
        "a     5 -> 4",
        "b     4 -> 4",
        "c     8 -> 1",
        "head  whole: it feeds the output",
    ]
    assert str(Recipe("kl", None, {})) == "kl"


curves = st.lists(st.floats(0.001, 1.0), min_size=2, max_size=5).map(lambda values: np.array(sorted(values)))
networks = st.lists(st.tuples(curves, st.integers(1, 9)), min_size=1, max_size=3)


def _network(parts: list[tuple[np.ndarray, int]]) -> tuple[dict[str, np.ndarray], dict[str, int], Callable[..., float]]:
    losses = {f"group {place}": curve for place, (curve, _) in enumerate(parts)}
    prices = {f"group {place}": price for place, (_, price) in enumerate(parts)}
    widths = {name: len(curve) for name, curve in losses.items()}
    return losses, widths, lambda keep: float(sum(prices[name] * count for name, count in keep.items()))


@given(networks, st.floats(0.2, 1.0))
def test_by_losses_no_recipe_of_the_same_size_loses_less(parts: list[tuple[np.ndarray, int]], share: float) -> None:
    """Against every recipe there is: the curves rise ever faster, so each is its own hull."""
    losses, widths, size = _network(parts)
    target = share * size(widths)
    assume(size(dict.fromkeys(widths, 1)) <= target)
    found = recipe_by_losses(losses, widths, size, Rule("parameters", target=target))

    def lost(keep: Mapping[str, int]) -> float:
        return sum(float(losses[name][: widths[name] - count].sum()) for name, count in keep.items())

    every = (dict(zip(widths, counts, strict=True)) for counts in product(*(range(1, w + 1) for w in widths.values())))
    assert size(found.counts) <= target
    assert lost(found.counts) <= min(lost(keep) for keep in every if size(keep) <= size(found.counts)) + 1e-9


uneven = st.lists(
    st.tuples(st.lists(st.floats(0, 1), min_size=2, max_size=6).map(np.array), st.integers(1, 9)),
    min_size=1,
    max_size=3,
)


@given(uneven, st.floats(0.2, 1.0))
def test_by_losses_what_is_dear_at_first_is_taken_together_with_what_is_cheap_behind_it(
    parts: list[tuple[np.ndarray, int]], share: float
) -> None:
    """Curves that rise ever more slowly have hulls of few corners; whatever ends there is the best of its size."""
    losses, widths, size = _network(parts)
    target = share * size(widths)
    assume(size(dict.fromkeys(widths, 1)) <= target)
    found = recipe_by_losses(losses, widths, size, Rule("parameters", target=target)).counts

    def lost(keep: Mapping[str, int]) -> float:
        return sum(float(losses[name][: widths[name] - count].sum()) for name, count in keep.items())

    every = (dict(zip(widths, counts, strict=True)) for counts in product(*(range(1, w + 1) for w in widths.values())))
    assert size(found) <= target
    assert lost(found) <= min(lost(keep) for keep in every if size(keep) <= size(found)) + 1e-9


def test_by_losses_no_corner_of_a_hull_is_passed_over() -> None:
    losses, widths, size = _network([(np.array([0.1, 0.2, 0.3, 0.4, 9.0]), 10)])
    targets = (50, 40, 30, 20, 10)
    kept = [recipe_by_losses(losses, widths, size, Rule("parameters", target=t)).counts["group 0"] for t in targets]
    assert kept == [5, 4, 3, 2, 1]


def test_by_losses_a_hull_has_no_corner_that_a_later_one_undercuts() -> None:
    losses, widths, size = _network([(np.array([0.9, 0.1, 0.1, 5.0]), 10), (np.array([0.5, 0.5]), 10)])
    kept = [recipe_by_losses(losses, widths, size, Rule("parameters", target=t)).counts for t in (60, 59, 30, 29, 20)]
    assert kept == [
        {"group 0": 4, "group 1": 2},
        {"group 0": 1, "group 1": 2},
        {"group 0": 1, "group 1": 2},
        {"group 0": 1, "group 1": 1},
        {"group 0": 1, "group 1": 1},
    ]


@given(networks)
def test_by_losses_a_smaller_target_never_keeps_more(parts: list[tuple[np.ndarray, int]]) -> None:
    losses, widths, size = _network(parts)
    smallest, whole = size(dict.fromkeys(widths, 1)), size(widths)
    targets = np.linspace(smallest, whole, 6)
    found = [recipe_by_losses(losses, widths, size, Rule("parameters", target=float(t))).counts for t in targets]
    for less, more in pairwise(found):
        assert all(less[name] <= more[name] for name in widths)
    assert found[-1] == widths


def test_by_losses_out_of_reach_names_the_smallest() -> None:
    losses, widths, size = _network([(np.array([0.1, 0.2, 0.3]), 10)])
    with pytest.raises(TargetError, match="smallest recipe has 10 parameters; the target is 9"):
        recipe_by_losses(losses, widths, size, Rule("parameters", target=9))


def test_by_losses_a_group_without_losses_stays_whole_and_says_why() -> None:
    losses, widths, size = _network([(np.array([0.1, 0.2]), 10), (np.array([0.1, 0.2]), 10)])
    del losses["group 1"]
    found = recipe_by_losses(losses, widths, size, Rule("parameters", target=30))
    assert found.counts == {"group 0": 1}
    assert found.reasons == {"group 1": "what its readers lose cannot be known"}


def test_by_losses_a_group_that_saves_nothing_stays_whole() -> None:
    losses, widths, size = _network([(np.array([0.1, 0.2]), 10), (np.array([0.0, 0.0]), 0)])
    assert recipe_by_losses(losses, widths, size, Rule("parameters", target=10)).counts == {"group 0": 1, "group 1": 2}


@pytest.mark.parametrize(("target", "count"), [(3, 3), (5, 3), (6, 6), (7.5, 6), (8, 8)])
def test_by_losses_counts_are_multiples(target: float, count: int) -> None:
    losses, widths, size = _network([(np.linspace(0.1, 0.8, 8), 1)])
    assert recipe_by_losses(losses, widths, size, Rule("parameters", target=target, round_to=3)).counts == {
        "group 0": count
    }
