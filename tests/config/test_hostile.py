"""Configs that are wrong on purpose: every complaint of a file at once, each at its line and column.

`hostile/` holds the files, `hostile/complaints.txt` what is said of each (PFA_GATE_UPDATE_GOLDEN=1 writes it anew; read
the difference). What is too large or too strange for git is made here.
"""

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from shipped_schema import validator
from test_mutations import changed

from pfa_gate.config import load
from pfa_gate.config.reader import Keys, read
from pfa_gate.config.schema import schema
from pfa_gate.errors import ConfigError

HOSTILE = Path(__file__).parent / "hostile"
FILES = sorted(HOSTILE.glob("*.yaml"))
GOLDEN = HOSTILE / "complaints.txt"
# All that a schema cannot say: what goes with what across sections, and where a path leads.
BEYOND_A_SCHEMA = {
    "drop_above_one": "must be at most 1, not 5",
    "gates_that_differ_in_case": "differ only in case",
    "leaves_by_dots": "leaves the project",
    "leaves_by_the_root": "leaves the project",
    "selection_misspelt": "must name a selection",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with its config two folders down."""
    (tmp_path / "pyproject.toml").write_text("")
    folder = tmp_path / "some" / "where"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


def said_of(content: bytes) -> str:
    Path("pfa.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as error:
        load("pfa.yaml")
    return str(error.value)


def heads(said: str) -> Iterator[str]:
    for line in said.splitlines():
        if line.startswith("pfa.yaml:"):
            yield line.removeprefix("pfa.yaml:")


def expected() -> dict[str, list[str]]:
    blocks = GOLDEN.read_text("utf-8").strip().split("\n\n")
    return {name: [line.strip() for line in lines] for name, *lines in (block.splitlines() for block in blocks)}


def test_the_corpus_is_large_and_whole(folder: Path) -> None:
    if os.environ.get("PFA_GATE_UPDATE_GOLDEN"):
        blocks = ["\n  ".join([path.stem, *heads(said_of(path.read_bytes()))]) for path in FILES]
        GOLDEN.write_text("\n\n".join(blocks) + "\n", "utf-8")
    assert len(FILES) >= 60
    assert sorted(expected()) == [path.stem for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_complaint_comes_at_once_at_its_place(folder: Path, path: Path) -> None:
    assert list(heads(said_of(path.read_bytes()))) == expected()[path.stem]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_schema_refuses_it_too(folder: Path, path: Path) -> None:
    reading = read(path.read_bytes().decode("utf-8-sig"))
    refused = bool(reading.complaints) or not validator().is_valid(reading.data)
    beyond = BEYOND_A_SCHEMA.get(path.stem)
    assert refused == (beyond is None)
    if beyond is not None:
        assert beyond in said_of(path.read_bytes())


GOOD = (
    "version: 1\ngates:\n  digits:\n    model: {factory: FACTORY}\n"
    "    probe: {data: d.npy}\n    budgets: {model: {macs: 4 M}}\n"
)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"#" * 10_000_000, "pfa.yaml:1:1: the file is larger than 256 KiB"),
        (GOOD.encode() + b"# " + b"x" * 10_000_000, "pfa.yaml:1:1: the file is larger than 256 KiB"),
        (b"version: 1\0\n", "pfa.yaml:1:11: not valid YAML: the character U+0000 is not allowed"),
        (b"\0" * 5000, "pfa.yaml:1:1: not valid YAML: the character U+0000 is not allowed"),
        (b"version: 1\ngates: \xff\n", "pfa.yaml:2:8: not UTF-8"),
        (b"version: \xc3", "pfa.yaml:1:10: not UTF-8"),
        ("versoin: 1\n".encode("utf-16"), "pfa.yaml:1:1: gates is missing"),
        ("version: 1\n".encode("utf-16") + b"x", "pfa.yaml:2:1: not UTF-16"),
        ("version: 1\n".encode("utf-32"), "pfa.yaml:1:1: not valid YAML: the character U+0000 is not allowed"),
        (b"[" * 200_000, "pfa.yaml:1:51: not valid YAML: nested deeper than 50 levels"),
        (b"{a: " * 60_000, "pfa.yaml:1:198: not valid YAML: nested deeper than 50 levels"),
        (b"- " * 120_000, "pfa.yaml:1:101: not valid YAML: nested deeper than 50 levels"),
        (b"&a " * 80_000, None),
        (b"!" * 200_000, None),
        (b"a: *" + b"b" * 200_000, None),
        (b'"' + b"\\x" * 100_000, None),
        (b"key" * 80_000 + b": 1\nversion: 1\n", None),
        (b"".join(b"k%d: 1\n" % n for n in range(9_000)), "pfa.yaml:1:1: gates is missing"),
        (b"".join(b"k%d: 1\n" % n for n in range(20_000)), "pfa.yaml:10001:1: the config holds more than 20000 values"),
        (b"a: 1\n" * 50_000, "pfa.yaml:10001:1: the config holds more than 20000 values"),
        (b"? [" * 1000, None),
        (b"\t" * 200_000, None),
        (b"\r" * 200_000 + b"x", None),
    ],
    ids=lambda value: None if isinstance(value, str | None) else repr(value[:12]),
)
def test_what_is_too_much_is_refused_in_good_time(folder: Path, content: bytes, said: str | None) -> None:
    start = time.process_time()
    text = said_of(content)
    assert text.startswith(said or "pfa.yaml:")
    assert len(text) < 40_000
    assert time.process_time() - start < 10


ANY_TEXT = {"match", "layer", "reason", "selection"}
FULL = {
    "version": 1,
    "gates": {
        "digits": {
            "model": {"factory": "net.py:build", "arguments": {"width": 32}, "checkpoint": "digits.safetensors"},
            "probe": {"data": "data.py:probe", "samples": 64, "batch_size": 32, "seed": 0, "pooling": "max"},
            "layers": {"include": ["*"], "exclude": ["head"]},
            "recipe": {"strategy": "energy", "energy": 0.95, "residual": "pad", "round_to": 1, "minimum": 1},
            "selection": "l1",
            "recovery": ["compensate", {"finetune": "train.py:tune"}],
            "evaluation": {"data": "data.py:test", "metric": "accuracy", "direction": "higher"},
            "budgets": {
                "layers": [{"match": "*", "kl": {"max": 0.7}, "peak_correlation": 0.99, "inactive": 0}],
                "model": {"parameters": "300 k", "bytes": "1.2 MB", "macs": "40 M", "memory": "1 kB", "energy": "1 uJ"},
                "compressed": {"parameters": "60%", "bytes": "60%", "macs": "60%", "latency": "100%"},
            },
            "allow": [{"budget": "layers.kl", "layer": "stem", "reason": "old", "until": "2027-01-31"}],
            "watch": ["data/*.npy"],
            "energy": {"mac": "4.6 pJ", "byte": "640 pJ"},
        }
    },
}
WRITTEN = yaml.safe_dump(FULL, sort_keys=False, default_flow_style=False)
MARKS = {keys: mark for keys, mark in read(WRITTEN).marks.items() if keys}
KEYS = sorted((keys for keys in MARKS if isinstance(keys[-1], str)), key=str)
MAPPINGS = sorted({keys[:-1] for keys in KEYS}, key=str)
FREE = ("gates", "digits", "model", "arguments")


def test_every_key_is_in_the_table(folder: Path) -> None:
    Path("pfa.yaml").write_text(WRITTEN)
    assert load("pfa.yaml").gates
    known = re.findall(r'^ +"([a-z_]+)": [{]$', json.dumps(schema()["$defs"], indent=1), re.M)
    assert {keys[-1] for keys in KEYS} >= {"finetune", "watch", "until"} & set(known)


@pytest.mark.parametrize("keys", KEYS, ids=lambda keys: ".".join(map(str, keys)))
def test_a_key_given_twice_is_found_at_each_level(folder: Path, keys: Keys) -> None:
    assert MARKS[keys].key is not None
    row, column = MARKS[keys].key
    lines = WRITTEN.splitlines()
    head, key = lines[row - 1][: column - 1], keys[-1]
    lines[row - 1 : row] = [f"{head}{key}: x", f"{' ' * len(head)}{lines[row - 1][column - 1 :]}"]
    said = f"{row + 1}:{column}: the key '{key}' is given twice; first in line {row}"
    assert said in list(heads(said_of("\n".join(lines).encode())))


@pytest.mark.parametrize("keys", MAPPINGS, ids=lambda keys: ".".join(map(str, keys)) or "root")
def test_an_unknown_key_is_found_at_each_level(folder: Path, keys: Keys) -> None:
    text = yaml.safe_dump(changed(FULL, (*keys, "zzz"), [1]), sort_keys=False, default_flow_style=False)
    if keys == FREE:
        Path("pfa.yaml").write_text(text)
        assert load("pfa.yaml").gates
        return
    mark = read(text).marks[*keys, "zzz"]
    assert mark.key is not None
    row, column = mark.key
    (said,) = heads(said_of(text.encode()))
    assert said.startswith(f"{row}:{column}: ")
    assert "zzz" in said
    assert keys == ("gates",) or "unknown key 'zzz'" in said  # there it is a gate, and a gate is no list


@pytest.mark.parametrize("keys", KEYS, ids=lambda keys: ".".join(map(str, keys)))
@pytest.mark.parametrize("wrong", [[[]], {"zzz": {}}, True, -1.5, "12 parsecs $X"], ids=repr)
def test_a_wrong_type_is_found_at_each_key(folder: Path, keys: Keys, wrong: object) -> None:
    takes = {"arguments", "width"} & {keys[-1]} or (isinstance(wrong, str) and keys[-1] in ANY_TEXT)
    text = yaml.safe_dump(changed(FULL, keys, wrong), sort_keys=False, default_flow_style=False)
    if takes and not (keys[-1] == "arguments" and not isinstance(wrong, dict)):
        Path("pfa.yaml").write_text(text)
        assert load("pfa.yaml").gates
        return
    reading = read(text)
    inside = [mark for each, mark in reading.marks.items() if each[: len(keys)] == keys]
    places = {place for mark in inside for place in (mark.key, mark.value)}
    said = [tuple(map(int, head.split(":")[:2])) for head in heads(said_of(text.encode()))]
    assert places.intersection(said), (said, sorted(map(str, places)))
    assert not validator().is_valid(reading.data)


def gate_with(factory: str) -> str:
    return GOOD.replace("FACTORY", f'"{factory}"')


def test_a_neighbour_in_the_same_repository_may_be_named(folder: Path, tmp_path: Path) -> None:
    for name in ("../../shared_code/model.py:build", "../where/./net.py:build", f"{folder}/net.py:build"):
        Path("pfa.yaml").write_text(gate_with(name))
        assert load("pfa.yaml").gate("digits").model.factory == name
    # A repository is larger than a folder with settings.
    (tmp_path / "some" / "setup.cfg").write_text("")
    Path("pfa.yaml").write_text(gate_with("../../net.py:build"))
    with pytest.raises(
        ConfigError, match=r"leaves the project: '\.\./\.\./net\.py' is not below \.\. or its own folder"
    ):
        load("pfa.yaml")
    (tmp_path / ".git").mkdir()
    assert load("pfa.yaml").gates


def test_rootdir_belongs_to_the_project(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").rename(folder / "pyproject.toml")
    Path("pfa.yaml").write_text(gate_with("../net.py:build"))
    with pytest.raises(ConfigError, match=r"leaves the project: '\.\./net\.py' is not below its own folder"):
        load("pfa.yaml")
    assert load("pfa.yaml", tmp_path).gates
    with pytest.raises(ConfigError, match="leaves the project"):
        load("pfa.yaml", Path(folder.anchor))


def test_links_are_followed(folder: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (folder / "away").symlink_to(elsewhere)
    (folder / "near").symlink_to(tmp_path)
    Path("pfa.yaml").write_text(gate_with("near/net.py:build"))
    assert load("pfa.yaml").gates
    Path("pfa.yaml").write_text(gate_with("away/net.py:build"))
    with pytest.raises(ConfigError, match=r"pfa\.yaml:4:22: model\.factory leaves the project: 'away/net\.py'"):
        load("pfa.yaml")
    # The config's own place is where the link to it leads.
    (folder / "net.py").touch()
    Path("pfa.yaml").write_text(gate_with("net.py:build"))
    (elsewhere / "pfa.yaml").symlink_to(folder / "pfa.yaml")
    assert load(elsewhere / "pfa.yaml").gates


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    if not Path("/dev/zero").exists():
        pytest.skip("there is no /dev/zero on this system")
    with pytest.raises(ConfigError, match="larger than 256 KiB"):
        load("/dev/zero")


def test_the_schema_takes_a_neighbour_too(folder: Path) -> None:
    text = gate_with("../near/model.py:build")
    Path("pfa.yaml").write_text(text)
    assert load("pfa.yaml").gates
    validator().validate(read(text).data)
