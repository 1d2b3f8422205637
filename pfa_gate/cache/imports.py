"""What Python imports while it is watched: each file as it was before it was read, each name that was not found.

PYTEST_DONT_REWRITE
"""

import hashlib
import os
import sys
import sysconfig
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

_LIBRARIES = ("stdlib", "platstdlib", "purelib", "platlib")
_PLACES = tuple({each(sysconfig.get_path(name)) + os.sep for name in _LIBRARIES for each in (str, os.path.realpath)})
_FOLDERS = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))
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
    """A file at one moment. Two that are equal mean that nobody wrote it in between, not even to and fro.

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
            found, link = os.fstat(file.fileno()), os.lstat(path)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return None
    times = found.st_mtime_ns, found.st_ctime_ns, link.st_ctime_ns
    return FileState(sha256, (found.st_dev, found.st_ino, found.st_size, *times))


def file_of(module: object) -> str:
    """The file that a module of `sys.modules` was read from; empty where none is known.

    Example:
        >>> file_of(os) == os.__file__, file_of(sys)
        (True, '')
    """
    # What stands in for a module may import another one when it is asked for an attribute.
    held = getattr(module, "__dict__", {})
    spec = held.get("__spec__")
    origin = spec.origin if isinstance(spec, ModuleSpec) and spec.has_location else held.get("__file__")
    return origin if isinstance(origin, str) else ""


class Imports:
    """A finder that finds nothing itself: it asks those after it, and notes what they say.

    Attributes:
        files: the project's files that modules were read from -> their state just before; None where a file was read
            in two states.
        missing: names that no finder knew, in the project or at the top -> the folders they were looked for in; None
            for those of `sys.path`.
        places: folders of `sys.path` while this was noted, in order.
        began: when it was made, in nanoseconds of the wall clock.
    """

    def __init__(self) -> None:
        self.files: dict[str, FileState | None] = {}
        self.missing: dict[str, tuple[str, ...] | None] = {}
        self.places: dict[str, None] = {}
        self.began = time.time_ns()

    def start(self) -> None:
        """Watch from now on."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def stop(self) -> None:
        """Watch no longer; what was noted stays true of the modules that this process holds."""
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
            self.places.update(dict.fromkeys(each for each in sys.path if isinstance(each, str)))


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
    """Whether a file is surely as it was when this process was started."""
    return _BEGAN is not None and found.newest < _BEGAN
