"""Questions to git, and its own words where it has no answer.

PYTEST_DONT_REWRITE
"""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PATIENCE = 30
_LONGEST = 600
# Of the repository that a hook or an alias runs in; here they would lead to another one. What the user says for all
# of git, GIT_CONFIG_COUNT or GIT_SSH_COMMAND say, stays.
_OF_ANOTHER = frozenset(
    f"GIT_{name}"
    for name in (
        "DIR", "WORK_TREE", "IMPLICIT_WORK_TREE", "INDEX_FILE", "PREFIX", "COMMON_DIR", "NAMESPACE", "GRAFT_FILE",
        "OBJECT_DIRECTORY", "ALTERNATE_OBJECT_DIRECTORIES", "QUARANTINE_PATH", "SHALLOW_FILE", "INTERNAL_SUPER_PREFIX",
    )
)  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """What git printed, or None where it failed.

    Attributes:
        text: what it printed.
        words: why it failed.
        own: whether these are git's own words, and not ours on a git that says nothing or does not run.
    """

    text: str | None
    words: str = ""
    own: bool = False


def ask(folder: Path, *arguments: str, strip: bool = True) -> Answer:
    """Ask git in a folder.

    Args:
        folder: where git is run.
        arguments: the command.
        strip: whether blanks around the answer go.

    Example:
        >>> ask(Path("/"), "no-such-command").text is None
        True
    """
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=folder,
            env=environment(os.environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Answer(None, f"git did not answer within {_PATIENCE} s")
    except (OSError, ValueError) as error:
        return Answer(None, f"git cannot be run: {getattr(error, 'strerror', None) or error}")
    if done.returncode:
        said = _said(done.stderr)
        silent = f"git ends with {done.returncode}, and says nothing"
        return Answer(None, f"git says: {said}" if said else silent, own=bool(said))
    try:
        text = done.stdout.decode("utf-8")
    except UnicodeDecodeError:
        return Answer(None, "it is not UTF-8")
    return Answer(text.strip() if strip else text)


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """The environment that git is asked in: ours, without what ties git to the repository of a hook.

    Example:
        >>> environment({"GIT_DIR": "/elsewhere/.git", "GIT_CONFIG_COUNT": "0", "HOME": "/root"})
        {'GIT_CONFIG_COUNT': '0', 'HOME': '/root'}
    """
    return {name: value for name, value in ours.items() if name not in _OF_ANOTHER}


def _said(stderr: bytes) -> str:
    """Git's words on one line, without what a terminal would obey."""
    words = " ".join(stderr.decode("utf-8", "replace").split())
    return "".join(letter for letter in words if letter.isprintable())[:_LONGEST]
