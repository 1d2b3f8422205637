"""What git knows of a baseline: both sides of a merge, the last commit, and where the branch began.

PYTEST_DONT_REWRITE
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pfa_gate.config.paths import repository_of
from pfa_gate.errors import ArtifactError
from pfa_gate.record.git import ask

NAME = "pfa.baseline.json"
# What a branch is compared with, if nothing says it: the first that is there.
_TRUNKS = ("remotes/origin/HEAD", "remotes/origin/main", "remotes/origin/master", "heads/main", "heads/master")
_MERGING = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD")


@dataclass(frozen=True)
class BaselineHistory:
    """What git knows of a file that may be gone or torn.

    Attributes:
        versions: (revision, text): both sides of a merge in conflict; else HEAD, and what is being merged into it.
        began: the same, where the branch left the one that it is to go into.
        merging: a merge, a rebase or the like is not finished.
        shallow: the clone is, so that git cannot know all.
        silence: why git can say nothing; empty where it can, or where there is no repository.
        strays: (path from the root, text) of baselines that no config lies beside any more; asked where git knows
            no other state of the file.
    """

    versions: tuple[tuple[str, str], ...] = ()
    began: tuple[tuple[str, str], ...] = ()
    merging: bool = False
    shallow: bool = False
    silence: str = ""
    strays: tuple[tuple[str, str], ...] = ()


def past_of(path: Path) -> BaselineHistory:
    """Ask git for what it knows of a baseline.

    Args:
        path: of the file, which need not be there; absolute.

    Raises:
        ArtifactError: git knows the file, and cannot give it.

    Example:
        >>> past_of(Path("/no/such/folder/pfa.baseline.json"))
        BaselineHistory(versions=(), began=(), merging=False, shallow=False, silence='', strays=())
    """
    folder = path.parent
    inside = ask(folder, "rev-parse", "--is-inside-work-tree")
    if inside.text is None:
        return BaselineHistory(silence=inside.words if repository_of(folder) else "")
    if ask(folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}").text is None:
        return BaselineHistory()  # nothing was ever committed
    heads = [name for name in _MERGING if ask(folder, "rev-parse", "--verify", "--quiet", name).text]
    sides = _sides(path)
    versions = sides or _known(path, ["HEAD", *heads])
    began = _known(path, _began(folder))
    shallow = ask(folder, "rev-parse", "--is-shallow-repository").text == "true"
    strays = () if versions or began else tuple(_strays(folder))
    return BaselineHistory(versions, began, bool(sides or heads), shallow, strays=strays)


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
    listed = ask(path.parent, "--literal-pathspecs", "ls-tree", "-z", "--name-only", revision, "--", path.name)
    if listed.text == "":
        return None
    found = listed if listed.text is None else ask(path.parent, "cat-file", "blob", f"{revision}:./{path.name}")
    if found.text is None:
        fact = f"The baseline {path.name} at {revision[:10]} cannot be read: {found.words}."
        raise ArtifactError(fact, remedy="Repair the repository, or fetch it anew.")
    return found.text


def _sides(path: Path) -> tuple[tuple[str, str], ...]:
    """Ours and theirs, where a merge has left the file in conflict."""
    listed = ask(path.parent, "--literal-pathspecs", "ls-files", "--unmerged", "-z", "--", path.name).text or ""
    stages = {line.partition("\t")[0].rsplit(" ", 1)[-1] for line in listed.split("\0")}
    names = [f":{stage}" for stage in ("2", "3") if stage in stages]
    texts = [(name, ask(path.parent, "cat-file", "blob", f"{name}:./{path.name}").text) for name in names]
    return tuple((name, text) for name, text in texts if text is not None)


def _began(folder: Path) -> list[str]:
    """Where this branch left the one that it is to go into; nothing where that is not known."""
    asked = os.environ.get("GITHUB_BASE_REF")
    trunks = (f"remotes/origin/{asked}", *_TRUNKS) if asked else _TRUNKS
    names = [f"refs/{name}" for name in trunks]
    there = (ask(folder, "for-each-ref", "--format=%(refname)", *names).text or "").split()
    first = [name for name in names if name in there][:1]
    return [found for name in first if (found := ask(folder, "merge-base", "HEAD", name).text)]


def _strays(folder: Path) -> Iterator[tuple[str, str]]:
    """Baselines of other folders whose config has moved away."""
    top = ask(folder, "rev-parse", "--show-toplevel").text
    listed = ask(folder, "ls-files", "-z", "--full-name", "--", f":(top,glob)**/{NAME}").text or ""
    for name in filter(None, listed.split("\0")):
        file = Path(top or folder) / name
        if file.is_file() and not any(each.suffix in (".yaml", ".yml") for each in file.parent.iterdir()):
            yield name, file.read_text(encoding="utf-8", errors="replace")
