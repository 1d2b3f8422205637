"""Which configs a command line means, and whether pytest's rootdir is that of their project."""

import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from pfa_gate.report.text import printable

NAME = "pfa.yaml"
_SUFFIXES = (".yaml", ".yml")
# pytest looks for its rootdir before it knows them, and takes an existing path behind one for an argument.
_WITH_PATHS = ("--pfa-output", "--pfa-baseline")


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
    paths = request.paths() or (request.here,)
    below = [config for path in paths if path.is_dir() for config in _configs_below(path, ignored)]
    return _unique(below or [config for path in paths for config in _config_above(path, request.root)])


def _configs(paths: Iterable[Path]) -> list[Path]:
    return [path for path in paths if path.suffix in _SUFFIXES]


def _absolute(here: Path, text: str) -> Path:
    # As pytest does it: a link in a path is kept as it is written.
    return Path(os.path.abspath(here / text))


def _unique(paths: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(paths))


def _configs_below(folder: Path, ignored: Callable[[Path], bool]) -> Iterator[Path]:
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


def _config_above(path: Path, root: Path) -> Iterator[Path]:
    """The nearest config from a path upward, not beyond the root."""
    for folder in (path, *path.parents):
        if not folder.is_relative_to(root):
            return
        if (folder / NAME).is_file():
            yield folder / NAME
            return


def require_own_root(config: pytest.Config, configs: Iterable[Path]) -> None:
    """See that the rootdir is not above the repository of a config, nor moved by the value of an option.

    Ids, caches and the paths that a config may name depend on the rootdir.

    Args:
        config: that of the run.
        configs: those that are to run; absolute.

    Raises:
        UsageError: it is.
    """
    for option, value in _moved_by(config):
        fact = f"--pfa: pytest's rootdir is {config.rootpath}, because {option} has an existing path after a space."
        remedy = f"Write it with an equals sign: {shlex.quote(f'{option}={value}')}."
        raise pytest.UsageError(printable(f"{fact}\n  {remedy}"))
    root = Path(os.path.realpath(config.rootpath))
    for path in configs:
        repository = _repository_below(root, Path(os.path.realpath(path.parent)))
        if repository is not None and root in repository.parents:
            fact = f"--pfa: pytest's rootdir, {config.rootpath}, is above {repository}, the repository of {path.name}."
            remedy = "Run it inside that repository, give an ini file of its own to it, or name it"
            named = shlex.quote(f"--rootdir={repository}")
            raise pytest.UsageError(printable(f"{fact}\n  {remedy}: {named}."))


def _repository_below(root: Path, folder: Path) -> Path | None:
    """The repository of a folder, where one may be below the rootdir."""
    if not any((path / ".git").exists() for path in (folder, *folder.parents) if root in path.parents):
        return None
    from pfa_gate.config.paths import repository_of  # noqa: PLC0415  pydantic and yaml come with it

    return repository_of(folder)


def _moved_by(config: pytest.Config) -> Iterator[tuple[str, str]]:
    """The options, and their values, without which the rootdir would be another one."""
    if config.getoption("rootdir", None):
        return
    root, here = config.rootpath, config.invocation_params.dir
    named = config.args if config.args_source is pytest.Config.ArgsSource.ARGS else ()
    arguments = [path for each in named if (path := here / each.partition("::")[0]).exists()]
    anchor = _common([_folder(each) for each in arguments] or [here])
    if config.inipath is None and not (root / "setup.py").is_file():
        moved = root in _common([here, anchor]).parents
    else:
        moved = not anchor.is_relative_to(root)
    words = [*shlex.split(os.environ.get("PYTEST_ADDOPTS", "")), *map(str, config.invocation_params.args)]
    for option, value in pairwise(words):
        path = Path(os.path.abspath(here / value))
        if moved and option in _WITH_PATHS and path.exists() and _folder(path).is_relative_to(root):
            yield option, value


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _common(paths: Iterable[Path]) -> Path:
    return Path(os.path.commonpath([os.path.abspath(path) for path in paths]))


def shown(path: Path, base: Path) -> str:
    """A path as people write it: below `base` from there, else whole.

    Example:
        >>> shown(Path("/p/a/pfa.yaml"), Path("/p")), shown(Path("/p/a/pfa.yaml"), Path("/q"))
        ('a/pfa.yaml', '/p/a/pfa.yaml')
    """
    return printable((path.relative_to(base) if path.is_relative_to(base) else path).as_posix())
