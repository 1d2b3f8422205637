"""Where a config lies in its repository: the name by which everybody knows it, wherever pytest was started.

PYTEST_DONT_REWRITE
"""

import os
from pathlib import Path

_MARK = ".git"


def repository_of(folder: Path) -> Path | None:
    """Find the root of the repository that holds a folder; that of the outer one where it is a submodule.

    Args:
        folder: absolute; a file does as well, and neither need exist.

    Example:
        >>> repository_of(Path("/no/such/folder")) is None
        True
    """
    found = None
    for place in (folder, *folder.parents):
        mark = place / _MARK
        if mark.exists():
            found = place
            if not _of_submodule(mark):
                break
    return found


def _of_submodule(mark: Path) -> bool:
    """Whether what marks a repository leads into the git folder of another, as that of a submodule does."""
    if not mark.is_file():
        return False
    try:
        way = mark.read_text(encoding="utf-8", errors="replace")[:4096]
    except OSError:
        return False
    return way.startswith("gitdir:") and f"/{_MARK}/modules/" in way.replace("\\", "/")


def from_root(path: Path) -> str:
    """Name a file or folder from the root of its repository, with forward slashes.

    In a workflow that root is the checkout's, as it is for annotations. What lies in no repository is named from the
    current folder, and what lies not below that either by its whole path.

    Args:
        path: may be relative to the current folder.

    Example:
        >>> from_root(Path("/no/such/folder/pfa.yaml"))
        '/no/such/folder/pfa.yaml'
    """
    plain = Path(os.path.abspath(path))
    # A link may lead to the file from a place that no repository holds.
    real = Path(os.path.realpath(plain.parent)) / plain.name
    workspace = os.environ.get("GITHUB_WORKSPACE")
    for place in (plain, real):
        for root in (Path(workspace) if workspace else None, repository_of(place)):
            if root is not None and place.is_relative_to(root):
                return place.relative_to(root).as_posix()
    for root in (Path.cwd(), Path(os.path.realpath(Path.cwd()))):
        for place in (plain, real):
            if place.is_relative_to(root):
                return place.relative_to(root).as_posix()
    return plain.as_posix()
