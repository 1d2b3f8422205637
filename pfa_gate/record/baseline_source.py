"""Where a baseline comes from: the file beside the config, another file, or a revision in git."""

import errno
import hashlib
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pfa_gate.budget import Baseline, Context
from pfa_gate.config.named_sources import plain
from pfa_gate.config.paths import checkpoint_files, from_root
from pfa_gate.errors import ArtifactError
from pfa_gate.files import display_path
from pfa_gate.record.baseline import baseline_entries, baseline_of
from pfa_gate.record.baseline_history import NAME, BaselineHistory, GitAnswer, ask_git, history_of, in_tree
from pfa_gate.record.lost_baseline import (
    name_in_baseline,
    previous_baseline,
    readable_versions,
    refuse_missing_file,
    refuse_missing_gate,
)
from pfa_gate.record.ratchet import refers_back

if TYPE_CHECKING:
    from pfa_gate.config import Document, GateConfig
    from pfa_gate.config.evaluation import EvaluationConfig

GIT = "git:"
NONE = "none"
# Of 5,000 layers it has about a twentieth of that.
_MOST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class BaselineText:
    """A baseline's text, and how people know it.

    Attributes:
        content: its text; None where there is none yet.
        source: its path from the repository's root, or the revision in git.
        history: what git knows of the file; asked where a limit of the gate refers to it.
    """

    content: str | None
    source: str
    history: BaselineHistory = field(default_factory=BaselineHistory)


def absolute(asked: str, folder: Path) -> str:
    """The source of a baseline as an absolute path, so that the current folder may change.

    Example:
        >>> absolute("git:main", Path("/p")), absolute("old.json", Path("/p")), absolute("", Path("/p"))
        ('git:main', '/p/old.json', '')
    """
    return asked if asked in ("", NONE) or asked.startswith(GIT) else os.path.abspath(folder / asked)


def find_baseline(config: Path, asked: str) -> BaselineText:
    """Read the baseline of a config.

    Args:
        config: path of the config; absolute.
        asked: an absolute path, `git:REF`, or `none` where it is known that there is none yet; empty for the file
            beside the config.

    Raises:
        ArtifactError: the file cannot be read; git does not know the revision.
    """
    if asked == NONE:
        if (config.parent / NAME).exists():
            fact = f"There is a baseline {_shown(config.parent / NAME)}, though --pfa-baseline says that there is none."
            raise ArtifactError(fact, remedy="Leave the option out.")
        return BaselineText(None, "no baseline")
    if asked.startswith(GIT):
        return _from_git(config.parent, asked.removeprefix(GIT))
    path = Path(asked) if asked else config.parent / NAME
    try:
        return BaselineText(_text(path), from_root(path))
    except FileNotFoundError as error:
        if not asked:
            return BaselineText(None, from_root(path))
        raise _missing(_shown(path)) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or ("it is not UTF-8" if path.name.isprintable() else "no such name")
        raise ArtifactError(f"The baseline {_shown(path)} cannot be read: {reason}.") from error


def _text(path: Path) -> str:
    """The text of a baseline; a pipe or a device, which may never end, is not read."""
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {_MOST_BYTES:,} bytes")
    return content.decode("utf-8").replace("\r\n", "\n")


def _without_waiting(name: str, flags: int) -> int:
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))


def find_with_history(config: Path, asked: str, gate: "GateConfig") -> BaselineText:
    """Read the baseline of a gate, with what git knows of the file where a limit refers to it.

    Args:
        config: path of the config; absolute.
        asked: as for `find_baseline`.
        gate: whose limits are to be judged.

    Raises:
        ArtifactError: it cannot be read.
    """
    baseline = find_baseline(config, asked)
    if asked == NONE or asked.startswith(GIT) or not refers_back(gate):
        return baseline
    return replace(baseline, history=history_of(Path(asked) if asked else config.parent / NAME))


def _from_git(folder: Path, reference: str) -> BaselineText:
    """The file as it was where the branch left REF, so that later commits on REF do not count."""
    if not reference or reference.startswith("-") or not reference.isprintable():
        shown = "".join(letter if letter.isprintable() else "?" for letter in reference)
        raise ArtifactError(f"'{GIT}{shown}' names no revision.", remedy="Write for example git:origin/main.")
    answer = ask_git(folder, "merge-base", "HEAD", f"{reference}^{{commit}}")
    if not answer.text:
        raise _no_base(folder, reference, answer)
    source = f"{from_root(folder / NAME)} at {answer.text[:10]}, the merge base with {reference}"
    return BaselineText(in_tree(folder / NAME, answer.text), source)


def _no_base(folder: Path, reference: str, answer: GitAnswer) -> ArtifactError:
    inside = ask_git(folder, "rev-parse", "--git-dir")
    if inside.text is None:
        fact = f"git gives no baseline at {folder.as_posix()}: {inside.words}."
        remedy = "Run in a checkout that git reads, or name a file: --pfa-baseline=PATH."
        return ArtifactError(fact, remedy=remedy)
    shallow = ask_git(folder, "rev-parse", "--is-shallow-repository").text == "true"
    words = f": {answer.words}" if answer.own else ""
    branch = reference.removeprefix("origin/")
    fetch = "git fetch --unshallow origin, or fetch-depth: 0 in CI" if shallow else f"git fetch origin {branch}"
    fact = f"git finds no common ancestor of HEAD and {reference}{words}{'; this clone is shallow' * shallow}."
    return ArtifactError(fact, remedy=f"Fetch it first, with its history: {fetch}.")


def context_of(document: "Document", gate: str, baseline: BaselineText, updating: bool) -> Context:
    """What a gate's verdict depends on besides limits and measurements: its baseline, and today's date.

    Raises:
        ArtifactError: the baseline is torn, unless this run writes it anew; or it is lost, or has lost this gate,
            and a limit refers to it.
    """
    config = document.gate(gate)
    today = subject(config, document.path.parent)
    if refers_back(config):
        base_of = _accepted if updating else _compared
        return Context(base_of(document, gate, baseline, today), date.today(), updating)
    if baseline.content is None or updating:
        return Context(None, date.today(), updating)
    gates = baseline_entries(baseline.content, baseline.source)
    return Context(baseline_of(gates, gate, baseline.source, today), date.today(), updating)


def _compared(document: "Document", gate: str, baseline: BaselineText, today: Mapping[str, Any]) -> Baseline | None:
    """The baseline that the limits of a gate refer to; None where there never was one."""
    if baseline.content is None:
        refuse_missing_file(baseline.source, baseline.history, gate, today)
        return None
    gates = baseline_entries(baseline.content, baseline.source)
    name = name_in_baseline(gates, gate, document, today, baseline.source)
    if name is None:
        refuse_missing_gate(baseline.source, baseline.history, gate)
        return None
    known = readable_versions((*baseline.history.versions, *baseline.history.branch_point), baseline.source)
    earlier = (baseline_of(gates, name, source, today) for source, gates in known)
    return _of(gates, (gate, name), baseline.source, today, tuple(old for old in earlier if old is not None))


def _accepted(document: "Document", gate: str, baseline: BaselineText, today: Mapping[str, Any]) -> Baseline | None:
    """What an update must not exceed: the file, or else what git knows of it, the tighter of two sides."""
    old = previous_baseline(baseline.content, baseline.source, baseline.history)
    name = name_in_baseline(old.gates, gate, document, today, baseline.source) or gate
    entry = old.entry(name)
    return None if entry is None else _of({name: entry}, (gate, name), old.source, today)


def _of(
    gates: Mapping[str, Any],
    names: tuple[str, str],
    source: str,
    today: Mapping[str, Any],
    earlier: tuple[Baseline, ...] = (),
) -> Baseline | None:
    """The baseline of a gate by its (name today, name then); a difference counts as a change."""
    plain, renamed = baseline_of(gates, names[1], source, today), names[0] != names[1]
    words = (f"the gate's name ({names[1]} then)",) if renamed else ()
    return None if plain is None else replace(plain, changed=(*words, *plain.changed), earlier=earlier)


def subject(config: "GateConfig", folder: Path) -> Mapping[str, Any]:
    """Which model, probe and evaluation a gate has, as far as its config and its checkpoint say."""
    checkpoint, scored = config.model.checkpoint, config.evaluation
    return {
        "factory": config.model.factory,
        "arguments": config.model.arguments,
        "data": plain(config.probe.data),
        "pooling": config.probe.pooling,
        "positions": config.probe.positions,
        "samples": config.probe.samples,
        "evaluation": None if scored is None else _evaluation(scored),
        "weights": None
        if checkpoint is None
        else _digest(checkpoint_files(folder / checkpoint), config.model.checkpoint_key),
    }


def _evaluation(scored: "EvaluationConfig") -> list[Any]:
    return [
        plain(scored.data),
        scored.metric,
        scored.direction or "higher",
        *([scored.arguments] if scored.arguments else []),
    ]


def subject_and_config(document: "Document", gate: str) -> dict[str, Any]:
    """What a run measures: the gate's subject, and the digest of its config."""
    config, folder = document.gate(gate), document.path.parent
    return {**subject(config, folder), "config": hashlib.sha256(document.content).hexdigest()}


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
    return "".join(letter if letter.isprintable() else "?" for letter in display_path(path))
