"""Where the user's modules are looked for.

PYTEST_DONT_REWRITE
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def package_base(folder: Path) -> Path:
    """Give the first folder upward that is no package: pytest's rule for its import mode `prepend`.

    Args:
        folder: where to start.

    Example:
        >>> package_base(Path("/"))
        PosixPath('/')
    """
    base = folder.resolve()
    while (base / "__init__.py").is_file() and base != base.parent:
        base = base.parent
    return base


def search_path(folder: Path) -> tuple[Path, ...]:
    """List the folders searched before `sys.path`: package base, config folder, current folder.

    Example:
        >>> Path.cwd() in search_path(Path("/"))
        True
    """
    return tuple(dict.fromkeys((package_base(folder), folder.resolve(), Path.cwd())))


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let the modules beside a config be imported inside the block; `sys.path` is put back after it.

    Args:
        folder: the folder of pfa.yaml.

    Example:
        >>> before = list(sys.path)
        >>> with importable(Path("/")):
        ...     sys.path[0]
        '/'
        >>> sys.path == before
        True
    """
    before = list(sys.path)
    sys.path[:0] = [str(path) for path in search_path(folder)]
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = before
