"""What the command line of one run chose, and which budgets pytest left out for that.

What an ini file, `PYTEST_ADDOPTS` or a plugin adds holds for every run, and is no choice of this one.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import pytest

from pfa_gate.files import replacing_file

PARSER = pytest.StashKey[pytest.Parser]()
"""Where the parser of the options is kept on pytest's config."""

_FOLDER = "left_out"
_LISTINGS = ("collectonly", "showfixtures", "show_fixtures_per_test", "markers", "cacheshow", "help", "version")

Budgets = frozenset[tuple[str, str, str]]
"""Budgets, each as (config, gate, budget); the config's path is absolute."""


@dataclass(frozen=True)
class Choice:
    """What the command line of a run chose.

    Attributes:
        keyword: the expression of -k; empty for none.
        mark: the expression of -m; empty for none.
        arguments: its paths and test ids; absolute, each `path` or `path::names`.
        only_lists: nothing is to run: --collect-only, --fixtures, --markers and the like.
    """

    keyword: str = ""
    mark: str = ""
    arguments: tuple[str, ...] = ()
    only_lists: bool = False

    def to_plain(self) -> dict[str, object]:
        """Write it as plain data, for a worker.

        Example:
            >>> Choice.from_plain(Choice(mark="slow").to_plain()) == Choice(mark="slow")
            True
        """
        return asdict(self)

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> Self:
        """Read it from what `to_plain` wrote."""
        return cls(**{**data, "arguments": tuple(data["arguments"])})

    def names(self, config: Path) -> bool:
        """Whether single tests of a config are named, and nothing that holds it whole.

        Example:
            >>> Choice(arguments=("/p/pfa.yaml::digits",)).names(Path("/p/pfa.yaml"))
            True
            >>> Choice(arguments=("/p/pfa.yaml::digits", "/p")).names(Path("/p/pfa.yaml"))
            False
        """
        whole = {Path(argument) for argument in self.arguments if "::" not in argument}
        return bool(self._of(config)) and whole.isdisjoint((config, *config.parents))

    def leaves_out(self, config: Path, gate: str, budget: str) -> bool:
        """Whether ids of a config's tests are given, and none of them is this budget's.

        Example:
            >>> choice = Choice(arguments=("/p/pfa.yaml::digits::exact",))
            >>> choice.leaves_out(Path("/p/pfa.yaml"), "digits", "layers.kl")
            True
            >>> choice.leaves_out(Path("/q/pfa.yaml"), "digits", "layers.kl")
            False
        """
        meant = ([gate], [gate, budget])
        return self.names(config) and not any(names in meant for names in self._of(config))

    def _of(self, config: Path) -> list[list[str]]:
        """The names behind a config's path, for each id that is in it."""
        split = (argument.split("::") for argument in self.arguments)
        return [names for path, *names in split if names and Path(path) == config]


def choice_of(config: pytest.Config) -> Choice:
    """Read what was chosen for this run alone: the arguments that pytest was called with, and nothing else."""
    parser = config.stash.get(PARSER, None)
    if parser is None:
        return Choice()
    given = parser.parse_known_args(list(config.invocation_params.args))
    return Choice(
        keyword=str(getattr(given, "keyword", None) or ""),
        mark=str(getattr(given, "markexpr", None) or ""),
        arguments=absolute_ids(given.file_or_dir, config.invocation_params.dir),
        only_lists=any(getattr(given, name, None) for name in _LISTINGS),
    )


def selections_not_chosen(config: pytest.Config, choice: Choice) -> str:
    """Name the selections in force that are no choice of this run, for a remedy; empty if there are none."""
    options = {"-k": ("keyword", choice.keyword), "-m": ("markexpr", choice.mark)}
    values = {name: str(getattr(config.option, key, None) or "") for name, (key, _) in options.items()}
    found = [f"{name} '{values[name]}'" for name, (_, chosen) in options.items() if values[name] not in ("", chosen)]
    return " and ".join(found)


def share_left_out(shared: Path, process: str, budgets: Iterable[tuple[str, str, str]]) -> None:
    """Write for the other processes of a run what pytest left out in this one as the command line chose.

    Raises:
        OSError: it cannot be written.
    """
    folder = shared / _FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with replacing_file(folder / f"{process}.json") as fresh:
        fresh.write_text(json.dumps(sorted(budgets)), encoding="utf-8")


def shared_left_out(shared: Path) -> Budgets:
    """Give the budgets that every process that collected has left out.

    Example:
        >>> shared_left_out(Path("/no/such/folder"))
        frozenset()
    """
    listings = [frozenset(_read(path)) for path in sorted((shared / _FOLDER).glob("*.json"))]
    return frozenset.intersection(*listings) if listings else frozenset()


def _read(path: Path) -> Iterator[tuple[str, str, str]]:
    for config, gate, budget in json.loads(path.read_bytes()):
        yield str(config), str(gate), str(budget)


def left_out_by_id(choice: Choice, listings: Mapping[Path, Mapping[str, Iterable[str]]]) -> Budgets:
    """Give the budgets of some configs that the ids on the command line leave out.

    Args:
        choice: of the run.
        listings: config -> gate -> budgets.
    """
    return frozenset(
        (str(config), gate, budget)
        for config, gates in listings.items()
        for gate, budgets in gates.items()
        for budget in budgets
        if choice.leaves_out(config, gate, budget)
    )


def absolute_ids(arguments: Sequence[str], here: Path) -> tuple[str, ...]:
    """Make the paths of some arguments absolute, and leave the names of tests behind them.

    Example:
        >>> absolute_ids(["a/pfa.yaml::digits"], Path("/p"))
        ('/p/a/pfa.yaml::digits',)
    """
    split = (argument.partition("::") for argument in arguments)
    return tuple(f"{os.path.abspath(here / path)}{mark}{names}" for path, mark, names in split)
