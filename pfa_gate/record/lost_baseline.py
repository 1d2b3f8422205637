"""A baseline that is missing, torn or renamed: no ratchet is lifted by its loss.

For a missing or torn file, the versions that git knows count. A renamed gate keeps its values. All else is an error.
To raise a ratchet, edit its value in the file, where reviewers see it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pfa_gate.budget.wording import listed
from pfa_gate.errors import ArtifactError
from pfa_gate.record.baseline import same_kind, valid_entries
from pfa_gate.record.baseline_history import BaselineHistory
from pfa_gate.record.ratchet import filled, tightest

if TYPE_CHECKING:
    from pfa_gate.config import Document

_RAISE = "To raise a ratchet, edit its value there, in a commit that says why."


Known = Sequence[tuple[str, Mapping[str, Any]]]
"""Baselines that can be read: how people know each, and its gates."""


@dataclass(frozen=True)
class PreviousBaseline:
    """What an update starts from.

    Attributes:
        gates: of the baseline so far.
        source: how people know it.
        known: what git knows of it beside that.
        remark: what there is to say, where it is not simply the file; else empty.
    """

    gates: Mapping[str, Any]
    source: str
    known: Known = ()
    remark: str = ""

    def entry(self, gate: str) -> Mapping[str, Any] | None:
        """The entry of a gate, with the values that were removed since; None where it never had one."""
        entry = self.gates.get(gate)
        for _, gates in self.known:
            if gate in gates:
                entry = gates[gate] if entry is None else filled(entry, gates[gate])
        return entry


def readable_versions(versions: Sequence[tuple[str, str]], source: str) -> Known:
    """The versions that can be read, of those that git knows.

    Args:
        versions: (revision, text).
        source: of the baseline.
    """
    readable = []
    for revision, text in versions:
        named = f"{source} at {_revision(revision)}"
        try:
            readable.append((named, valid_entries(text, named)))
        except ArtifactError:
            continue  # torn there as well; the others have a say
    return readable


def refuse_missing_file(source: str, history: BaselineHistory, gate: str, today: Mapping[str, Any]) -> None:
    """Refuse to judge without a baseline where git knows one, or cannot say.

    Args:
        source: where the file should be.
        history: what git knows of it.
        gate: the gate's name; its limits refer to a baseline.
        today: its model and probe.

    Raises:
        ArtifactError: there was one; or nobody can tell.
    """
    for revision, _ in (*history.versions, *history.branch_point):
        remedy = f"Restore it: git checkout {_commit(revision)} -- {source}. {_RAISE}"
        raise ArtifactError(f"The baseline {source} is gone, and {_revision(revision)} has it.", remedy=remedy)
    for path, text in history.moved:
        gates, _ = _own(text, path)
        if gates and gate in gates and same_kind(gates[gate], today):
            fact = f"There is no baseline {source}; {path} has gate '{gate}', and no config is beside it any more."
            raise ArtifactError(fact, remedy="Move it to where the config is now.")
    _refuse_unknown(f"There is no baseline {source}", history)


def refuse_missing_gate(source: str, history: BaselineHistory, gate: str) -> None:
    """Refuse to judge a gate that is missing from a baseline, where an earlier version has it, or git cannot say.

    Args:
        source: of the baseline.
        history: what git knows of it.
        gate: the gate's name; its limits refer to a baseline.

    Raises:
        ArtifactError: it had one; or nobody can tell.
    """
    for revision, text in (*history.versions, *history.branch_point):
        if any(gate in gates for _, gates in readable_versions([(revision, text)], source)):
            fact = f"The baseline {source} has no gate '{gate}' any more, and {_revision(revision)} has."
            raise ArtifactError(fact, remedy=f"Restore its entry, from git show {_commit(revision)}:{source}. {_RAISE}")
    # A file that is not in git, from an artifact say, is nothing that git could tell of.
    if history.versions or history.why_unknown:
        _refuse_unknown(f"The baseline {source} has no gate '{gate}'", history)


def _refuse_unknown(fact: str, history: BaselineHistory) -> None:
    why = history.why_unknown or ("this clone is shallow" if history.shallow else "")
    if why:
        remedy = "Run pytest --pfa --pfa-update-baseline once and commit the file; or let git tell"
        fetch = "fetch-depth: 0 in CI, git fetch --unshallow elsewhere"
        raise ArtifactError(f"{fact}, and whether it had cannot be known: {why}.", remedy=f"{remedy} ({fetch}).")


def name_in_baseline(
    gates: Mapping[str, Any], gate: str, document: "Document", today: Mapping[str, Any], source: str
) -> str | None:
    """The name that a gate has in a baseline; None where it is not there, and never was.

    Args:
        gates: of the baseline.
        gate: its name today.
        document: the config.
        today: its model and probe today.
        source: of the baseline.

    Raises:
        ArtifactError: it may be one of several that the config has no more.
    """
    if gate in gates:
        return gate
    gone = _orphans(gates, document)
    alike = [name for name in gone if same_kind(gates[name], today)]
    if len(alike) == 1 or not gone:
        return alike[0] if alike else None
    names = listed([f"'{name}'" for name in gone], 5)
    fact = f"Gate '{gate}' is not in {source}, which has {names}, and {document.path.name} has no such gate any more."
    raise ArtifactError(fact, remedy="Give it its new name there too if it was renamed; else remove it there.")


def _orphans(gates: Mapping[str, Any], document: "Document") -> list[str]:
    return [name for name in gates if name not in document.gates]


def previous_baseline(content: str | None, source: str, history: BaselineHistory) -> PreviousBaseline:
    """What an update starts from: the file; where it is gone, torn or being merged, what git knows of it.

    Args:
        content: of the file; None where it is gone.
        source: how people know it.
        history: what git knows of it.

    Raises:
        ArtifactError: the file cannot be read, and git has no other state of it; or git cannot say.
    """
    own, torn = _own(content, source)
    if own is not None and not history.merging:
        return PreviousBaseline(
            own,
            source,
            [*readable_versions(history.versions, source), *readable_versions(history.branch_point, source)],
        )
    known = readable_versions(history.versions, source) or readable_versions(history.branch_point, source)
    if torn and not known:
        fact = f"{torn.fact.removesuffix('.')}; and git has no other state of it."
        remedy = f"Restore it from a commit that has it whole (git log -- {source}). A new one would lift its ratchets."
        raise ArtifactError(fact, remedy=remedy)
    if content is None and history.why_unknown:
        fact = f"There is no baseline {source}, and whether there was one cannot be known: {history.why_unknown}."
        raise ArtifactError(fact, remedy="Let git read the repository.")
    used = [*([(source, own)] if own is not None else []), *known]
    if not used:
        return PreviousBaseline({}, source)
    names = listed([name.removeprefix(f"{source} at ") if name != source else "the file" for name, _ in used], 5)
    state = "is gone" if content is None else "cannot be read" if torn else "is being merged"
    remark = f"{source} {state}; an update may not exceed the lowest values of {names}."
    return PreviousBaseline(tightest([gates for _, gates in used]), source, remark=remark)


def _own(content: str | None, source: str) -> tuple[Mapping[str, Any] | None, ArtifactError | None]:
    """The gates of the file itself, or why it cannot be read."""
    try:
        return None if content is None else valid_entries(content, source), None
    except ArtifactError as error:
        return None, error


def _revision(name: str) -> str:
    return {":2": "our side of the merge", ":3": "their side of the merge"}.get(name, name[:10])


def _commit(revision: str) -> str:
    return "HEAD" if revision.startswith(":") else revision[:10]
