"""The code that a verdict came from: what Python loaded, and whether the next process would load the same."""

import os
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

from pfa_gate.cache.imports import (
    IMPORTS,
    FileState,
    Imports,
    ProjectModule,
    file_of,
    file_state,
    installed,
    is_conftest,
    older_than_process,
    project_modules,
    text_of,
    used_modules,
    words_of,
)
from pfa_gate.config.paths import importable

_SITES = ("site-packages", "dist-packages")


@dataclass
class Code:
    """What a gate's code is made of.

    Attributes:
        references: `module:callable` and `path/to/file.py:callable` of the config.
        folder: of pfa.yaml; absolute.
        text: the config, which names modules.
        watched: files under `watch`, which code may have read whenever it was loaded, and which may name modules.
        imports: what this process has noted.

    Example:
        >>> nothing = {"files": {}, "packages": {}, "search_folders": [], "lookups": []}
        >>> Code(["net.py:build"], Path("/")).holds(nothing)
        True
    """

    references: Sequence[str]
    folder: Path
    text: bytes = b""
    watched: Sequence[Path] = ()
    imports: Imports = IMPORTS

    def begin(self) -> None:
        """Note what is there before the gate's code is loaded."""
        self._before = dict(sys.modules)
        self._noted = set(self.imports.files)
        there = {each.path for each in project_modules().values()}
        for path in self._lone_files():
            if str(path) in self.imports.files or str(path) not in there:
                self.imports.note(str(path))

    def end(self) -> tuple[dict[str, Any], str]:
        """Give what the next process is to compare, or say why what was loaded is not known.

        Returns:
            Plain data for `holds`, and an empty text; or no data, and the reason.
        """
        fresh = {name for name, module in list(sys.modules.items()) if self._before.get(name) is not module}
        used = self._used(fresh)
        files = {each.path for each in used.values() if each.path} | (set(self.imports.files) - self._noted)
        states = {path: file_state(path) for path in sorted(files)}
        package_records = packages(sys.modules)
        lookups = list(self._lookups(used))
        reasons = [
            self._unloaded(used),
            *(self._doubt(path, now) for path, now in states.items()),
            self._written_since(name for name, each in used.items() if name not in fresh and not is_conftest(each)),
            changed_since(self.imports.began, package_records),
            *(self._too_late(name, paths) for name, _, paths in lookups),
        ]
        why = next(filter(None, reasons), "")
        known = {path: now.sha256 for path, now in states.items() if now is not None}
        searched = list(self.imports.search_folders)
        evidence = {"files": known, "packages": package_records, "search_folders": searched, "lookups": lookups}
        return ({}, why) if why else (evidence, "")

    def holds(self, evidence: Mapping[str, Any]) -> bool:
        """Whether this process would load the same code; none is loaded to find out."""
        for path, sha256 in (*evidence["files"].items(), *evidence["packages"].items()):
            if _sha256(path) != sha256:
                return False
        with importable(self.folder):
            path = self._path(evidence["search_folders"])
            return all(
                _found(name, path if folders is None else folders) == found
                for name, folders, found in evidence["lookups"]
            )

    def _used(self, fresh: set[str]) -> dict[str, ProjectModule]:
        modules, lone = project_modules(), {str(path) for path in self._lone_files()}
        surely = fresh | {name for name, each in modules.items() if each.path in lone}
        texts = (self.text, *map(str.encode, self.references), *chain.from_iterable(map(text_of, self.watched)))
        return used_modules(modules, surely, set().union(*map(words_of, texts)))

    def _lookups(self, used: Mapping[str, ProjectModule]) -> Iterator[tuple[str, Sequence[str] | None, list[str]]]:
        """What each name means now, those that meant nothing included: another file may come to be found first."""
        asked = {name: each.folders for name, each in used.items()} | self.imports.missing
        with importable(self.folder):
            path = self._path(self.imports.search_folders)
            for name, folders in sorted(asked.items()):
                yield name, folders, _found(name, path if folders is None else folders)

    def _lone_files(self) -> Iterator[Path]:
        lefts = (reference.rpartition(":")[0] for reference in self.references)
        yield from ((self.folder / left).resolve() for left in lefts if left.endswith(".py"))

    def _path(self, search_folders: Iterable[str]) -> list[str]:
        """The folders in which a top-level module is looked for now, and those in which one was."""
        beside = [str(path.parent) for path in self._lone_files()]
        return list(dict.fromkeys(os.path.realpath(each) for each in (*sys.path, *beside, *search_folders)))

    def _unloaded(self, used: Mapping[str, ProjectModule]) -> str:
        """The first reference whose module this process does not hold, in a sentence; empty for none."""
        files = {os.path.realpath(each.path) for each in used.values()}
        for reference in self.references:
            left = reference.rpartition(":")[0]
            there = str((self.folder / left).resolve()) in files if left.endswith(".py") else left in used
            if not there and not _of_a_package(left):
                return f"the code of {reference} is not loaded any more"
        return ""

    def _doubt(self, path: str, now: FileState | None) -> str:
        """Why a file may not be what was loaded from it; empty where it is."""
        if now is None:
            return f"{_shown(path)} cannot be read"
        same = self.imports.files[path] == now if path in self.imports.files else older_than_process(now)
        return "" if same and not _stale(path) else f"{_shown(path)} may have changed since it was imported"

    def _too_late(self, name: str, paths: Sequence[str]) -> str:
        late = name in self.imports.missing and paths and name not in sys.modules
        return f"the module {name} was asked for before it was there" if late else ""

    def _written_since(self, early: Iterable[str]) -> str:
        """The first watched file whose earlier state modules loaded before the gate may have read; empty for none."""
        for path in self.watched if any(True for _ in early) else ():
            found = file_state(path)
            if found is None or not older_than_process(found):
                return f"{_shown(str(path))} may have changed since the code that reads it was loaded"
        return ""


def _shown(path: str) -> str:
    return os.path.relpath(path)


def _of_a_package(module: str) -> bool:
    path = file_of(sys.modules.get(module))
    return module in sys.modules and (not path or installed(path))


def _found(name: str, folders: Sequence[str]) -> list[str]:
    """Every file in these folders that a module's name could mean, in their order."""
    finders = (pkgutil.get_importer(folder) for folder in folders)
    specs = (finder.find_spec(name) for finder in finders if finder is not None)
    return [spec.origin or f"{(spec.submodule_search_locations or [''])[0]}{os.sep}" for spec in specs if spec]


def _sha256(path: str) -> str:
    known = file_state(path)
    return known.sha256 if known else ""


class _Bytecode(SourceFileLoader):
    """Reads what Python has written beside a source, and writes nothing."""

    def set_data(self, path: str, data: bytes, *, _mode: int = 0o666) -> None:  # type: ignore[override]
        """Write nothing."""


def _stale(path: str) -> bool:
    """Whether Python runs bytecode of another text: it compares no more than the size and the second of the change."""
    if not path.endswith(".py"):
        return False
    loader = _Bytecode("_", path)
    try:
        return loader.get_code("_") != loader.source_to_code(loader.get_data(path), path)
    except (OSError, SyntaxError, ValueError):
        return False  # such a file cannot be imported at all


def packages(modules: Mapping[str, ModuleType]) -> dict[str, str]:
    """The records of the packages that these modules belong to, or, of one without a record, the modules' files.

    A version alone would not do: who installs code of their own may keep it.

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
    """The records that list one of these names as the first part of a path, and the names that they list."""
    records, covered = set(), set()
    for record in sorted(site.glob("*.dist-info/RECORD")):
        try:
            lines = record.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError):
            continue  # a package without a record is compared file by file
        listed = {line.partition(",")[0].partition("/")[0] for line in lines} & tops
        if listed:
            records.add(str(record))
            covered |= listed
    return records, covered
