"""The project's own code behind a reference: found by reading imports, without importing anything.

PYTEST_DONT_REWRITE
"""

import ast
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from pfa_gate.config.paths import importable

_INSTALLED = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib"))


@dataclass
class Sources:
    """What code may take part.

    Attributes:
        files: source files of the project; absolute.
        packages: names of installed packages that they import -> the file that Python would load first.
    """

    files: set[Path] = field(default_factory=set)
    packages: dict[str, Path | None] = field(default_factory=dict)


def sources(references: Sequence[str], folder: Path) -> Sources:
    """Follow references and all imports written in the files that they lead to.

    An import made by name at run time is not seen; its file belongs under `watch`.

    Args:
        references: `module:callable` or `path/to/file.py:callable`.
        folder: of pfa.yaml; absolute.

    Example:
        >>> sources(["json:loads"], Path("/")) == Sources()
        True
    """
    found = Sources()
    with importable(folder):
        waiting: list[Path] = []
        for reference in references:
            left = reference.rpartition(":")[0]
            waiting += [folder / left] if left.endswith(".py") else _of_module(left, found)
        while waiting:
            path = waiting.pop().resolve()
            if path not in found.files and path.is_file():
                found.files.add(path)
                waiting += _imported(path, found)
    return found


def _imported(path: Path, found: Sources) -> Iterator[Path]:
    """Files that a file imports; for a lone file its own folder counts too, as it does at run time."""
    yield from _inits(path)
    with importable(path.parent):
        for name, level in _names(path):
            if level:
                base = path.parents[level - 1]
                yield from _below(base, name.split(".") if name else [])
            else:
                yield from _of_module(name, found)


def _inits(path: Path) -> Iterator[Path]:
    folder = path.parent
    while (folder / "__init__.py").is_file():
        yield folder / "__init__.py"
        folder = folder.parent


def _names(path: Path) -> Iterator[tuple[str, int]]:
    """Dotted names that a file imports, with the number of leading dots."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return  # the import itself will say so
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            # What follows `import` may be a module as well as a name in one.
            yield from ((f"{module}.{alias.name}".strip("."), node.level) for alias in node.names)


def _of_module(name: str, found: Sources) -> Iterator[Path]:
    """Files of the project that importing a dotted name runs; an installed package is only noted."""
    top, *rest = name.split(".")
    if top in sys.stdlib_module_names or top in found.packages:
        return
    spec = _spec(top)
    if spec is None:
        found.packages[top] = None
        return
    origin = Path(spec.origin).resolve() if spec.origin and spec.has_location else None
    if origin is not None and any(origin.is_relative_to(place) for place in _INSTALLED):
        found.packages[top] = origin
        return
    if origin is not None:
        yield origin
    for place in spec.submodule_search_locations or ():
        yield from _below(Path(place), rest)


def _spec(top: str) -> ModuleSpec | None:
    try:
        return PathFinder.find_spec(top) or importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None


def _below(folder: Path, steps: Sequence[str]) -> Iterator[Path]:
    """Files that a path of names leads to, packages on the way included."""
    if (folder / "__init__.py").is_file():
        yield folder / "__init__.py"
    for step in steps:
        module = folder / f"{step}.py"
        if module.is_file():
            yield module
            return
        folder = folder / step
        if not folder.is_dir():
            yield from folder.parent.glob(f"{step}.*.so")
            return
        if (folder / "__init__.py").is_file():
            yield folder / "__init__.py"
