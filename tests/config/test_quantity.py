"""Units and their limits."""

import contextlib
import math
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pfa_gate.config import quantity
from pfa_gate.config.complaints import RefusalError
from pfa_gate.config.quantity import Kind, Limit, parse

KINDS = [
    quantity.RATIO,
    quantity.COUNT,
    quantity.SIZE,
    quantity.BYTES,
    quantity.SIZE_OR_SHARE,
    quantity.BYTES_OR_SHARE,
    quantity.DROP,
    quantity.LATENCY,
]


@pytest.mark.parametrize(
    ("raw", "kind", "value", "unit"),
    [
        ("300 k", quantity.SIZE, 300e3, "absolute"),
        ("300K", quantity.SIZE, 300e3, "absolute"),
        ("1.005 k", quantity.SIZE, 1005.0, "absolute"),
        ("40 M", quantity.SIZE, 40e6, "absolute"),
        ("300_000", quantity.SIZE, 300e3, "absolute"),
        (4096, quantity.SIZE, 4096.0, "absolute"),
        ("1.2 MB", quantity.BYTES, 1.2e6, "absolute"),
        ("1 MiB", quantity.BYTES, 1048576.0, "absolute"),
        ("2KiB", quantity.BYTES, 2048.0, "absolute"),
        ("60%", quantity.SIZE_OR_SHARE, 60.0, "percent"),
        (" 60 % ", quantity.BYTES_OR_SHARE, 60.0, "percent"),
        ("0.5 pp", quantity.DROP, 0.5, "pp"),
        (0.005, quantity.DROP, 0.005, "absolute"),
        ("100%", quantity.LATENCY, 100.0, "percent"),
        (0.7, quantity.RATIO, 0.7, "absolute"),
        ("7e-1", quantity.RATIO, 0.7, "absolute"),
        (1, quantity.RATIO, 1.0, "absolute"),
        (0, quantity.COUNT, 0.0, "absolute"),
        ({"max": "40 M"}, quantity.SIZE, 40e6, "absolute"),
    ],
)
def test_a_limit_is_read(raw: object, kind: Kind, value: float, unit: str) -> None:
    limit = parse(raw, kind)
    assert (limit.value, limit.unit) == (value, unit)


@pytest.mark.parametrize(
    ("raw", "kind", "predicate"),
    [
        (math.nan, quantity.RATIO, "must be a finite number, not nan"),
        (math.inf, quantity.SIZE, "must be a finite number, not inf"),
        ("1e999 k", quantity.SIZE, "must be a finite number, not 1e999 k"),
        (1.01, quantity.RATIO, "must be from 0 to 1, not 1.01"),
        (-0.1, quantity.RATIO, "must be from 0 to 1, not -0.1"),
        ("70%", quantity.RATIO, "has the unit '%', which is not taken here"),
        (0, quantity.SIZE, "must be at least 1, not 0"),
        ("0.6", quantity.SIZE_OR_SHARE, "must be at least 1, not 0.6"),
        ("101%", quantity.SIZE_OR_SHARE, "must be from 0% to 100%, not 101%"),
        ("60%", quantity.SIZE, "has the unit '%', which is not taken here"),
        ("1 Mb", quantity.BYTES, "has the unit 'Mb', which is not taken here"),
        ("3 m", quantity.SIZE, "has the unit 'm', which is not taken here"),
        ("0.5%", quantity.DROP, "has the unit '%', which is not taken here"),
        ("1", quantity.LATENCY, "needs a unit"),
        ("3 ms", quantity.LATENCY, "has the unit 'ms', which is not taken here"),
        (1.5, quantity.COUNT, "must be a whole number, not 1.5"),
        (True, quantity.COUNT, "must be a number such as 0, not true"),
        ([1], quantity.COUNT, "must be a number such as 0, not a list"),
        ("many", quantity.COUNT, "must be a number such as 0, not the text 'many'"),
        ("1,000", quantity.COUNT, "must be a number such as 0, not the text '1,000'"),
        ("١", quantity.COUNT, "must be a number such as 0, not the text '١'"),
        (
            {"max": 1, "ratchet": 1},
            quantity.COUNT,
            "has a ratchet that is 1",
        ),
        ({"min": 1}, quantity.COUNT, "has the unknown key 'min'"),
        ({}, quantity.COUNT, "must be one limit, not an empty mapping"),
        ({"ratchet": False}, quantity.COUNT, "limits nothing"),
        ({"max": 1, "max_increase": "5%"}, quantity.COUNT, "has the unit '%', which is not taken here"),
        ({"max_increase": 1.5}, quantity.RATIO, "must be from 0 to 1, not 1.5"),
        ({"max_increase": {"max": 1}}, quantity.RATIO, "must be a number such as 0.05, not a mapping"),
        ({"max_increase": 1}, replace(quantity.SIZE_OR_SHARE, step=None), "has the unknown key 'max_increase'"),
        ({"max": {"max": 1}}, quantity.COUNT, "must be a number such as 0, not a mapping"),
    ],
)
def test_a_limit_is_refused(raw: object, kind: Kind, predicate: str) -> None:
    with pytest.raises(RefusalError) as refusal:
        parse(raw, kind)
    assert refusal.value.predicate == predicate


@pytest.mark.parametrize("kind", KINDS)
def test_the_example_of_a_kind_is_of_that_kind(kind: Kind) -> None:
    assert parse(kind.example, kind).text == kind.example


@given(st.integers(0, 10**6), st.integers(0, 3), st.sampled_from(["k", "M", "G"]), st.sampled_from(["", " "]))
def test_a_decimal_and_its_unit_are_exact(mantissa: int, places: int, unit: str, space: str) -> None:
    number = Fraction(mantissa, 10**places)
    exact = number * {"k": 10**3, "M": 10**6, "G": 10**9}[unit]
    text = f"{mantissa // 10**places}.{mantissa % 10**places:0{places}d}" if places else str(mantissa)
    if exact < 1:
        with pytest.raises(RefusalError) as refusal:
            parse(f"{text}{space}{unit}", quantity.SIZE)
        assert refusal.value.predicate == f"must be at least 1, not {text}{space}{unit}"
    else:
        assert parse(f"{text}{space}{unit}", quantity.SIZE).value == float(exact)


@given(st.one_of(st.text(), st.floats(), st.integers(), st.none(), st.booleans()), st.sampled_from(KINDS))
def test_anything_gives_a_finite_limit_or_a_refusal(raw: object, kind: Kind) -> None:
    with contextlib.suppress(RefusalError):
        limit = parse(raw, kind)
        low, high = kind.ranges[limit.unit]
        assert math.isfinite(limit.value)
        assert low <= limit.value <= high


def test_a_percentage_is_of_the_full_model() -> None:
    assert Limit(60.0, "percent", "60%").of(50.0) == 30.0
    assert Limit(0.7, "absolute", "0.7").of(50.0) == 0.7


def test_a_limit_against_the_baseline() -> None:
    limit = parse({"max": "300 k", "max_increase": "5%", "ratchet": True}, quantity.SIZE)
    assert (limit.value, limit.text, limit.ratchet) == (300_000, "300 k", True)
    assert limit.increase is not None
    assert (limit.increase.value, limit.increase.unit) == (5, "percent")
    assert limit.words() == "300 k, +5%, ratchet"
    alone = parse({"ratchet": True}, quantity.RATIO)
    assert (alone.value, alone.words(), alone.relative) == (math.inf, "ratchet", True)
    assert not parse("0.7", quantity.RATIO).relative
