"""Whether pytest's rootdir is the project's: ids, caches and the paths that a config may name depend on it.

PYTEST_DONT_REWRITE
"""

import os
import shlex
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from pfa_gate.report.text import printable

# pytest looks for its rootdir before it knows them, and takes an existing path behind one for an argument.
_WITH_PATHS = ("--pfa-output", "--pfa-baseline")


def require_own_root(config: pytest.Config, configs: Iterable[Path]) -> None:
    """See that the rootdir is not above the repository of a config, nor moved by the value of an option.

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
        repository = _below(root, Path(os.path.realpath(path.parent)))
        if repository is not None and root in repository.parents:
            fact = f"--pfa: pytest's rootdir, {config.rootpath}, is above {repository}, the repository of {path.name}."
            remedy = "Run it inside that repository, give an ini file of its own to it, or name it"
            named = shlex.quote(f"--rootdir={repository}")
            raise pytest.UsageError(printable(f"{fact}\n  {remedy}: {named}."))


def _below(root: Path, folder: Path) -> Path | None:
    """The repository of a folder, where one may be below the rootdir."""
    if not any((place / ".git").exists() for place in (folder, *folder.parents) if root in place.parents):
        return None
    from pfa_gate.config.paths import repository_of  # noqa: PLC0415  pydantic and yaml come with it

    return repository_of(folder)


def _moved_by(config: pytest.Config) -> Iterator[tuple[str, str]]:
    """The options, and their values, without which the rootdir would be another one."""
    if config.getoption("rootdir", None):
        return
    root, here = config.rootpath, config.invocation_params.dir
    named = config.args if config.args_source is pytest.Config.ArgsSource.ARGS else ()
    arguments = [place for each in named if (place := here / each.partition("::")[0]).exists()]
    anchor = _common([_folder(each) for each in arguments] or [here])
    if config.inipath is None and not (root / "setup.py").is_file():
        moved = root in _common([here, anchor]).parents
    else:
        moved = not anchor.is_relative_to(root)
    words = [*shlex.split(os.environ.get("PYTEST_ADDOPTS", "")), *map(str, config.invocation_params.args)]
    for option, value in pairwise(words):
        place = Path(os.path.abspath(here / value))
        if moved and option in _WITH_PATHS and place.exists() and _folder(place).is_relative_to(root):
            yield option, value


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _common(paths: Iterable[Path]) -> Path:
    return Path(os.path.commonpath([os.path.abspath(path) for path in paths]))
