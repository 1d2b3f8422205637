"""Which files a config may name: those of its own project, by paths that mean the same on every machine."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pfa_gate.config.complaints import describe, shortened
from pfa_gate.config.reader import Keys

# Where pytest and packagers look for a project's settings, too.
_SETTINGS = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")

# Invisible letters that the JSON schema can name; `str.isprintable` knows some more.
UNSEEN = r"\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ue000-\uf8ff\ufeff"
_ENVIRONMENT = r"\$[A-Za-z_{(]|%[A-Za-z_][A-Za-z0-9_]*%|^~"
_WINDOWS = r"\\|^[A-Za-z]:/"
_REMOTE = r"^[A-Za-z][A-Za-z0-9+.-]+://"
FOREIGN = f"{_ENVIRONMENT}|{_WINDOWS}|{_REMOTE}|[{UNSEEN}]"
"""What no path of a config may hold, as the JSON schema says it."""


def path_fault(text: str) -> tuple[str, str] | None:
    r"""Find what makes a path, or a reference with one, mean another thing elsewhere.

    Returns:
        What is wrong and the remedy, or None.

    Example:
        >>> path_fault("$DATA/probe.npy")
        ("refers to the environment with '$DATA'", 'Write the path itself, from the folder of this config.')
        >>> path_fault("data/probe.npy") is None
        True
    """
    if invisible_letter(text):
        return invisible_letter(text)
    itself = "Write the path itself, from the folder of this config."
    if re.search(_ENVIRONMENT, text):
        return f"refers to the environment with {_variable(text)!r}", itself
    if re.search(_REMOTE, text):
        return f"is an address, {describe(text)}", "Nothing is fetched: write the path of a file."
    if re.search(_WINDOWS, text):
        return f"is a path of Windows, {describe(text)}", "Write it from the folder of this config, with / for \\."
    return None


def invisible_letter(text: str) -> tuple[str, str] | None:
    r"""Find an invisible letter.

    Example:
        >>> invisible_letter("a\u202eb")
        ('holds the letter U+202E, which cannot be seen', 'Remove it.')
    """
    letter = next((character for character in text if not character.isprintable()), None)
    return None if letter is None else (f"holds the letter U+{ord(letter):04X}, which cannot be seen", "Remove it.")


def _variable(text: str) -> str:
    match = re.search(r"\$\{[^}]*\}?|\$\([^)]*\)?|\$\w+|%\w+%|^~\w*", text)
    return shortened(match.group() if match else text)


@dataclass(frozen=True)
class Project:
    """A config's project.

    Args:
        folder: of the config, links followed.
        roots: the project's folders; what lies below none of them is outside.
    """

    folder: Path
    roots: tuple[Path, ...]

    def holds(self, path: str) -> bool:
        """Whether a path leads, links followed, to a place in the project.

        Example:
            >>> Project(Path("/p/a"), (Path("/p"),)).holds("../b/net.py")
            True
        """
        target = Path(os.path.realpath(self.folder / path))
        return any(target.is_relative_to(root) for root in self.roots)


def project_of(config: Path, root: Path | None = None) -> Project:
    """Find the project of a config: its git repository, or else the nearest folder upward with settings, or its own.

    Args:
        config: path of the config.
        root: pytest's rootdir, which belongs to the project if the config lies below it; the current folder if None.

    Example:
        >>> project_of(Path("/pfa.yaml"), Path("/")).folder
        PosixPath('/')
    """
    folder = Path(os.path.realpath(config)).parent
    upward = (folder, *folder.parents)
    top = next((candidate for candidate in upward if (candidate / ".git").exists()), None)
    top = top or next(
        (candidate for candidate in upward if any((candidate / name).is_file() for name in _SETTINGS)), folder
    )
    rootdir = Path(os.path.realpath(root or Path.cwd()))
    # The root of the file system may be the current folder, and is no project.
    joined = [rootdir] if folder.is_relative_to(rootdir) and rootdir != rootdir.parent else []
    return Project(folder, (top, *joined))


def paths_outside(data: object, project: Project) -> Iterator[tuple[Keys, str, str]]:
    """Find the paths of a config that leave its project.

    Args:
        data: the whole config as plain data, of any shape.
        project: that of the config.

    Yields:
        The path of the value, what is wrong, and the remedy.
    """
    gates = data.get("gates") if isinstance(data, dict) else None
    for name, gate in gates.items() if isinstance(gates, dict) else ():
        for keys, text in _paths(gate):
            if not path_fault(text) and not project.holds(text):
                subject = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)[1:]
                message = f"{subject} leaves the project: {shortened(text)!r} is not below {_shown(project)}"
                yield ("gates", name, *keys), message, _REMEDY


_REMEDY = "Put it into the project, or read it in a callable of your own."


_REFERENCES = (
    ("model", "factory"), ("candidate", "factory"), ("probe", "data"), ("recipe", "data"), ("evaluation", "data"),
    ("evaluation", "metric"),
)  # fmt: skip
_FILES = (("model", "checkpoint"), ("candidate", "checkpoint"), ("candidate", "onnx"), ("candidate", "pt2"))


def _paths(gate: Any) -> Iterator[tuple[Keys, str]]:
    """Every path that a gate names, by the keys below the gate."""
    for section, key in _REFERENCES:
        text = _at(gate, section, key)
        if isinstance(text, str):
            source = text.rpartition(":")[0] if ":" in text else text
            if source.endswith(".py") or (":" not in text and "." in text):
                yield (section, key), source
    yield from _by_name(gate)
    for section, key in _FILES:
        if isinstance(path := _at(gate, section, key), str):
            yield (section, key), path
    steps = _at(gate, "recovery")
    for index, step in enumerate(steps if isinstance(steps, list) else ()):
        for keys in (("finetune",), ("distill", "augment")):
            source = _at(step, *keys)
            if isinstance(source, str) and source.rpartition(":")[0].endswith(".py"):
                yield ("recovery", index, *keys), source.rpartition(":")[0]


def _by_name(gate: Any) -> Iterator[tuple[Keys, str]]:
    """The paths of a model of transformers, and of images and texts."""
    factory = _at(gate, "model", "factory")
    if isinstance(factory, str) and factory.startswith("hf:"):
        yield ("model", "factory"), factory.removeprefix("hf:")
    for section in ("probe", "recipe", "evaluation"):
        for key in ("images", "jsonl", "tokenizer"):
            if isinstance(text := _at(gate, section, "data", key), str):
                yield (section, "data", key), text
        transform = _at(gate, section, "data", "transform")
        if isinstance(transform, str) and transform.rpartition(":")[0].endswith(".py"):
            yield (section, "data", "transform"), transform.rpartition(":")[0]


def _at(data: Any, *keys: str) -> Any:
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def _shown(project: Project) -> str:
    """The roots relative to the config: a message holds no absolute path of a machine."""
    paths = dict.fromkeys(Path(os.path.relpath(root, project.folder)).as_posix() for root in project.roots)
    return " or ".join("its own folder" if path == "." else path for path in paths)
