"""Every command in README and docs exists, and has the options that it is given."""

import argparse
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from documents import ROOT, Block, blocks, named, prose, texts

from pfa_gate.cli import command_parser

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
BLOCKS = [block for page in texts() for block in blocks(page) if block.kind == "bash"]
ELSEWHERE = {"rm", "coverage"}
"""Programs that are none of ours."""


def subcommands() -> dict[str, argparse.ArgumentParser]:
    """The parsers of `pfa-gate`, by name."""
    (choices,) = [each.choices for each in command_parser()._actions if isinstance(each, argparse._SubParsersAction)]
    return dict(choices)


def options(parser: argparse.ArgumentParser) -> set[str]:
    """The long options of a command."""
    return {name for action in parser._actions for name in action.option_strings if name[:2] == "--"} - {"--help"}


def require_valid(shell: str, config: pytest.Config) -> None:
    """Fail unless each command of a script is one that exists."""
    for line in shell.replace("\\\n", " ").splitlines():
        for command in re.split(r"&&|\|", line):
            words = shlex.split(command, comments=True)
            while words and re.fullmatch(r"\w+=\S*", words[0]):
                del words[0]
            if words:
                _require(words, config)


def _require(words: list[str], config: pytest.Config) -> None:
    match words:
        case ["pfa-gate", *rest]:
            command_parser().parse_args(rest)
        case ["pytest", *rest] | ["python", "-m", "pytest", *rest]:
            _require_pytest(rest, config)
        case ["torchrun", *rest]:
            _require_pytest(rest[rest.index("pytest") + 1 :], config)
        case ["python", "-m", "pip", "install", *rest]:
            _require_installable(rest)
        case ["python", script, *rest]:
            _require_script(script, rest)
        case ["bash", script, *_]:
            assert (ROOT / script).is_file()
        case [program, *_]:
            assert program in ELSEWHERE, words


def _require_pytest(arguments: list[str], config: pytest.Config) -> None:
    """Xdist's options are known where it is installed, as it is for the tests."""
    _, unknown = config._parser.parse_known_and_unknown_args(arguments)
    assert [each for each in unknown if each.startswith("-")] == []


def _require_installable(words: list[str]) -> None:
    for word in words:
        named = re.fullmatch(r"(?:\.|pfa-gate)(?:\[(.*)\])?", word)
        assert named or word in {"-c", "-e", "-r", "constraints.txt", "requirements.txt", "--no-deps"}, word
        assert set(named[1].split(",") if named and named[1] else ()) <= set(EXTRAS)


def _require_script(script: str, rest: list[str]) -> None:
    source = (ROOT / script).read_text("utf-8")
    assert [each for each in rest if each.startswith("--") and f'"{each}"' not in source] == []


def spans(text: str) -> Iterator[str]:
    """What stands in code marks outside of fenced blocks, on one line each."""
    return (" ".join(found.split()) for found in re.findall(r"`([^`]+)`", prose(text)))


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_commands_exist(block: Block, pytestconfig: pytest.Config) -> None:
    require_valid(block.text, pytestconfig)


@pytest.mark.parametrize("page", texts(), ids=named)
def test_commands_in_running_text_exist(page: Path, pytestconfig: pytest.Config) -> None:
    for span in spans(page.read_text("utf-8")):
        words = span.split()
        if words[0] == "pfa-gate" and len(words) > 1 and words[1] != "…":
            known = options(command_parser() if words[1][0] == "-" else subcommands()[words[1]])
            assert {word for word in words if word[:2] == "--"} <= known, span
        elif span.startswith(("python tests/", "python -m pytest", "pytest ", "bash ")):
            require_valid(span.replace("…", ""), pytestconfig)


@pytest.mark.parametrize("page", texts(), ids=named)
def test_options_of_the_plugin_exist(page: Path, pytestconfig: pytest.Config) -> None:
    known = {name for group in pytestconfig._parser._groups for each in group.options for name in each.names()}
    named = set(re.findall(r"(?<![\w-])--pfa(?:-[a-z]+)*", page.read_text("utf-8")))
    assert named <= known
