"""Where a baseline comes from: the file beside the config, another file, or a revision in git.

PYTEST_DONT_REWRITE
"""

import hashlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfa_gate.budget import Context
from pfa_gate.config.weights import every_file
from pfa_gate.errors import ArtifactError
from pfa_gate.record.baseline import base, entries

if TYPE_CHECKING:
    from pfa_gate.config import Document, GateConfig

NAME = "pfa.baseline.json"
GIT = "git:"
_PATIENCE = 30


@dataclass(frozen=True)
class Found:
    """A baseline's text, and how people know it; the text is None where there is none yet."""

    content: str | None
    source: str


def find(config: Path, asked: str) -> Found:
    """Read the baseline of a config.

    Args:
        config: path of the config; absolute.
        asked: an absolute path or `git:REF`; empty for the file beside the config.

    Raises:
        ArtifactError: the file cannot be read; git does not know the revision.
    """
    if asked.startswith(GIT):
        return _from_git(config.parent, asked.removeprefix(GIT))
    path = Path(asked) if asked else config.parent / NAME
    try:
        return Found(path.read_text(encoding="utf-8"), _shown(path))
    except FileNotFoundError as error:
        if not asked:
            return Found(None, _shown(path))
        raise _missing(_shown(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ArtifactError(f"The baseline {_shown(path)} cannot be read: {reason}.") from error


def _from_git(folder: Path, reference: str) -> Found:
    """The file as it was where the branch left REF: what happened on REF since then is not this change's doing."""
    if not reference or reference.startswith("-"):
        raise ArtifactError(f"'{GIT}{reference}' names no revision.", remedy="Write for example git:origin/main.")
    revision = git(folder, "merge-base", "HEAD", f"{reference}^{{commit}}")
    if revision is None and git(folder, "rev-parse", "--git-dir") is None:
        remedy = "Install git or run in a checkout, or name a file: --pfa-baseline PATH."
        raise ArtifactError(f"There is no git, or no repository, at {folder.as_posix()}.", remedy=remedy)
    if revision is None:
        remedy = f"Fetch it first, with its history: git fetch origin {reference.removeprefix('origin/')}."
        raise ArtifactError(f"git finds no common ancestor of HEAD and {reference}.", remedy=remedy)
    source = f"{NAME} at {revision[:10]}, the merge base with {reference}"
    # A colon and a dot: the path is taken from this folder, wherever it lies in the repository.
    return Found(git(folder, "show", f"{revision}:./{NAME}", strip=False), source)


def git(folder: Path, *arguments: str, strip: bool = True) -> str | None:
    """What git prints, or None where it fails or is not there."""
    # A hook or an alias of the caller's repository must not lead to another one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=environment, capture_output=True, timeout=_PATIENCE, check=False
        )
        text = done.stdout.decode("utf-8")
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    if done.returncode:
        return None
    return text.strip() if strip else text


def context_of(document: "Document", gate: str, found: Found, updating: bool) -> Context:
    """What a gate's verdict depends on beside limits and measurements: its baseline, and today.

    Raises:
        ArtifactError: the baseline is torn, unless this run writes it anew.
    """
    if found.content is None:
        return Context(None, date.today(), updating)
    try:
        before = entries(found.content, found.source)
        today = subject(document.gate(gate), document.path.parent)
        return Context(base(before, gate, found.source, today), date.today(), updating)
    except ArtifactError:
        if updating:
            return Context(None, date.today(), updating)
        raise


def subject(config: "GateConfig", folder: Path) -> Mapping[str, Any]:
    """Which model and probe a gate has, as far as its config and its checkpoint say."""
    checkpoint = config.model.checkpoint
    return {
        "factory": config.model.factory,
        "arguments": config.model.arguments,
        "data": config.probe.data,
        "pooling": config.probe.pooling,
        "positions": config.probe.positions,
        "samples": config.probe.samples,
        "weights": None
        if checkpoint is None
        else _digest(every_file(folder / checkpoint), config.model.checkpoint_key),
    }


def _digest(files: Sequence[Path], key: str | None) -> str | None:
    digest = hashlib.sha256((key or "").encode())
    try:
        for path in files:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    except OSError:
        return None  # the gate itself will say so
    return digest.hexdigest()


def _missing(shown: str) -> ArtifactError:
    return ArtifactError(f"There is no baseline {shown}.", remedy="Correct the path given to --pfa-baseline.")


def _shown(path: Path) -> str:
    here = Path.cwd()
    return (path.relative_to(here) if path.is_relative_to(here) else path).as_posix()
