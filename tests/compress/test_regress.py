"""Positions drawn in each sample; that patches times the weight are the layer stands in `recover/test_compensate`."""

import gc
import weakref

import torch
from hypothesis import given
from hypothesis import strategies as st

from pfa_gate.compress.regress import draw, spread

few = st.integers(1, 12)


@given(few, few, few, st.integers(0, 9))
def test_positions_are_places_without_repetition(samples, places, count, seed):
    drawn = draw(samples, places, count, seed)
    assert drawn.shape == (samples, min(count, places))
    assert all(len(set(row)) == len(row) and set(row) <= set(range(places)) for row in drawn.tolist())


@given(few, few, few, few)
def test_fewer_positions_are_the_first_of_more(samples, places, count, more):
    assert torch.equal(draw(samples, places, count + more, 3)[:, :count], draw(samples, places, count, 3))


def test_another_seed_draws_others():
    assert not torch.equal(draw(8, 100, 5, 0), draw(8, 100, 5, 1))


def test_what_is_held_for_the_next_layer_is_small():
    small, large = weakref.ref(draw(64, 50, 20, 0)), weakref.ref(draw(2**17, 2, 1, 0))
    gc.collect()
    assert small() is draw(64, 50, 20, 0)
    assert large() is None


@given(st.integers(0, 200))
def test_the_spread_order_names_each_once(count):
    assert sorted(spread(count)) == list(range(count))
