"""What is remembered of a config saves reading it again, and never stands in for it."""

import json
from pathlib import Path

import pytest

from pfa_gate.cache.test_names import listing
from pfa_gate.errors import ConfigError

TEXT = """\
version: 1
gates:
  digits:
    model: {factory: net.py:build}
    probe: {data: d.npy}
    budgets: {model: {macs: 4 M}}
  other:
    model: {factory: net.py:build}
    probe: {data: d.npy}
    budgets: {layers: [{match: "*", kl: 1}]}
"""
FOUND = {"digits": {"exact": 3, "model.macs": 6}, "other": {"exact": 7, "layers.kl": 10}}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "pfa.yaml"
    path.write_text(TEXT)
    return path


def remembered(folder: Path) -> list[Path]:
    return sorted((folder / "listings").glob("*"))


def test_the_order_and_the_lines_are_those_of_the_config(config: Path, tmp_path: Path) -> None:
    for cache in (None, tmp_path, tmp_path):
        found = listing(config, tmp_path, cache)
        assert json.dumps(found) == json.dumps(FOUND)
    assert len(remembered(tmp_path)) == 1


def test_it_is_read_from_memory_only_while_the_text_is_the_same(config: Path, tmp_path: Path) -> None:
    listing(config, tmp_path, tmp_path)
    (place,) = remembered(tmp_path)
    place.write_text(json.dumps({"digits": {"exact": 1}}))
    assert listing(config, tmp_path, tmp_path) == {"digits": {"exact": 1}}
    config.write_text(TEXT.replace("other", "second"))
    assert list(listing(config, tmp_path, tmp_path)) == ["digits", "second"]
    assert listing(config, tmp_path.parent, tmp_path)["digits"] == {"exact": 3, "model.macs": 6}


@pytest.mark.parametrize(
    "torn", ["", "{", "[]", "{}", "null", '{"digits": {}}', '{"digits": 3}', '{"a": {"b": "c"}}', '{"a": {"b": 0}}']
)
def test_what_is_torn_is_read_anew(config: Path, tmp_path: Path, torn: str) -> None:
    listing(config, tmp_path, tmp_path)
    (place,) = remembered(tmp_path)
    place.write_text(torn)
    assert listing(config, tmp_path, tmp_path) == FOUND
    assert json.loads(place.read_text()) == FOUND


def test_a_config_that_does_not_hold_is_never_remembered(config: Path, tmp_path: Path) -> None:
    config.write_text(TEXT.replace("4 M", "4 MB"))
    for _ in range(2):
        with pytest.raises(ConfigError, match="the unit 'MB'"):
            listing(config, tmp_path, tmp_path)
    assert not (tmp_path / "listings").exists()


def test_a_folder_that_cannot_be_written_costs_only_time(config: Path, tmp_path: Path) -> None:
    (tmp_path / "listings").write_text("")
    assert listing(config, tmp_path, tmp_path) == FOUND


def test_memory_is_bounded(config: Path, tmp_path: Path) -> None:
    for number in range(70):
        config.write_text(f"{TEXT}# {number}\n")
        listing(config, tmp_path, tmp_path)
    assert len(remembered(tmp_path)) <= 65
