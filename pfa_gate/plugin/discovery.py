"""Which configs a command line means.

PYTEST_DONT_REWRITE
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

NAME = "pfa.yaml"
_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Args:
        arguments: the command line's paths and test ids; empty if there were none.
        options: configs named by --pfa-config.
        ini: configs named in the ini file.
        here: the folder pytest was started in; absolute.
        root: pytest's rootdir; absolute.
    """

    arguments: tuple[str, ...]
    options: tuple[str, ...]
    ini: tuple[Path, ...]
    here: Path
    root: Path

    def paths(self) -> tuple[Path, ...]:
        """Give the arguments' paths, absolute, without the parts that name a test.

        Example:
            >>> request = Request(("a/../pfa.yaml::digits",), (), (), Path("/p"), Path("/p"))
            >>> [path.as_posix() for path in request.paths()]
            ['/p/pfa.yaml']
        """
        return tuple(_absolute(self.here, argument.partition("::")[0]) for argument in self.arguments)

    def names_only_tests(self) -> bool:
        """Whether all arguments name single tests, none of them in a config.

        Example:
            >>> Request(("test_a.py::test_b",), (), (), Path("/p"), Path("/p")).names_only_tests()
            True
        """
        ids = ["::" in argument for argument in self.arguments]
        return bool(ids) and all(ids) and not _configs(self.paths()) and not self.options


def search(request: Request, ignored: Callable[[Path], bool]) -> tuple[Path, ...]:
    """Find the configs that a request means.

    Args:
        request: what was asked for.
        ignored: whether collection leaves a path out.

    Returns:
        Absolute paths, each once, in the order they were asked for or found. Those that are named need not exist.
    """
    explicit = _configs(request.paths())
    if request.options:
        return _unique([*explicit, *(_absolute(request.here, each) for each in request.options)])
    if explicit or request.names_only_tests():
        return _unique(explicit)
    if request.ini:
        return _unique(request.ini)
    places = request.paths() or (request.here,)
    below = [config for place in places if place.is_dir() for config in _below(place, ignored)]
    return _unique(below or [config for place in places for config in _above(place, request.root)])


def _configs(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.suffix in _SUFFIXES]


def _absolute(here: Path, text: str) -> Path:
    # As pytest does it: a link in a path is kept as it is written.
    return Path(os.path.abspath(here / text))


def _unique(paths: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(paths))


def _below(folder: Path, ignored: Callable[[Path], bool]) -> Iterator[Path]:
    """Configs in a folder and all below it that collection does not leave out."""
    seen: set[str] = set()
    for name, folders, files in os.walk(folder, followlinks=True):
        here = Path(name)
        # A link to a folder above would otherwise be walked for ever.
        real = os.path.realpath(here)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(each for each in folders if not ignored(here / each))
        if NAME in files and not ignored(here / NAME):
            yield here / NAME


def _above(place: Path, root: Path) -> Iterator[Path]:
    """The nearest config from a place upward, not beyond the root."""
    for folder in (place, *place.parents):
        if not folder.is_relative_to(root):
            return
        if (folder / NAME).is_file():
            yield folder / NAME
            return
