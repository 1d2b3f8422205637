"""The recipes to compare with: at the target, in bounds, uniform or by chance, the same again."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pfa_gate.errors import ConfigError, TargetError
from pfa_gate.study.options import StudyOptions, chains, domain, steps_of
from pfa_gate.study.recipes import TOLERANCE, RecipeSpace, random, uniform

WIDTHS = st.lists(st.sampled_from([16, 24, 32, 64, 100]), min_size=2, max_size=9)


def space_of(widths: list[int], round_to: int = 1, minimum: int = 1) -> RecipeSpace:
    """A chain of layers: each count meets the next, as in a real network."""

    def footprint(keep) -> float:
        counts = [3, *keep.values(), 10]
        return float(sum(9 * read * made for read, made in pairwise(counts)))

    return RecipeSpace({f"layer{index}": width for index, width in enumerate(widths)}, footprint, round_to, minimum)


def full(space: RecipeSpace) -> float:
    return space.footprint(space.widths)


@settings(deadline=None, max_examples=60)
@given(WIDTHS, st.floats(0.1, 0.95), st.integers(0, 5), st.integers(0, 40))
def test_random_recipes_meet_the_target(widths, share, seed, draw):
    space = space_of(widths)
    target = share * full(space)
    try:
        keep = random(space, target, seed, draw)
    except TargetError:
        # Only where a single filter is that large a part of the whole.
        one = [full(space) - space.footprint({**space.widths, name: width - 1}) for name, width in space.widths.items()]
        assert max(one) > TOLERANCE * target
        return
    assert abs(space.footprint(keep) - target) <= TOLERANCE * target
    assert all(1 <= keep[name] <= width for name, width in space.widths.items())
    assert keep == random(space, target, seed, draw)


@settings(deadline=None, max_examples=60)
@given(WIDTHS, st.floats(0.1, 0.95), st.integers(1, 8), st.integers(1, 8))
def test_uniform_recipes_are_uniform(widths, share, round_to, minimum):
    space = space_of(widths, round_to, minimum)
    target = share * full(space)
    try:
        keep = uniform(space, target)
    except TargetError:
        # Only where the smallest recipe is too large, or a single step that large a part of the whole.
        smallest = space.footprint(space.counts(dict.fromkeys(space.widths, 0)))
        steps = ({**space.widths, name: max(0, width - round_to)} for name, width in space.widths.items())
        largest = full(space) - min(space.footprint(fewer) for fewer in steps)
        assert max(smallest - target, largest) > TOLERANCE * target
        return
    assert abs(space.footprint(keep) - target) <= TOLERANCE * target
    least = math.ceil(minimum / round_to) * round_to
    free = [(keep[name], width) for name, width in space.widths.items() if least < keep[name] < width]
    # There is one share within a step of which every count lies.
    low = max(((count - round_to) / width for count, width in free), default=0)
    high = min(((count + round_to) / width for count, width in free), default=1)
    assert low <= high + 1e-9
    assert all(count % round_to == 0 or count == space.widths[name] for name, count in keep.items())
    assert all(count >= min(least, space.widths[name]) for name, count in keep.items())


@pytest.mark.parametrize("recipe", [uniform, lambda space, target: random(space, target, 0, 0)])
def test_the_multiples_of_auto_are_those_of_a_recipe(recipe):
    space = space_of([100, 64, 48, 24, 10, 100, 64], "auto")
    found = recipe(space, 0.5 * full(space)).values()
    for count, width in zip(found, space.widths.values(), strict=True):
        assert count == width or count % (8 if width >= 32 else 4 if width >= 16 else 1) == 0


def test_draws_and_seeds_differ():
    space = space_of([64] * 6)
    drawn = [tuple(random(space, full(space) / 2, seed, draw).values()) for seed in range(2) for draw in range(20)]
    assert len(set(drawn)) == 40


def test_draws_are_spread_over_the_shares():
    space = space_of([100] * 8)
    shares = [count / 100 for draw in range(50) for count in random(space, full(space) / 2, 0, draw).values()]
    assert min(shares) < 0.1
    assert max(shares) == 1.0


def test_a_target_that_nothing_meets_is_an_error():
    space = RecipeSpace({"a": 2, "b": 2}, lambda keep: 100.0 * sum(keep.values()))
    for recipe in (lambda: uniform(space, 250), lambda: random(space, 250, 0, 0)):
        with pytest.raises(TargetError, match="within 1% of 250 parameters; the nearest has"):
            recipe()


@pytest.mark.parametrize(
    ("words", "fact"),
    [
        ({"strategies": ("kl", "kl")}, "The study asks for strategy 'kl' twice."),
        ({"strategies": ("kl", "")}, "The study asks for no strategy."),
        ({"strategies": ("kl",), "random": -1}, "random is -1 and seeds 3."),
        ({"strategies": ("kl",), "seeds": 0}, "random is 0 and seeds 0."),
    ],
)
def test_what_makes_no_study_is_refused(words, fact):
    with pytest.raises(ConfigError) as caught:
        StudyOptions(**words)
    assert caught.value.fact == fact


@pytest.mark.parametrize("text", ["", "a", "0,,3", "-1", "0.5"])
def test_a_domain_is_classes(text):
    with pytest.raises(ConfigError, match="names no classes"):
        domain(text)


@pytest.mark.parametrize("text", ["compensat", "none+distill", "finetune", ""])
def test_an_unknown_recovery_is_refused(text):
    with pytest.raises(ConfigError, match="recovery"):
        steps_of(text)


@given(st.permutations(["none", "compensate", "compensate+distill", "recalibrate", "recalibrate+compensate"]))
def test_every_recovery_is_in_one_chain_and_on_its_way(recoveries):
    found = chains(recoveries)
    assert sorted(each for run in found for each in run) == sorted(recoveries)
    for first, *others in found:
        assert all(steps_of(first)[: len(steps_of(other))] == steps_of(other) for other in others)
