"""Whatever is done to a config, it holds or gives a ConfigError with places."""

import contextlib
import re
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_good_configs import FULL

from pfa_gate.config import load
from pfa_gate.config.complaints import config_error, source_lines
from pfa_gate.config.reader import Keys, read
from pfa_gate.config.schema import validate
from pfa_gate.errors import ConfigError

PATHS = sorted(read(FULL).marks, key=str)
STRANGE = st.sampled_from(
    [
        *(None, True, -1, 0, 1.5, float("nan")),
        *("", "x", "60%", "1e9 k"),
        *([], [[]], {}, {"a": 1}, {"max": {}}, ["*", 3]),
    ]
)


def changed(data: Any, keys: Keys, value: object) -> Any:
    if not keys:
        return value
    first, rest = keys[0], keys[1:]
    if isinstance(data, list):
        return [changed(each, rest, value) if n == first else each for n, each in enumerate(data)]
    if not rest and first not in data:
        return {**data, first: value}
    return {key: changed(each, rest, value) if key == first else each for key, each in data.items()}


def judged(text: str) -> None:
    reading = read(text)
    gates, complaints = ({}, reading.complaints) if reading.data is None else validate(reading)
    assert bool(gates) != bool(complaints)
    assert all(complaint.line >= 1 and complaint.column >= 1 for complaint in complaints)
    if complaints:
        shown = str(config_error(Path("pfa.yaml"), source_lines(text), complaints))
        assert re.match(r"pfa\.yaml:\d+:\d+: ", shown)


@given(st.sampled_from(PATHS), STRANGE)
@settings(max_examples=250, deadline=None)
def test_any_value_at_any_path(keys: Keys, value: object) -> None:
    judged(yaml.safe_dump(changed(read(FULL).data, keys, value)))


@given(st.integers(0, len(FULL)), st.integers(0, 12), st.text(alphabet="ab:-[]{}#&*!'\"\n 1.%", max_size=6))
@settings(max_examples=250, deadline=None)
def test_any_text_in_place_of_any_other(start: int, length: int, text: str) -> None:
    judged(FULL[:start] + text + FULL[start + length :])


@given(st.binary(max_size=80), st.integers(0, len(FULL)))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_in_the_file(tmp_path: Path, junk: bytes, start: int) -> None:
    path = tmp_path / "pfa.yaml"
    path.write_bytes(FULL.encode()[:start] + junk + FULL.encode()[start:])
    with contextlib.suppress(ConfigError):
        assert load(path).gates
