"""The project's modules that a process holds, and which of them a gate's code may have used.

PYTEST_DONT_REWRITE
"""

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pfa_gate.cache.imports import file_of, installed

_LARGEST_TEXT = 2**20
# Where a file imports by names that it makes up, every module that is there may be one of them.
_LOADERS = "__import__", "exec", "import_module", "spec_from_file_location"
_FINDERS = "get_class", "instantiate", "iter_modules", "locate", "walk_packages"
_COMPUTED = frozenset((*_LOADERS, *_FINDERS))


@dataclass(frozen=True)
class ProjectModule:
    """A module of the project.

    Attributes:
        path: its file; empty for a package without one.
        folders: where it was looked for; None for `sys.path`.
    """

    path: str
    folders: tuple[str, ...] | None


def project_modules() -> dict[str, ProjectModule]:
    """The project's modules in this process, packages without a file included."""
    found = {}
    for name, module in list(sys.modules.items()):
        path, places = file_of(module), _places(module)
        where = path or os.path.join(places[0], "") if path or places else ""
        if where and not installed(where):
            parent = name.rpartition(".")[0]
            folders = tuple(_places(sys.modules[parent])) if parent in sys.modules else None
            found[name] = ProjectModule(os.path.abspath(path) if path else "", folders)
    return found


def _places(module: object) -> list[str]:
    try:
        return [str(each) for each in getattr(module, "__dict__", {}).get("__path__") or ()]
    except (TypeError, KeyError):  # a stand-in, or a package whose parent has been taken away
        return []


def counted(held: Mapping[str, ProjectModule], sure: set[str], words: set[str]) -> dict[str, ProjectModule]:
    """Those that took part, or may have: loaded with the gate, or named in a text that took part.

    What the gate's code asks for and is there already leaves no trace in Python; its name is written somewhere.
    """
    waiting, counted = dict(held), dict[str, ProjectModule]()
    while True:
        step = [name for name, each in waiting.items() if name in sure or _named(name, each, words, counted)]
        if not step:
            return counted
        for name in step:
            counted[name] = waiting.pop(name)
            words = words.union(*map(words_of, text_of(counted[name].path)))


def _named(name: str, module: ProjectModule, words: set[str], counted: Iterable[str]) -> bool:
    if is_conftest(module) or not words.isdisjoint(_COMPUTED):
        return True
    return name.rpartition(".")[2] in words or any(each.startswith(f"{name}.") for each in counted)


def is_conftest(module: ProjectModule) -> bool:
    """Pytest loads it for the whole process, in which it may change anything."""
    return os.path.basename(module.path) == "conftest.py"


def text_of(path: Path | str) -> Iterator[bytes]:
    """The text of a file that may name modules; none for weights and other big files."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(_LARGEST_TEXT + 1)
    except OSError:
        return  # what cannot be read is told where its state is taken
    if len(text) <= _LARGEST_TEXT or str(path).endswith(".py"):
        yield text


def words_of(text: bytes) -> set[str]:
    """Everything in a text that may be a name."""
    return set(re.findall(r"\w+", text.decode("utf-8", "replace")))
