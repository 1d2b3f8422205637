"""Installed packages, by what the installer recorded of each: a version alone is kept by whoever installs his own code.

PYTEST_DONT_REWRITE
"""

from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from types import ModuleType

from pfa_gate.cache.imports import file_of, file_state, installed

_SITES = ("site-packages", "dist-packages")


def packages(modules: Mapping[str, ModuleType]) -> dict[str, str]:
    """The records of the packages that these modules belong to, or, of one without a record, the modules' files.

    Args:
        modules: by name, as in `sys.modules`.

    Returns:
        Path -> SHA-256 in hexadecimal. A record lists the digest of every file of its package.

    Example:
        >>> packages({})
        {}
    """
    sites: dict[Path, dict[str, list[str]]] = {}
    for path in map(file_of, list(modules.values())):
        if (site := _site(path)) is not None:
            sites.setdefault(site, {}).setdefault(Path(path).relative_to(site).parts[0], []).append(path)
    files: set[str] = set()
    for site, tops in sites.items():
        records, covered = _records(site, tops.keys())
        files.update(records, *(tops[top] for top in tops.keys() - covered))
    return {path: found.sha256 for path in sorted(files) if (found := file_state(path))}


def changed_since(moment: int, known: Iterable[str]) -> str:
    """Say which of these files was written after a moment, in nanoseconds of the wall clock; empty for none."""
    for path in known:
        found = file_state(path)
        if found is None or found.newest >= moment:
            return f"the package of {path} may have changed since it was imported"
    return ""


def _site(path: str) -> Path | None:
    """The folder of installed packages that a file lies in; None for Python's own and the project's."""
    if not installed(path):
        return None
    parts = Path(path).parts
    last = max((index for index, part in enumerate(parts) if part in _SITES), default=None)
    return None if last is None or last + 1 == len(parts) else Path(*parts[: last + 1])


def _records(site: Path, tops: Set[str]) -> tuple[set[str], set[str]]:
    """The records that list something of these names, which stand first in a path, and the names that are listed."""
    found, covered = set(), set()
    for record in sorted(site.glob("*.dist-info/RECORD")):
        try:
            lines = record.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            continue  # the files of what has no record are compared themselves
        listed = {line.partition(",")[0].partition("/")[0] for line in lines} & tops
        if listed:
            found.add(str(record))
            covered |= listed
    return found, covered
