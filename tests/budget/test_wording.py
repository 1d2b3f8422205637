"""Numbers in sentences, against exact decimal arithmetic."""

import math
from decimal import ROUND_HALF_EVEN, Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pfa_gate.budget.wording import amount, apart, difference, listed, percent, plural, significant, trimmed

SIGNED = st.floats(1e-9, 1e15) | st.floats(-1e15, -1e-9)


@given(SIGNED, st.integers(1, 9))
def test_significant_digits_are_those_of_the_exact_number(value: float, digits: int) -> None:
    exact = Decimal(value)
    last = max(0, digits - 1 - exact.adjusted())  # whole numbers are never rounded
    plain = format(exact.quantize(Decimal(1).scaleb(-last), ROUND_HALF_EVEN, context=None), "f")
    assert Decimal(significant(value, digits)) == Decimal(plain)
    assert significant(value, digits) == (plain.rstrip("0").rstrip(".") if "." in plain else plain)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-0.0, "0"), (math.inf, "inf"), (-math.inf, "-inf"), (math.nan, "nan"), (-0.0012345, "-0.00123")],
)
def test_what_has_no_digits_has_a_word(value: float, text: str) -> None:
    assert significant(value) == text


TENTHS = st.integers(-(10**12), 10**12)


@given(TENTHS, TENTHS, st.integers(0, 9))
@example(3781, -4_346_977_400, 3)  # the larger one is the negative one
def test_a_difference_is_that_of_the_numbers_as_they_are_written(one: int, other: int, places: int) -> None:
    values = [Decimal(number).scaleb(-places) for number in (one, other)]
    assert difference(float(values[0]), float(values[1])) == float(values[0] - values[1])


def test_differences_of_what_is_no_number() -> None:
    assert difference(0.0, 0.0) == 0
    assert difference(math.inf, 1.0) == math.inf
    assert difference(1.0, math.inf) == -math.inf
    assert math.isnan(difference(math.nan, 1.0))
    assert math.isnan(difference(math.inf, math.inf))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "", "0"),
        (0, "B", "0 B"),
        (0.5, "", "0.5"),
        (999.4, "", "999"),
        (999.5, "", "1 k"),
        (-1234, "", "-1.23 k"),
        (1005, "B", "1 kB"),
        (1006, "B", "1.01 kB"),
        (999_499, "", "999 k"),
        (999_500, "", "1 M"),
        (999_499_999, "B", "999 MB"),
        (999_500_000, "B", "1 GB"),
        (999_499_999_999, "", "999 G"),
        (999_500_000_000, "", "1 T"),
        (1.5e16, "", "15000 T"),
        (math.inf, "", "inf T"),
    ],
)
def test_amounts_change_their_prefix_where_three_digits_round_up(value: float, unit: str, text: str) -> None:
    assert amount(value, unit) == text


def test_percentages_have_one_decimal_unless_others_are_asked_for() -> None:
    assert [percent(0.12345), percent(0.99999), percent(0.0), percent(-0.5)] == ["12.3%", "100.0%", "0.0%", "-50.0%"]
    assert [percent(0.12345, 0), percent(0.12345, 2)] == ["12%", "12.35%"]


@pytest.mark.parametrize(
    ("value", "limit", "decimals", "texts"),
    [
        (0.7004, 0.7, 3, ("0.7004", "0.7")),
        (0.7006, 0.7, 3, ("0.701", "0.7")),
        (50.04, 50.0, 1, ("50.04", "50")),
        (50.06, 50.0, 1, ("50.1", "50")),
        (0.5, 0.5, 3, ("0.5", "0.5")),
        (0.5 + 2**-53, 0.5, 3, ("0.5000000000000001", "0.5")),
        # One ulp apart at the seventeenth decimal: more than anybody reads.
        (0.1 + 2**-56, 0.1, 3, ("0.1", "0.1")),
    ],
)
def test_two_numbers_are_as_long_as_it_takes_to_tell_them_apart(
    value: float, limit: float, decimals: int, texts: tuple[str, str]
) -> None:
    assert apart(value, limit, decimals) == texts
    assert apart(limit, value, decimals) == texts[::-1]
    if decimals == 3:
        assert apart(value, limit) == texts


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(100.0, 0, "100"), (1500.0, 2, "1500"), (0.10, 1, "0.1"), (-0.04, 1, "0"), (-0.06, 1, "-0.1"), (2.5, 0, "2")],
)
def test_trailing_zeros_go_after_a_point_alone(value: float, decimals: int, text: str) -> None:
    assert trimmed(value, decimals) == text


def test_counts_and_lists() -> None:
    assert [plural(count, "layer") for count in (0, 1, 2, 1234)] == ["0 layers", "1 layer", "2 layers", "1,234 layers"]
    assert listed([]) == ""
    assert listed(["a", "b", "c"]) == "a, b, c"
    assert listed(["a", "b", "c", "d"]) == "a, b, c and 1 more"
    assert listed(["a", "b", "c"], 1) == "a and 2 more"
    assert listed([str(number) for number in range(2000)], 2) == "0, 1 and 1,998 more"
