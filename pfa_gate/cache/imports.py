"""What Python imports while it is observed, and which modules of the project a gate's code may have used.

Each file is noted as it was before it was read, and each name for which there was no module.
"""

import hashlib
import os
import re
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

_LIBRARIES = ("stdlib", "platstdlib", "purelib", "platlib")
_PLACES = tuple({each(sysconfig.get_path(name)) + os.sep for name in _LIBRARIES for each in (str, os.path.realpath)})
_FOLDERS = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
_LARGEST_TEXT = 2**20
# A file that imports by computed names may import any module.
_LOADERS = "__import__", "exec", "import_module", "spec_from_file_location"
_FINDERS = "get_class", "instantiate", "iter_modules", "locate", "walk_packages"
_COMPUTED = frozenset((*_LOADERS, *_FINDERS))
_OWN = str(Path(__file__).resolve().parents[1]) + os.sep


def installed(path: str) -> bool:
    """Whether a file is one of Python's own, of an installed package, or of pfa_gate.

    Example:
        >>> installed(os.__file__), installed("/project/net.py")
        (True, False)
    """
    return path.startswith((*_PLACES, _OWN)) or any(each in path for each in _FOLDERS)


@dataclass(frozen=True)
class FileState:
    """A file at one moment; where two are equal, nobody wrote the file in between, not even twice with the same end.

    Attributes:
        sha256: of its bytes, in hexadecimal.
        stamp: what the system says of it: device, number, size, times.
    """

    sha256: str
    stamp: tuple[int, ...]

    @property
    def newest(self) -> int:
        """When it was last written, renamed or linked anew, in nanoseconds of the wall clock."""
        return max(self.stamp[3:])


def file_state(path: Path | str) -> FileState | None:
    """The state of a file; None where there is none that can be read.

    Example:
        >>> file_state("no/such/file") is None
        True
    """
    try:
        with Path(path).open("rb") as file:
            status, link = os.fstat(file.fileno()), os.lstat(path)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return None
    times = status.st_mtime_ns, status.st_ctime_ns, link.st_ctime_ns
    return FileState(sha256, (status.st_dev, status.st_ino, status.st_size, *times))


def file_of(module: object) -> str:
    """The file that a module of `sys.modules` was read from; empty where none is known.

    Example:
        >>> file_of(os) == os.__file__, file_of(sys)
        (True, '')
    """
    # A lazy stand-in for a module may import another one when an attribute is read.
    attributes = getattr(module, "__dict__", {})
    spec = attributes.get("__spec__")
    origin = spec.origin if isinstance(spec, ModuleSpec) and spec.has_location else attributes.get("__file__")
    return origin if isinstance(origin, str) else ""


class Imports:
    """A finder that finds nothing itself: it calls the finders after it, and notes what they give.

    Attributes:
        files: the project's files that modules were read from -> their state just before; None where a file was read
            in two states.
        missing: names that no finder knew, in the project or at the top -> the folders they were looked for in; None
            for those of `sys.path`.
        search_folders: folders of `sys.path` while this was noted, in order.
        began: when it was made, in nanoseconds of the wall clock.
    """

    def __init__(self) -> None:
        self.files: dict[str, FileState | None] = {}
        self.missing: dict[str, tuple[str, ...] | None] = {}
        self.search_folders: dict[str, None] = {}
        self.began = time.time_ns()

    def start(self) -> None:
        """Observe imports from now on."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def stop(self) -> None:
        """Observe no longer; what was noted stays true of the modules that this process holds."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Note a module that is about to be imported; part of Python's protocol of imports."""
        finders = list(sys.meta_path)
        for finder in finders[finders.index(self) + 1 :] if self in finders else finders:
            find = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = None if find is None else find(name, path, target)
            if spec is not None:
                if spec.has_location and spec.origin and not installed(spec.origin):
                    self.note(spec.origin)
                    self._seen(path)
                return spec
        self._missed(name, path)
        return None

    def note(self, path: str) -> None:
        """Note a file that is about to be read."""
        path = os.path.abspath(path)
        found = file_state(path)
        if self.files.setdefault(path, found) != found:
            self.files[path] = None

    def _missed(self, name: str, path: Sequence[str] | None) -> None:
        folders = None if path is None else tuple(map(str, path))
        if folders is None or not all(installed(os.path.join(each, "")) for each in folders):
            self.missing[name] = folders
            self._seen(path)

    def _seen(self, path: Sequence[str] | None) -> None:
        if path is None:
            self.search_folders.update(dict.fromkeys(each for each in sys.path if isinstance(each, str)))


IMPORTS = Imports()
"""That of this process: a module that an earlier run in it has imported is still there in the next."""


def _process_began() -> int | None:
    """When this process was started, in nanoseconds of the wall clock; None where the system does not say."""
    try:
        # The name may hold spaces and brackets; the start, in ticks since the machine's, is the 20th field after it.
        ticks = int(Path("/proc/self/stat").read_text("utf-8").rpartition(")")[2].split()[19])
        age = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - ticks * 10**9 // os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return None
    return time.time_ns() - age


# Asked once: what pytest-forked and its like fork later holds the modules of this process.
_BEGAN = _process_began()


def older_than_process(found: FileState) -> bool:
    """Whether a file has certainly not changed since this process was started."""
    return _BEGAN is not None and found.newest < _BEGAN


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
    modules = {}
    for name, module in list(sys.modules.items()):
        path, below = file_of(module), _folders_of(module)
        where = path or os.path.join(below[0], "") if path or below else ""
        if where and not installed(where):
            parent = name.rpartition(".")[0]
            folders = tuple(_folders_of(sys.modules[parent])) if parent in sys.modules else None
            modules[name] = ProjectModule(os.path.abspath(path) if path else "", folders)
    return modules


def _folders_of(module: object) -> list[str]:
    try:
        return [str(each) for each in getattr(module, "__dict__", {}).get("__path__") or ()]
    except (TypeError, KeyError):  # a stand-in, or a package whose parent has been taken away
        return []


def used_modules(modules: Mapping[str, ProjectModule], loaded: set[str], words: set[str]) -> dict[str, ProjectModule]:
    """Those that a gate used, or may have used: loaded with the gate, or named in a text that it used.

    A module that was imported before the gate asks for it leaves no trace in Python, but its name is written somewhere.

    Args:
        modules: all of the project, by name.
        loaded: names of those that were loaded with the gate.
        words: all words of the texts that the gate used.
    """
    rest, used = dict(modules), dict[str, ProjectModule]()
    while True:
        step = [name for name, each in rest.items() if name in loaded or _is_named(name, each, words, used)]
        if not step:
            return used
        for name in step:
            used[name] = rest.pop(name)
            words = words.union(*map(words_of, text_of(used[name].path)))


def _is_named(name: str, module: ProjectModule, words: set[str], used: Iterable[str]) -> bool:
    if is_conftest(module) or not words.isdisjoint(_COMPUTED):
        return True
    return name.rpartition(".")[2] in words or any(each.startswith(f"{name}.") for each in used)


def is_conftest(module: ProjectModule) -> bool:
    """Whether pytest loads a module for the whole process, in which it may change anything."""
    return os.path.basename(module.path) == "conftest.py"


def text_of(path: Path | str) -> Iterator[bytes]:
    """The text of a file that may name modules; none for weights and other big files."""
    try:
        with Path(path).open("rb") as file:
            text = file.read(_LARGEST_TEXT + 1)
    except OSError:
        return  # the state of the file is None then, and says so
    if len(text) <= _LARGEST_TEXT or str(path).endswith(".py"):
        yield text


def words_of(text: bytes) -> set[str]:
    """Everything in a text that may be a name."""
    return set(re.findall(r"\w+", text.decode("utf-8", "replace")))
