"""The files around a config: where modules are imported from, which files a checkpoint is, how a file is named."""

import importlib
import json
import mmap
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pfa_gate.config.complaints import shortened
from pfa_gate.errors import CheckpointError


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


_MARK = ".git"


def repository_of(folder: Path) -> Path | None:
    """Find the root of the repository that holds a folder; that of the outer one where it is a submodule.

    Args:
        folder: absolute; a file does as well, and neither need exist.

    Example:
        >>> repository_of(Path("/no/such/folder")) is None
        True
    """
    root = None
    for candidate in (folder, *folder.parents):
        mark = candidate / _MARK
        if mark.exists():
            root = candidate
            if not _of_submodule(mark):
                break
    return root


def _of_submodule(mark: Path) -> bool:
    """Whether the `.git` entry points into the git folder of another repository, as that of a submodule does."""
    if not mark.is_file():
        return False
    try:
        content = mark.read_text(encoding="utf-8", errors="replace")[:4096]
    except OSError:
        return False
    return content.startswith("gitdir:") and f"/{_MARK}/modules/" in content.replace("\\", "/")


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
    # A link outside of any repository may lead to the file.
    real = Path(os.path.realpath(plain.parent)) / plain.name
    workspace = os.environ.get("GITHUB_WORKSPACE")
    for candidate in (plain, real):
        for root in (Path(workspace) if workspace else None, repository_of(candidate)):
            if root is not None and candidate.is_relative_to(root):
                return candidate.relative_to(root).as_posix()
    for root in (Path.cwd(), Path(os.path.realpath(Path.cwd()))):
        for candidate in (plain, real):
            if candidate.is_relative_to(root):
                return candidate.relative_to(root).as_posix()
    return plain.as_posix()


_LONGEST = 255  # bytes of a file's name, of most systems
INDEX = ".safetensors.index.json"


def weight_files(checkpoint: Path) -> tuple[Path, ...]:
    """The files that hold the tensors, sorted.

    Raises:
        CheckpointError: an index that cannot be read, or that names other files than .safetensors beside it; a file
            of it is a link out of the folder.

    Example:
        >>> weight_files(Path("net.safetensors"))
        (PosixPath('net.safetensors'),)
    """
    if not checkpoint.name.endswith(INDEX):
        return (checkpoint,)
    try:
        names = sorted({str(name) for name in json.loads(checkpoint.read_text("utf-8"))["weight_map"].values()})
    # A text nested too deep is no index either.
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{checkpoint.name} is not an index of weights: it has no weight_map.") from error
    strange = [name for name in names if not _is_plain(name)]
    if strange:
        raise CheckpointError(
            f"{checkpoint.name} names {shortened(strange[0])!r}, which is no .safetensors file beside it.",
            remedy="Keep the index and its files in one folder.",
        )
    files = tuple(checkpoint.with_name(name) for name in names)
    folder = Path(os.path.realpath(checkpoint.parent))
    away = [file.name for file in files if not Path(os.path.realpath(file)).is_relative_to(folder)]
    if away:
        raise CheckpointError(
            f"{checkpoint.name} names {away[0]!r}, which is a link to a file elsewhere.",
            remedy="Copy the file itself into the folder of the index.",
        )
    return files


def _is_plain(name: str) -> bool:
    """Whether a name is that of a file of tensors in the same folder, on every system."""
    plain = name.isprintable() and Path(name).name == name and "\\" not in name
    return plain and name.endswith(".safetensors") and len(name.encode()) <= _LONGEST


def checkpoint_files(checkpoint: Path) -> tuple[Path, ...]:
    """All files that a checkpoint depends on: those that hold the tensors, and the index; itself where that is broken.

    Example:
        >>> checkpoint_files(Path("nowhere.safetensors.index.json"))
        (PosixPath('nowhere.safetensors.index.json'),)
    """
    try:
        return tuple(dict.fromkeys((checkpoint, *weight_files(checkpoint))))
    except CheckpointError:
        return (checkpoint,)  # loading the model reports the error


# How a protocol buffer writes the entry `location` of a tensor that lies in another file: key, length, name.
_LOCATION = re.compile(rb"\n\x08location\x12([\x01-\x7f]|[\x80-\xff]\x01)", re.DOTALL)


def external_files(model: Path) -> tuple[Path, ...]:
    """The files beside an ONNX file that hold its tensors, sorted; none where it holds them itself or cannot be read.

    Example:
        >>> external_files(Path("nowhere.onnx"))
        ()
    """
    try:
        with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = {_located(content, match) for match in _LOCATION.finditer(content)}
    except (OSError, ValueError):
        return ()  # an empty file cannot be mapped; loading the model reports what is wrong
    return tuple(model.parent / name for name in sorted(found))


def _located(content: mmap.mmap, match: "re.Match[bytes]") -> str:
    low, *high = match[1]
    length = (low & 0x7F) + (high[0] << 7 if high else 0)
    return content[match.end() : match.end() + length].decode("utf-8", "replace")


def candidate_files(folder: Path, names: Iterable[str]) -> tuple[Path, ...]:
    """All files that a candidate depends on.

    Args:
        folder: of pfa.yaml.
        names: of its files, as they are written there.

    Example:
        >>> candidate_files(Path("build"), ["net.pt2"])
        (PosixPath('build/net.pt2'),)
    """
    paths = [folder / name for name in names]
    others = {
        path: external_files(path) if path.suffix.lower() == ".onnx" else checkpoint_files(path) for path in paths
    }
    return tuple(dict.fromkeys(path for own in paths for path in (own, *others[own])))
