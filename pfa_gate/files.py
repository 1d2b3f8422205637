"""Files written whole or not at all, the remains of a process that was stopped, names of paths for people, digests.

The name of an unfinished file or folder holds the machine and the number of the process that writes it, so that a later
run can tell whether that process still exists.
"""

import hashlib
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_NAME = re.compile(r"(?:\..+|pfa_gate)-(?P<machine>[0-9a-f]{8})-(?P<process>[0-9]+)-[a-z0-9_]{8}")
_DAY = 24 * 60 * 60


def unfinished_folder(name: str, folder: Path) -> Path:
    """Make an empty folder that is to be renamed or removed; `name` begins with a dot, or is `pfa_gate`.

    Raises:
        OSError: it cannot be made.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     unfinished = unfinished_folder(".digits", Path(folder))
        ...     unfinished.is_dir(), _NAME.fullmatch(unfinished.name) is not None
        (True, True)
    """
    return Path(tempfile.mkdtemp(prefix=_prefix(name), dir=folder))


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """A new, empty file that takes the place of `path` when all went well, and vanishes when not.

    Raises:
        OSError: it cannot be written.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with replacing_file(Path(folder) / "a.txt") as fresh:
        ...         _ = fresh.write_text("whole")
        ...     (Path(folder) / "a.txt").read_text(), len(os.listdir(folder))
        ('whole', 1)
    """
    handle, name = tempfile.mkstemp(prefix=_prefix(f".{path.name}"), dir=path.parent)
    os.close(handle)
    fresh = Path(name)
    try:
        yield fresh
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, as public as any file of the project.

    Raises:
        OSError: it cannot be written.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     replace_text(Path(folder) / "a.txt", "whole")
        ...     (Path(folder) / "a.txt").read_text()
        'whole'
    """
    with replacing_file(path) as fresh:
        fresh.write_text(text, encoding="utf-8", newline="\n")
        fresh.chmod(0o644)


def display_path(path: Path) -> str:
    """A path as people read it: from the working directory where it lies below it, with forward slashes.

    Example:
        >>> display_path(Path.cwd() / "pfa.yaml"), display_path(Path("/no/such/pfa.yaml"))
        ('pfa.yaml', '/no/such/pfa.yaml')
    """
    here = Path.cwd()
    return (path.relative_to(here) if path.is_relative_to(here) else path).as_posix()


def sha256_of(path: Path) -> str:
    """The SHA-256 digest of a file, as 64 hexadecimal digits.

    Raises:
        OSError: it cannot be read.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     replace_text(Path(folder) / "a.txt", "whole")
        ...     sha256_of(Path(folder) / "a.txt")[:8]
        '5d5766cf'
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_bytes(content: bytes) -> str:
    """SHA-256 of some bytes, as hexadecimal digits.

    Example:
        >>> sha256_bytes(b"")[:8]
        'e3b0c442'
    """
    return hashlib.sha256(content).hexdigest()


def remove_abandoned(folder: Path) -> None:
    """Remove what ended processes left unfinished in a folder; of another machine, what is more than a day old.

    Example:
        >>> remove_abandoned(Path("no/such/folder"))
    """
    with suppress(OSError):
        paths = [Path(entry.path) for entry in os.scandir(folder) if _NAME.fullmatch(entry.name)]
        for path in paths:
            _remove_if_left(path)


def _remove_if_left(path: Path) -> None:
    match = _NAME.fullmatch(path.name)
    # Another run may remove or finish it meanwhile, and what belongs to another user stays.
    with suppress(OSError):
        if match is None or not _is_left(path, match["machine"], int(match["process"])):
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _is_left(path: Path, machine: str, process: int) -> bool:
    status = path.lstat()
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        return False
    if time.time() - status.st_mtime > _DAY:
        return machine != _machine() or not _alive(process)
    return machine == _machine() and not _alive(process)


def _alive(process: int) -> bool:
    if os.name == "nt":
        return True  # there, asking by a signal would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _prefix(name: str) -> str:
    return f"{name}-{_machine()}-{os.getpid()}-"


def _machine() -> str:
    """The machine, and in a container the container: a process has a number of its own in each."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
