"""Law by law: splitting, merging, order, dtype and scale do not change the moments."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pfa_gate.analysis.covariance import (
    JackknifeFolds,
    Moments,
    accumulate,
    as_rows,
    covariance,
    merge,
    merge_all,
    subset,
    update,
)
from pfa_gate.analysis.covariance.on_device import DeviceFolds
from pfa_gate.errors import DataError, NotFiniteError, TooFewSamplesError


def responses(samples: int = 300, filters: int = 7, mean: float = 0.0, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return mean + draw.standard_normal((samples, filters)) @ draw.standard_normal((filters, filters))


def moments(rows: np.ndarray) -> Moments:
    return update(Moments.empty(rows.shape[1]), rows)


def in_batches(rows: np.ndarray, size: int) -> Moments:
    total = Moments.empty(rows.shape[1])
    for start in range(0, len(rows), size):
        total = update(total, rows[start : start + size])
    return total


def assert_same(one: Moments, two: Moments, tolerance: float = 1e-9) -> None:
    assert one.count == two.count
    scale = np.sqrt(two.scatter.diagonal() / max(two.count, 1))
    np.testing.assert_allclose(one.mean, two.mean, rtol=tolerance, atol=tolerance * scale.max())
    np.testing.assert_allclose(one.scatter, two.scatter, rtol=tolerance, atol=tolerance * two.scatter.diagonal().max())


def test_covariance_is_that_of_numpy():
    rows = responses()
    np.testing.assert_allclose(covariance(moments(rows)), np.cov(rows, rowvar=False), rtol=1e-12)


@given(
    size=st.integers(1, 320),
    mean=st.sampled_from([0.0, 1.0, -1e3, 1e4]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=40)
def test_batch_size_does_not_matter(size, mean, seed):
    rows = responses(mean=mean, seed=seed)
    assert_same(in_batches(rows, size), moments(rows))


@given(seed=st.integers(0, 99))
@settings(deadline=None, max_examples=20)
def test_order_of_samples_does_not_matter(seed):
    rows = responses(mean=1e4)
    assert_same(moments(np.random.default_rng(seed).permutation(rows)), moments(rows))


@given(first=st.integers(0, 300), second=st.integers(0, 300))
@settings(deadline=None, max_examples=30)
def test_merge_is_associative_and_commutative(first, second):
    low, high = sorted((first, second))
    rows = responses(mean=100.0)
    a, b, c = moments(rows[:low]), moments(rows[low:high]), moments(rows[high:])
    assert_same(merge(merge(a, b), c), merge(a, merge(b, c)))
    assert_same(merge(a, b), merge(b, a))
    assert_same(merge_all([a, b, c]), moments(rows))


def test_the_scatter_is_symmetric_to_the_last_bit():
    got = in_batches(responses(mean=10.0), 13).scatter
    np.testing.assert_array_equal(got, got.T)


def test_empty_moments_are_neutral():
    full = moments(responses())
    assert merge(full, Moments.empty(7)) is full
    assert merge(Moments.empty(7), full) is full
    assert update(full, np.empty((0, 7))) is full


def test_update_leaves_the_old_moments_alone():
    old = moments(responses())
    before = old.mean.copy(), old.scatter.copy()
    update(old, responses(seed=1))
    np.testing.assert_array_equal(old.mean, before[0])
    np.testing.assert_array_equal(old.scatter, before[1])


@pytest.mark.parametrize("size", [1, 7, 32, 500, 2000])
def test_large_mean_in_float32_keeps_its_eigenvalues(size):
    # Trap 1: raw sums in float32 at mean / sd = 1e4 left 10 to 24 of 32 filters.
    rows = (1e4 + np.random.default_rng(3).standard_normal((2000, 32))).astype(np.float32)
    centred = rows.astype(np.float64) - rows.astype(np.float64).mean(axis=0)
    wanted = np.linalg.eigvalsh(centred.T @ centred / (len(rows) - 1))
    got = np.linalg.eigvalsh(covariance(in_batches(rows, size)))
    assert np.abs(got / wanted - 1).max() < 1e-6


class TestShards:
    @pytest.mark.parametrize("size", [1, 7, 1000, 1024, 3000])
    def test_batch_size_does_not_change_a_bit(self, size):
        rows = responses(samples=2500)
        whole, cut = JackknifeFolds(7), JackknifeFolds(7)
        whole.add(rows)
        for start in range(0, len(rows), size):
            cut.add(rows[start : start + size])
        for one, two in zip(cut.moments(), whole.moments(), strict=True):
            np.testing.assert_array_equal(one.scatter, two.scatter)
            np.testing.assert_array_equal(one.mean, two.mean)

    @pytest.mark.parametrize("samples", [0, 3, 8, 1023, 1025, 2049])
    def test_sample_i_goes_to_shard_i_modulo_8(self, samples):
        rows = responses(samples=samples)
        shards = JackknifeFolds(7)
        shards.add(rows)
        assert len(shards.moments()) == 8
        for number, shard in enumerate(shards.moments()):
            assert_same(shard, moments(rows[number::8]), 1e-12)

    def test_a_look_half_way_deals_no_sample_to_another_shard(self):
        rows, shards = responses(samples=1500), JackknifeFolds(7)
        for part in np.split(rows, [3, 603, 1201]):
            shards.add(part)
            shards.moments()
        for number, shard in enumerate(shards.moments()):
            assert_same(shard, moments(rows[number::8]), 1e-12)

    def test_what_was_read_half_way_stays_as_it_was(self):
        rows, shards = responses(samples=1500), JackknifeFolds(7)
        shards.add(rows[:600])
        early = merge_all(shards.moments())
        held = shards.moments()
        shards.add(rows[600:])
        assert_same(merge_all(shards.moments()), moments(rows))
        assert_same(merge_all(held), early, 0.0)
        assert early.count == 600

    @pytest.mark.parametrize("filters", [1, 127, 128, 300])
    def test_each_scatter_is_symmetric_to_the_last_bit(self, filters):
        shards = JackknifeFolds(filters)
        shards.add(responses(samples=400, filters=filters, mean=10.0))
        for shard in shards.moments():
            np.testing.assert_array_equal(shard.scatter, shard.scatter.T)
            assert shard.scatter.flags.c_contiguous

    @pytest.mark.parametrize("filters", [7, 130])
    @pytest.mark.parametrize("mean", [0.0, 3.9, 4.1, 1e4, 1e8])
    def test_the_centre_does_not_show(self, filters, mean):
        """Sums are about 0, uncopied, up to a mean of four standard deviations, and about the first block's beyond."""
        rows = mean + np.random.default_rng(0).standard_normal((4 * 8 * 384, filters))
        for kind in (np.float64, np.float32):
            shards = JackknifeFolds(filters)
            shards.add(rows.astype(kind))
            for number, shard in enumerate(shards.moments()):
                assert_same(shard, moments(rows.astype(kind)[number::8]), 1e-12)

    @pytest.mark.parametrize("jump", [1.0, 1e3, 1e6])
    def test_a_stream_that_goes_far_from_its_beginning(self, jump):
        rows = responses(samples=12_000)
        rows[3500:] += jump
        rows[:, 0] = np.arange(12_000) >= 11_990  # 0 in all blocks but the last
        shards = JackknifeFolds(7)
        shards.add(rows)
        assert_same(merge_all(shards.moments()), moments(rows), 1e-11)

    @pytest.mark.parametrize(
        "laid_out",
        [
            np.asfortranarray,
            lambda rows: np.repeat(rows, 2, axis=1)[:, ::2],
            lambda rows: rows[::-1].copy()[::-1],
            lambda rows: rows[:, ::-1].copy()[:, ::-1],
            lambda rows: np.repeat(rows, 3, axis=0)[::3],
            lambda rows: rows.astype(">f8"),
        ],
        ids=["columns", "every other column", "backwards", "mirrored", "every third row", "big end first"],
    )
    @pytest.mark.parametrize("filters", [1, 7, 130])
    def test_how_rows_lie_in_memory_does_not_matter(self, laid_out, filters):
        rows = responses(samples=4000, filters=filters)
        given, plain = JackknifeFolds(filters), JackknifeFolds(filters)
        given.add(laid_out(rows))
        plain.add(rows)
        for one, two in zip(given.moments(), plain.moments(), strict=True):
            assert_same(one, two, 1e-12)

    @pytest.mark.parametrize("place", [0, 3071, 3072, 6143, 6999])
    @pytest.mark.parametrize("value", [np.nan, -np.inf])
    def test_nan_and_infinity_are_told_of_the_batch_that_has_them(self, place, value):
        """Whether its block is summed up at once or waits for more."""
        rows = responses(samples=7000)
        rows[place, 2] = value
        with pytest.raises(NotFiniteError, match=r"1 of 7 filters .* in 1 of 7000 samples: filter 2\."):
            JackknifeFolds(7).add(rows)
        shards, first = JackknifeFolds(7), place // 100 * 100
        for start in range(0, first, 100):
            shards.add(rows[start : start + 100])
        with pytest.raises(NotFiniteError, match=r"in 1 of 100 samples: filter 2\."):
            shards.add(rows[first : first + 100])

    def test_rows_may_be_reused_by_the_caller(self):
        rows, shards = responses(), JackknifeFolds(7)
        shards.add(rows)
        rows[:] = 0
        assert merge_all(shards.moments()).scatter.any()

    def test_another_number_of_filters_is_refused(self):
        with pytest.raises(DataError, match="A batch has 6 filters; the batches before it had 7"):
            JackknifeFolds(7).add(responses(filters=6))


class TestAccumulate:
    def test_each_place_has_its_own_shards(self):
        one, two = responses(), responses(filters=3)
        stream = ({"a": one[i : i + 70], "b": two[i : i + 70]} for i in range(0, 300, 70))
        got = accumulate(stream, {})
        assert {place: len(shards) for place, shards in got.items()} == {"a": 8, "b": 8}
        assert_same(merge_all(got["a"]), moments(one))
        assert_same(merge_all(got["b"]), moments(two))

    @pytest.mark.parametrize(("layers", "named"), [({"a": "conv3"}, "conv3"), ({}, "a")])
    def test_an_error_names_the_layer(self, layers, named):
        with pytest.raises(NotFiniteError) as caught:
            accumulate([{"a": [[1.0, float("nan")]]}], layers)
        assert caught.value.where == (f"layer '{named}'",)
        with pytest.raises(DataError) as caught:
            accumulate([{"a": [[1.0]]}, {"a": [[1.0, 2.0]]}], layers)
        assert caught.value.where == (f"layer '{named}'",)


def test_a_subset_is_that_of_its_columns():
    rows = responses(mean=3.0)
    assert_same(subset(moments(rows), np.array([5, 0, 3])), moments(rows[:, [5, 0, 3]]))


class TestInput:
    @pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "bool", "float16", "float32", "float64"])
    @pytest.mark.parametrize("maker", [np.array, lambda a: torch.tensor(np.array(a)), list])
    def test_any_real_dtype_is_widened_first(self, dtype, maker):
        # Trap 6: int8 products overflow.
        rows = (100 * np.random.default_rng(0).random((50, 3))).astype(dtype)
        wide = rows.astype(np.float64)
        np.testing.assert_allclose(
            covariance(moments(as_rows(maker(rows)))), np.cov(wide, rowvar=False), rtol=1e-12, atol=1e-15
        )

    def test_bfloat16_and_tensors_that_need_gradients(self):
        rows = torch.arange(6.0).reshape(3, 2).requires_grad_()
        np.testing.assert_array_equal(as_rows(rows.bfloat16()), [[0, 1], [2, 3], [4, 5]])

    @pytest.mark.parametrize("shape", [(), (4,), (4, 3, 2), (4, 3, 5, 5), (4, 0)])
    def test_other_shapes_are_refused(self, shape):
        with pytest.raises(DataError, match=r"matrix \[samples, filters\]"):
            as_rows(np.zeros(shape))

    def test_ragged_rows_are_refused(self):
        with pytest.raises(DataError, match="differ in length"):
            as_rows([[1, 2], [3]])

    @pytest.mark.parametrize("rows", [[["a"]], [[1j]], [[None]], torch.ones(2, 2, dtype=torch.complex64)])
    def test_what_is_no_real_number_is_refused(self, rows):
        with pytest.raises(DataError, match="must be real numbers"):
            as_rows(rows)

    def test_nan_and_infinity_name_their_filters(self):
        # Trap 5: one NaN killed every layer and named none.
        rows = responses()
        rows[3, 1] = np.nan
        rows[[3, 9], 4] = np.inf, -np.inf
        with pytest.raises(NotFiniteError, match=r"2 of 7 filters .* in 2 of 300 samples: filter 1, 4\."):
            update(Moments.empty(7), rows)
        with pytest.raises(NotFiniteError, match="filter 1, 4"):
            JackknifeFolds(7).add(rows.astype(np.float32))

    def test_what_is_finite_in_a_wider_dtype_alone_is_refused(self):
        huge = np.full((2, 1), np.finfo(np.float64).max, np.longdouble) * 2
        if not np.isfinite(huge).all():
            pytest.skip("longdouble is float64 on this platform")
        for take in (as_rows, JackknifeFolds(1).add):
            with pytest.raises(NotFiniteError, match="1 of 1 filters"):
                take(huge)

    def test_many_broken_filters_are_abridged(self):
        with pytest.raises(NotFiniteError, match=r"filter 0, 1, 2, 3, 4, 5, 6, 7, \.\.\.\."):
            as_rows(np.full((2, 20), np.nan))

    @pytest.mark.parametrize("huge", [1e200, 1e308])
    def test_overflow_is_not_silent(self, huge):
        rows = np.array([[huge, 1.0], [-huge, 2.0], [huge, 3.0], [huge, 0.0]])
        folds = JackknifeFolds(2, 1)
        folds.add(rows)
        for found in (in_batches(rows, 2), *folds.moments()):
            with pytest.raises(NotFiniteError, match="overflow"):
                covariance(found)


def test_a_covariance_needs_two_samples():
    with pytest.raises(TooFewSamplesError, match="two samples; there are 1"):
        covariance(moments(responses(samples=1)))


def test_fewer_samples_than_filters_are_fine_here():
    rows = responses(samples=3)
    np.testing.assert_allclose(covariance(moments(rows)), np.cov(rows, rowvar=False), atol=1e-12)


def test_different_filters_do_not_merge():
    with pytest.raises(DataError, match="Responses of 2 filters cannot join those of 3"):
        merge(Moments.empty(3), Moments.empty(2))
    with pytest.raises(DataError, match="no moments"):
        merge_all([])


@given(cuts=st.lists(st.integers(0, 700), max_size=6), filters=st.integers(1, 5), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_sums_on_a_device_are_those_of_the_host(cuts: list[int], filters: int, seed: int) -> None:
    rows = torch.from_numpy(responses(2500, filters, mean=1e4, seed=seed))
    here, there = JackknifeFolds(filters), DeviceFolds(filters, 8, torch.device("cpu"))
    for batch in torch.tensor_split(rows, sorted(cuts)):
        here.add(batch)
        there.add(batch)
    for one, two in zip(there.moments(), here.moments(), strict=True):
        assert_same(one, two, tolerance=1e-10)
        assert np.array_equal(one.scatter, one.scatter.T)


def test_what_is_wrong_with_responses_on_a_device() -> None:
    there = DeviceFolds(2, 8, torch.device("cpu"))
    with pytest.raises(DataError, match=r"A batch has 3 filters; the batches before it had 2"):
        there.add(torch.zeros(1, 3))
    with pytest.raises(DataError, match=r"these have shape \[1, 1, 2, 2\]"):
        there.add(torch.zeros(1, 1, 2, 2))
    there.add(torch.tensor([[0.0, float("nan")], [0.0, 0.0]]))
    with pytest.raises(NotFiniteError, match="1 of 2 filters gave NaN or infinity in 1 of 2 samples: filter 1"):
        there.moments()
