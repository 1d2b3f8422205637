"""The strict YAML reader."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from pfa_gate.config.reader import read


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("1e-3", 0.001),
        ("1E3", 1000.0),
        ("-.5", -0.5),
        ("+12", 12),
        ("012", 12),
        ("0x1F", 31),
        ("0o17", 15),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("~", None),
        ("", None),
        ("null", None),
        ("TRUE", True),
        ("false", False),
        ("on", "on"),
        ("yes", "yes"),
        ("No", "No"),
        ("y", "y"),
        ("1_000", "1_000"),
        ("12:30:00", "12:30:00"),
        ("2001-01-01", "2001-01-01"),
        ("0b11", "0b11"),
        ("=", "="),
        ('"1"', "1"),
        ("!!str 1", "1"),
        ("!!float 1", 1.0),
    ],
)
def test_scalars_are_those_of_yaml_1_2(scalar: str, value: object) -> None:
    reading = read(f"key: {scalar}\n")
    assert reading.data == {"key": value}
    assert type(reading.data["key"]) is type(value)
    assert reading.complaints == ()


def test_on_is_a_key_like_any_other() -> None:
    assert read("on: 1\nyes: 2").data == {"on": 1, "yes": 2}


def test_not_a_number_is_a_number() -> None:
    assert math.isnan(read("key: .nan").data["key"])


@pytest.mark.parametrize("begin", ["", "\ufeff", "%YAML 1.2\n---\n", "---\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_marks_do_not_move_with_line_ends(begin: str, end: str) -> None:
    text = begin.replace("\n", end) + f"a: 1{end}b:{end}  - x{end}  - {{c: y}}{end}"
    above = begin.count("\n")
    marks = read(text).marks
    assert (marks["a",].key, marks["a",].value) == ((above + 1, 1), (above + 1, 4))
    assert (marks["b",].key, marks["b",].value) == ((above + 2, 1), (above + 3, 3))
    assert marks["b", 1, "c"].value == (above + 4, 9)


def test_a_path_that_is_missing_has_the_mark_of_its_parent() -> None:
    reading = read("a:\n  b: 1\n")
    assert reading.mark(("a", "x", "y")).best == (1, 1)
    assert reading.mark(("a", "b")).best == (2, 6)
    assert reading.mark(("z",)).best == (1, 1)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", (1, 1, "the file is empty")),
        ("null", (1, 1, "the config must be a mapping, not nothing")),
        ("# only a comment\n", (1, 1, "the file is empty")),
        ("a: 1\n---\nb: 2", (2, 1, "a second document starts here")),
        ("a:\n\tb: 1", (2, 1, "a tab cannot indent YAML")),
        ("a: [1,\n", (2, 1, "not valid YAML: expected the node content, but found '<stream end>'")),
        ("a: b: c", (1, 5, "not valid YAML: mapping values are not allowed here")),
        ("include: [*]", (1, 12, "not valid YAML: a bare * begins an alias")),
        ("a: *b", (1, 4, "not valid YAML: found undefined alias 'b'")),
        ("a: 1\nb: \x07", (2, 4, "not valid YAML: the character U+0007 is not allowed")),
        ("[" * 60, (1, 51, "not valid YAML: nested deeper than 50 levels")),
        ("- " * 20_000, (1, 101, "not valid YAML: nested deeper than 50 levels")),
    ],
)
def test_what_does_not_parse_has_one_complaint(text: str, complaint: tuple[int, int, str]) -> None:
    reading = read(text)
    found = [(each.line, each.column, each.message) for each in reading.complaints]
    assert reading.data is None
    assert found == [complaint]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a: 1\na: 2", (2, 1, "the key 'a' is given twice; first in line 1")),
        ("a: {b: 1, b: 1}", (1, 11, "the key 'b' is given twice; first in line 1")),
        ("1: 2", (1, 1, "a key must be text, not 1")),
        ("? [a]\n: 1", (1, 3, "a key must be text, not a list")),
        ("~: 1", (1, 1, "a key must be text, not ~")),
        ("a: &x {b: 1}\nc: {<<: *x}", (2, 5, "merge keys ('<<') are not read")),
        ("a: &x [*x]", (1, 4, "an alias stands inside its own anchor")),
        ("a: !!python/object:os.system x", (1, 4, "the tag !!python/object:os.system is not known")),
        ("a: !secret x", (1, 4, "the tag !secret is not known")),
        ("a: !!int x", (1, 4, "the text 'x' cannot be read as int")),
    ],
)
def test_what_parses_but_misleads_is_complained_about(text: str, complaint: tuple[int, int, str]) -> None:
    found = [(each.line, each.column, each.message) for each in read(text).complaints]
    assert found == [complaint]


def test_an_integer_of_thousands_of_digits_is_refused() -> None:
    assert "cannot be read as int" in read("a: " + "9" * 5000).complaints[0].message


def test_the_value_of_an_anchor_stands_in_both_places() -> None:
    reading = read("a: &x {b: 1}\nc: *x")
    assert reading.data == {"a": {"b": 1}, "c": {"b": 1}}
    assert reading.marks["c", "b"].value == (1, 11)


def test_aliases_of_aliases_are_bounded() -> None:
    lines = ["k0: &k0 [1, 1]"]
    lines += [f"k{n}: &k{n} [{', '.join([f'*k{n - 1}'] * 9)}]" for n in range(1, 30)]
    reading = read("\n".join(lines))
    assert reading.data is None
    assert reading.complaints[0].message.startswith("the config holds more than 20000 values")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1), inner, max_size=4),
    max_leaves=20,
)


class Dumper(yaml.SafeDumper):
    """Writes every text in quotes, so that YAML 1.1 and 1.2 agree on it."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def quoted(dumper: Dumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')


Dumper.add_representer(str, quoted)


@given(st.dictionaries(st.text(min_size=1), PLAIN, max_size=4))
def test_plain_data_survives_writing_and_reading(data: dict[str, object]) -> None:
    reading = read(yaml.dump(data, Dumper=Dumper, allow_unicode=False))
    assert reading.complaints == ()
    assert reading.data == data


@given(st.text(alphabet="ab:-[]{}#&*!|>'\"%@ \n\t,?~<1.", max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    """What PyYAML refuses is complained of, and what is read without a complaint is what PyYAML reads."""
    reading = read(text)
    try:
        plain = yaml.load(text, yaml.BaseLoader)
    except yaml.YAMLError:
        assert reading.complaints
    else:
        assert reading.complaints or agrees(reading.data, plain)


def agrees(ours: object, plain: object) -> bool:
    """Whether two readings have one structure and the same texts; `plain` has numbers and the like as text too."""
    if isinstance(ours, dict):
        return isinstance(plain, dict) and ours.keys() == plain.keys() and all(agrees(ours[k], plain[k]) for k in ours)
    if isinstance(ours, list):
        return isinstance(plain, list) and len(ours) == len(plain) and all(map(agrees, ours, plain))
    return isinstance(plain, str) and (ours == plain or not isinstance(ours, str))
