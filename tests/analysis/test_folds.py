"""Any split of a stream's batches, merged in any order, gives the shards of the whole stream."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pfa_gate.analysis.covariance import (
    JackknifeFolds,
    Matrix,
    Moments,
    PartialFolds,
    accumulate,
    accumulate_parts,
    merge_by_sums,
    merge_parts,
)
from pfa_gate.analysis.covariance.on_device import DeviceFolds
from pfa_gate.analysis.spectrum import analyse, spectrum_of_folds
from pfa_gate.errors import DataError, NotFiniteError


def rows_of(samples: int, filters: int = 5, mean: float = 1e3) -> np.ndarray:
    draw = np.random.default_rng(0)
    return mean + draw.standard_normal((samples, filters)) @ draw.standard_normal((filters, filters))


def assert_same_shards(one: tuple[Moments, ...], two: tuple[Moments, ...], tolerance: float = 1e-9) -> None:
    assert [shard.count for shard in one] == [shard.count for shard in two]
    for mine, theirs in zip(one, two, strict=True):
        np.testing.assert_allclose(mine.mean, theirs.mean, rtol=tolerance)
        largest = theirs.scatter.diagonal().max()
        np.testing.assert_allclose(mine.scatter, theirs.scatter, rtol=tolerance, atol=tolerance * largest)


def test_a_wide_layer_is_kept_in_one_shard_wherever_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pfa_gate.analysis.covariance.jackknife.WIDEST", 5)
    narrow, wide = rows_of(40, 5), rows_of(40, 6)
    whole = accumulate([{"narrow": narrow, "wide": wide}], {})
    dealt = accumulate_parts([({"narrow": narrow, "wide": wide}, {"narrow": 0, "wide": 0})], {})
    for found in (whole, dealt):
        assert [len(found[name]) for name in ("narrow", "wide")] == [8, 1]
    assert_same_shards(whole["wide"], dealt["wide"])
    assert analyse(narrow).kl_stderr is not None
    assert analyse(wide).kl_stderr is None
    assert spectrum_of_folds(whole["wide"]).kl_ratio == pytest.approx(analyse(wide).kl_ratio, rel=1e-12)


@pytest.mark.parametrize("filters", [127, 128, 130, 600])
def test_the_scatter_of_many_filters_is_that_of_the_whole_matrix(filters: int) -> None:
    rows = np.random.default_rng(filters).standard_normal((300, filters))
    folds = JackknifeFolds(filters, 1)
    folds.add(rows[:170])
    folds.add(rows[170:])
    (found,) = folds.moments()
    centred = rows - rows.mean(axis=0)
    np.testing.assert_allclose(found.scatter, centred.T @ centred, atol=1e-9)


@given(data=st.data(), batch=st.integers(1, 90), samples=st.integers(1, 400), machines=st.integers(1, 6))
@settings(deadline=None, max_examples=60)
def test_any_split_in_any_order_gives_the_shards_of_the_whole(
    data: st.DataObject, batch: int, samples: int, machines: int
) -> None:
    rows = rows_of(samples)
    starts = range(0, samples, batch)
    owners = data.draw(st.lists(st.integers(0, machines - 1), min_size=len(starts), max_size=len(starts)))
    whole = accumulate([{"a": rows, "sum": rows}], {}, {"sum"})
    parts = []
    for machine in sorted(set(owners)):
        mine = [start for start, owner in zip(starts, owners, strict=True) if owner == machine]
        stream = ((dict.fromkeys(("a", "sum"), rows[s : s + batch]), {"a": s, "sum": s}) for s in mine)
        parts.append(accumulate_parts(stream, {}, {"sum"}))
    merged = merge_parts(data.draw(st.permutations(parts)))
    assert_same_shards(merged["a"], whole["a"])
    assert_same_shards(merged["sum"], whole["sum"])


@pytest.mark.parametrize("batch", [1, 7, 128, 1000])
def test_one_part_alone_is_the_whole_to_the_last_bit(batch: int) -> None:
    rows, whole, dealt = rows_of(2500), JackknifeFolds(5), PartialFolds(5)
    whole.add(rows)
    for start in range(0, len(rows), batch):
        dealt.add(rows[start : start + batch], start)
    for one, two in zip(dealt.moments(), whole.moments(), strict=True):
        np.testing.assert_array_equal(one.scatter, two.scatter)
        np.testing.assert_array_equal(one.mean, two.mean)


def test_parts_that_were_read_elsewhere_are_refused() -> None:
    one = accumulate_parts([({"a": [[1.0]]}, {"a": 0})], {})
    with pytest.raises(DataError, match="not read at the same places"):
        merge_parts([one, accumulate_parts([({"b": [[1.0]]}, {"b": 1})], {})])
    with pytest.raises(DataError, match="hold 'a' in 8 and 1 folds"):
        merge_parts([one, accumulate_parts([({"a": [[1.0]]}, {"a": 1})], {}, {"a"})])
    with pytest.raises(DataError, match="Responses of 2 filters cannot join those of 1"):
        merge_parts([one, accumulate_parts([({"a": [[1.0, 2.0]]}, {"a": 0})], {})])


def test_an_error_names_the_layer() -> None:
    with pytest.raises(NotFiniteError) as caught:
        accumulate_parts([({"a": [[float("nan")]]}, {"a": 0})], {"a": "conv3"})
    assert caught.value.where == ("layer 'conv3'",)


@given(batch=st.integers(1, 90), samples=st.integers(1, 400), ranks=st.integers(1, 5))
@settings(deadline=None, max_examples=40)
def test_sums_over_all_ranks_give_the_shards_of_the_whole(batch: int, samples: int, ranks: int) -> None:
    """Every rank runs the same code, so each sum is known once all have asked for it; some may hold nothing."""
    rows = rows_of(samples)
    whole = accumulate([{"a": rows, "sum": rows}], {}, {"sum"})
    held = []
    for rank in range(ranks):
        mine = list(range(0, samples, batch))[rank::ranks]
        stream = ((dict.fromkeys(("a", "sum"), rows[s : s + batch]), {"a": s, "sum": s}) for s in mine)
        held.append(accumulate_parts(stream, {}, {"sum"}))
    found = in_step([partial(merge_by_sums, each, {"a": (8, 5), "sum": (1, 5)}) for each in held])
    for merged in found:
        assert_same_shards(merged["a"], whole["a"])
        assert_same_shards(merged["sum"], whole["sum"])


def in_step(tasks: list[Callable[[Callable[[Matrix], Matrix]], Any]]) -> list[Any]:
    """Run tasks at once, each with a function that sums over all of them."""
    meeting, given = threading.Barrier(len(tasks)), dict[int, Matrix]()

    def total(number: int, mine: Matrix) -> Matrix:
        given[number] = mine
        meeting.wait(10)
        added = sum(given[each] for each in range(len(tasks)))
        meeting.wait(10)
        return added

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(lambda number: tasks[number](partial(total, number)), range(len(tasks))))


def by_hand(samples: list[np.ndarray]) -> tuple[Moments, ...]:
    """Sample i, with all its rows, in shard i modulo 8."""
    lanes = [np.concatenate([samples[0][:0], *samples[lane::8]]) for lane in range(8)]
    return tuple(Moments(len(r), r.mean(0), (r - r.mean(0)).T @ (r - r.mean(0))) for r in lanes)


@given(each=st.sampled_from([2, 5, 64, 200]), other=st.sampled_from([1, 3]), batch=st.integers(1, 40))
@settings(deadline=None, max_examples=25)
def test_the_responses_of_one_sample_are_in_one_shard(each: int, other: int, batch: int) -> None:
    """However many it has, however the stream is cut, on whatever device, and where it is measured in parts."""
    draw = np.random.default_rng(each)
    samples = [1e3 + draw.standard_normal((m, 4)) for m in [each] * 37 + [other] * 21]
    batches = [samples[i : min(i + batch, stop)] for a, stop in ((0, 37), (37, 58)) for i in range(a, stop, batch)]
    starts = np.cumsum([0, *map(len, batches)]).tolist()
    one, cut, far = JackknifeFolds(4), JackknifeFolds(4), DeviceFolds(4, 8, torch.device("cpu"))
    for part in (samples[:37], samples[37:]):
        one.add(np.stack(part))
    for part in batches:
        cut.add(np.stack(part))
        far.add(torch.from_numpy(np.stack(part)))
    wanted = by_hand(samples)
    assert_same_shards(one.moments(), wanted)
    assert_same_shards(far.moments(), wanted)
    assert all(np.array_equal(a.scatter, b.scatter) for a, b in zip(one.moments(), cut.moments(), strict=True))
    stream = [({"conv": np.stack(part)}, {"conv": start}) for part, start in zip(batches, starts, strict=False)]
    dealt = merge_parts([accumulate_parts([piece], {}) for piece in stream])
    assert_same_shards(dealt["conv"], wanted)


def test_saying_everything_seven_times_makes_nothing_surer() -> None:
    """Copies of a sample's response change no value and no standard error of it."""
    rows = rows_of(200)
    once, often = JackknifeFolds(5), JackknifeFolds(5)
    once.add(rows)
    often.add(np.repeat(rows[:, None], 7, axis=1))
    found, again = spectrum_of_folds(once.moments()), spectrum_of_folds(often.moments())
    assert again.samples == 7 * found.samples
    for name in ("kl_ratio", "kl_stderr", "peak_stderr", "mean_stderr"):
        assert getattr(again, name) == pytest.approx(getattr(found, name), rel=1e-9)
