"""Nothing that is printed is obeyed: not by a terminal, and not by the runner that reads a log."""

import ast
import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
import records
from examples import everything
from foreign import PAYLOADS, planted
from hypothesis import given
from hypothesis import strategies as st

import pfa_gate
from pfa_gate.cli import main
from pfa_gate.github.comment_text import sections_of
from pfa_gate.record import dumps, to_dict
from pfa_gate.report.text import printable

HERE = Path(pfa_gate.__file__).parent
EVIL = "x\n::stop-commands::x\r::error::y\r\n  ::warning::z\n##[add-mask]x\x1b[2J\x1b]0;t\x07\u202e\u2066\x9b1m\ud800"
# What prints, and what pytest prints for whoever raises it: the first argument is what is shown.
PRINTS = re.compile(r"print|pytest\.UsageError|[\w.]*reporter\.(write_line|rewrite)|.*fail\.Exception")
# Names of our own options; and commands to the runner, which report/annotations escapes by the runner's own rules.
OURS = ["plugin/__init__.py", "plugin/github_actions.py"]


def assert_obeyed_by_nobody(text: str, *, styled: bool = False) -> None:
    shown = re.sub(r"\x1b\[[\d;]*m", "", text) if styled else text
    for line in re.split(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]", shown):
        assert not line.lstrip().startswith("::")
        assert not re.search(r"##\w*\[", line)
        assert [sign for sign in line if unicodedata.category(sign) in ("Cc", "Cf", "Cs") and sign != "\u200b"] == []


@given(st.lists(st.sampled_from([*EVIL, "::", "##[", "##vso[", *PAYLOADS.values(), " ", "a", "层"])).map("".join))
def test_whatever_it_holds_a_text_is_obeyed_by_nobody(text: str) -> None:
    assert_obeyed_by_nobody(printable(text))
    assert printable(printable(text)) == printable(text)
    assert printable(text).count("\n") == text.count("\n")


def test_what_is_harmless_stays_as_it_is() -> None:
    for text in ("Fact.\n  at pfa.yaml:3:4\n      key: [1]\n           ^\n", "层 é ✓ ▁▂▃ :: a::b", ""):
        assert printable(text) == text
    styled = "\x1b[1;31mdigits\x1b[0m \x1b]8;;file:///p/record.json\x1b\\record.json\x1b]8;;\x1b\\"
    assert printable(styled, styled=True) == styled
    assert_obeyed_by_nobody(printable(f"\x1b[2J{EVIL}", styled=True), styled=True)


def prints() -> Iterator[tuple[str, ast.expr]]:
    """What each call of the package that prints is given first, by its place."""
    for path in HERE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args and PRINTS.fullmatch(ast.unparse(node.func)):
                yield f"{path.relative_to(HERE).as_posix()}:{node.lineno}", node.args[0]


def test_all_that_is_printed_passes_one_place() -> None:
    shown = {place: each for place, each in prints() if not isinstance(each, ast.Constant)}
    bare = [place for place, each in shown.items() if not ast.unparse(each).startswith("printable(")]
    assert len(shown) > 20
    assert sorted(place.partition(":")[0] for place in bare) == OURS


def keyed(data: object, depth: int) -> object:
    """Plain data with an evil key beside the others of every object at one depth."""
    if not isinstance(data, dict):
        return [keyed(each, depth) for each in data] if isinstance(data, list) else data
    return {key: keyed(each, depth - 1) for key, each in data.items()} | ({EVIL: EVIL} if depth == 0 else {})


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("command", [["comment", "--dry-run", "--from"], ["report"], ["report", "--history"]])
def test_keys_of_a_record_are_obeyed_by_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str], depth: int
) -> None:
    folder = tmp_path / "digits"
    folder.mkdir()
    data = keyed(json.loads(dumps(records.kept())), depth)
    (folder / "record.json").write_text(json.dumps(data), encoding="utf-8")
    assert main([*command, str(tmp_path)]) == 2
    told = capsys.readouterr()
    assert "stop-commands" in told.err
    assert told.out == ""
    assert_obeyed_by_nobody(told.err)


@pytest.mark.parametrize("command", [["comment", "--dry-run", "--from"], ["report", "-vv"], ["report", "--history"]])
def test_names_in_a_record_are_obeyed_by_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    folder = tmp_path / "digits"
    folder.mkdir()
    (folder / "record.json").write_text(json.dumps(to_dict(planted(everything(), EVIL))), encoding="utf-8")
    assert main([*command, str(tmp_path)]) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert len(told.out) > 100
    assert_obeyed_by_nobody(told.out)
    if command[0] == "comment":
        assert len(sections_of(told.out)) == 1, "what is printed is still the comment"


def test_the_name_of_a_folder_is_obeyed_by_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A fork names the folders of its artifact."""
    folder = tmp_path / EVIL.replace("\ud800", "").replace("/", "")
    folder.mkdir()
    (folder / "record.json").write_text("{}", encoding="utf-8")
    assert main(["comment", "--dry-run", "--from", str(tmp_path)]) == 2
    assert_obeyed_by_nobody(capsys.readouterr().err)
