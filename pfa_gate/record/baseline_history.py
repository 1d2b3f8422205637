"""What git knows of a baseline: both sides of a merge, the last commit, and where the branch began."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pfa_gate.config.paths import repository_of
from pfa_gate.errors import ArtifactError

NAME = "pfa.baseline.json"
# What a branch is compared with, if nothing says it: the first that is there.
_TRUNKS = ("remotes/origin/HEAD", "remotes/origin/main", "remotes/origin/master", "heads/main", "heads/master")
_MERGING = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD")
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
class BaselineHistory:
    """What git knows of a baseline, which may be missing or torn.

    Attributes:
        versions: (revision, text): both sides of a merge in conflict; else HEAD, and what is being merged into it.
        branch_point: the same, where the branch began.
        merging: a merge, a rebase or the like is not finished.
        shallow: the clone is, so that git cannot know all.
        why_unknown: why git can say nothing; empty where it can, or where there is no repository.
        moved: (path from the root, text) of baselines that no config lies beside any more; asked where git knows
            no other state of the file.
    """

    versions: tuple[tuple[str, str], ...] = ()
    branch_point: tuple[tuple[str, str], ...] = ()
    merging: bool = False
    shallow: bool = False
    why_unknown: str = ""
    moved: tuple[tuple[str, str], ...] = ()


def history_of(path: Path) -> BaselineHistory:
    """Ask git for what it knows of a baseline.

    Args:
        path: of the file, which need not be there; absolute.

    Raises:
        ArtifactError: git knows the file, and cannot give it.

    Example:
        >>> history_of(Path("/no/such/folder/pfa.baseline.json"))
        BaselineHistory(versions=(), branch_point=(), merging=False, shallow=False, why_unknown='', moved=())
    """
    folder = path.parent
    inside = ask_git(folder, "rev-parse", "--is-inside-work-tree")
    if inside.text is None:
        return BaselineHistory(why_unknown=inside.words if repository_of(folder) else "")
    if ask_git(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}").text is None:
        return BaselineHistory()  # nothing was ever committed
    heads = [name for name in _MERGING if ask_git(folder, "rev-parse", "--verify", "--quiet", name).text]
    sides = _sides(path)
    versions = sides or _known(path, ["HEAD", *heads])
    branch_point = _known(path, _branch_point(folder))
    shallow = ask_git(folder, "rev-parse", "--is-shallow-repository").text == "true"
    moved = () if versions or branch_point else tuple(_moved_baselines(folder))
    return BaselineHistory(versions, branch_point, bool(sides or heads), shallow, moved=moved)


def _known(path: Path, revisions: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, text) for name in revisions if (text := in_tree(path, name)) is not None)


def in_tree(path: Path, revision: str) -> str | None:
    """Text of a file at a revision; None where the revision does not have it.

    Args:
        path: of the file today; absolute.
        revision: anything that names a commit.

    Raises:
        ArtifactError: git cannot say, or cannot give it.
    """
    # From this folder, wherever it lies in the repository; a name is no pattern here.
    listed = ask_git(path.parent, "--literal-pathspecs", "ls-tree", "-z", "--name-only", revision, "--", path.name)
    if listed.text == "":
        return None
    blob = listed if listed.text is None else ask_git(path.parent, "cat-file", "blob", f"{revision}:./{path.name}")
    if blob.text is None:
        fact = f"The baseline {path.name} at {revision[:10]} cannot be read: {blob.words}."
        raise ArtifactError(fact, remedy="Repair the repository, or fetch it anew.")
    return blob.text


def _sides(path: Path) -> tuple[tuple[str, str], ...]:
    """Ours and theirs, where a merge has left the file in conflict."""
    listed = ask_git(path.parent, "--literal-pathspecs", "ls-files", "--unmerged", "-z", "--", path.name).text or ""
    stages = {line.partition("\t")[0].rsplit(" ", 1)[-1] for line in listed.split("\0")}
    names = [f":{stage}" for stage in ("2", "3") if stage in stages]
    texts = [(name, ask_git(path.parent, "cat-file", "blob", f"{name}:./{path.name}").text) for name in names]
    return tuple((name, text) for name, text in texts if text is not None)


def _branch_point(folder: Path) -> list[str]:
    """Where this branch began; empty where that is not known."""
    asked = os.environ.get("GITHUB_BASE_REF")
    trunks = (f"remotes/origin/{asked}", *_TRUNKS) if asked else _TRUNKS
    names = [f"refs/{name}" for name in trunks]
    there = (ask_git(folder, "for-each-ref", "--format=%(refname)", *names).text or "").split()
    first = [name for name in names if name in there][:1]
    return [commit for name in first if (commit := ask_git(folder, "merge-base", "HEAD", name).text)]


def _moved_baselines(folder: Path) -> Iterator[tuple[str, str]]:
    """Baselines of other folders whose config has moved away."""
    top = ask_git(folder, "rev-parse", "--show-toplevel").text
    listed = ask_git(folder, "ls-files", "-z", "--full-name", "--", f":(top,glob)**/{NAME}").text or ""
    for name in filter(None, listed.split("\0")):
        file = Path(top or folder) / name
        if file.is_file() and not any(sibling.suffix in (".yaml", ".yml") for sibling in file.parent.iterdir()):
            yield name, file.read_text(encoding="utf-8", errors="replace")


@dataclass(frozen=True)
class GitAnswer:
    """What git printed, or None where it failed.

    Attributes:
        text: what it printed.
        words: why it failed.
        own: whether these are git's own words, and not ours on a git that says nothing or does not run.
    """

    text: str | None
    words: str = ""
    own: bool = False


def ask_git(folder: Path, *arguments: str, strip: bool = True) -> GitAnswer:
    """Ask git in a folder.

    Args:
        folder: where git is run.
        arguments: the command.
        strip: whether blanks around the answer go.

    Example:
        >>> ask_git(Path("/"), "no-such-command").text is None
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
        return GitAnswer(None, f"git did not answer within {_PATIENCE} s")
    except (OSError, ValueError) as error:
        return GitAnswer(None, f"git cannot be run: {getattr(error, 'strerror', None) or error}")
    if done.returncode:
        said = _said(done.stderr)
        silent = f"git ends with {done.returncode}, and says nothing"
        return GitAnswer(None, f"git says: {said}" if said else silent, own=bool(said))
    try:
        text = done.stdout.decode("utf-8")
    except UnicodeDecodeError:
        return GitAnswer(None, "it is not UTF-8")
    return GitAnswer(text.strip() if strip else text)


def environment(ours: Mapping[str, str]) -> dict[str, str]:
    """Our environment for git, without the variables that point it to the repository of a hook.

    Example:
        >>> environment({"GIT_DIR": "/elsewhere/.git", "GIT_CONFIG_COUNT": "0", "HOME": "/root"})
        {'GIT_CONFIG_COUNT': '0', 'HOME': '/root'}
    """
    return {name: value for name, value in ours.items() if name not in _OF_ANOTHER}


def _said(stderr: bytes) -> str:
    """Git's message on one line, without control characters."""
    words = " ".join(stderr.decode("utf-8", "replace").split())
    return "".join(letter for letter in words if letter.isprintable())[:_LONGEST]
