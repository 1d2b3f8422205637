"""Every way to lose a baseline that limits refer to, and what becomes of it: no ratchet is lifted by a loss.

A file that is gone or torn is held to what git knows of it; a gate under another name keeps its values; what cannot be
settled is an error. To raise a ratchet, its value is edited in the file, where reviewers see it.

PYTEST_DONT_REWRITE
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pfa_gate.budget.rules import rule_for
from pfa_gate.budget.wording import listed
from pfa_gate.config import GateConfig, Limit
from pfa_gate.errors import ArtifactError
from pfa_gate.record.baseline import same_kind, whole
from pfa_gate.record.baseline_history import BaselineHistory
from pfa_gate.record.ratchet import filled, tighter

if TYPE_CHECKING:
    from pfa_gate.config import Document

_RAISE = "To raise a ratchet, edit its value there, in a commit that says why."


Known = Sequence[tuple[str, Mapping[str, Any]]]
"""Baselines that can be read: how people know each, and its gates."""


@dataclass(frozen=True)
class Old:
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
        """The entry of a gate, with what was taken out of it since; None where it never had one."""
        found = self.gates.get(gate)
        for _, gates in self.known:
            if gate in gates:
                found = gates[gate] if found is None else filled(found, gates[gate])
        return found


def refers_back(gate: GateConfig) -> bool:
    """Whether a limit of a gate refers to a baseline.

    Example:
        >>> plain = {"name": "a", "model": {"factory": "net:build"}, "probe": {"data": "net:probe"}}
        >>> plain["budgets"] = {"layers": [{"match": "*", "kl": {"ratchet": True}}]}
        >>> refers_back(GateConfig.model_validate(plain))
        True
    """
    return any(limit.relative for limit in _limits(gate.budgets))


def ratchets(gate: GateConfig, budget: str, layer: str) -> bool:
    """Whether the limit that holds for a budget, of a layer or of the whole, ratchets.

    Example:
        >>> plain = {"name": "a", "model": {"factory": "net:build"}, "probe": {"data": "net:probe"}}
        >>> plain["budgets"] = {"layers": [{"match": "*", "kl": {"ratchet": True}}, {"match": "head", "kl": 0.7}]}
        >>> gate = GateConfig.model_validate(plain)
        >>> ratchets(gate, "layers.kl", "stem"), ratchets(gate, "layers.kl", "head")
        (True, False)
    """
    area, _, key = budget.partition(".")
    if layer:
        limit = getattr(rule_for(gate.budgets.layers, layer, key), key, None)
    else:
        limit = getattr(getattr(gate.budgets, area, None), key, None)
    return isinstance(limit, Limit) and limit.ratchet


def _limits(value: object) -> Iterator[Limit]:
    """Every limit in a section, however deep."""
    if isinstance(value, Limit):
        yield value
        return
    parts: Sequence[object] = (
        value if isinstance(value, list | tuple) else list(getattr(value, "__dict__", {}).values())
    )
    for part in parts:
        yield from _limits(part)


def known_of(versions: Sequence[tuple[str, str]], source: str) -> Known:
    """What git knows and what can be read of it.

    Args:
        versions: (revision, text).
        source: of the baseline.
    """
    found = []
    for revision, text in versions:
        named = f"{source} at {_revision(revision)}"
        try:
            found.append((named, whole(text, named)))
        except ArtifactError:
            continue  # torn there as well; the others have a say
    return found


def refuse_gone(source: str, past: BaselineHistory, gate: str, today: Mapping[str, Any]) -> None:
    """Refuse to judge without a baseline where git knows one, or cannot say.

    Args:
        source: where the file should be.
        past: what git knows of it.
        gate: the gate's name; its limits refer to a baseline.
        today: its model and probe.

    Raises:
        ArtifactError: there was one; or nobody can tell.
    """
    for revision, _ in (*past.versions, *past.began):
        remedy = f"Restore it: git checkout {_commit(revision)} -- {source}. {_RAISE}"
        raise ArtifactError(f"The baseline {source} is gone, and {_revision(revision)} has it.", remedy=remedy)
    for place, text in past.strays:
        gates, _ = _own(text, place)
        if gates and gate in gates and same_kind(gates[gate], today):
            fact = f"There is no baseline {source}; {place} has gate '{gate}', and no config is beside it any more."
            raise ArtifactError(fact, remedy="Move it to where the config is now.")
    _refuse_silence(f"There is no baseline {source}", past)


def refuse_lost(source: str, past: BaselineHistory, gate: str) -> None:
    """Refuse to judge a gate that a baseline does not have, where git knows that it had, or cannot say.

    Args:
        source: of the baseline.
        past: what git knows of it.
        gate: the gate's name; its limits refer to a baseline.

    Raises:
        ArtifactError: it had one; or nobody can tell.
    """
    for revision, text in (*past.versions, *past.began):
        if any(gate in gates for _, gates in known_of([(revision, text)], source)):
            fact = f"The baseline {source} has no gate '{gate}' any more, and {_revision(revision)} has."
            raise ArtifactError(fact, remedy=f"Restore its entry, from git show {_commit(revision)}:{source}. {_RAISE}")
    # A file that is not in git, from an artifact say, is nothing that git could tell of.
    if past.versions or past.silence:
        _refuse_silence(f"The baseline {source} has no gate '{gate}'", past)


def _refuse_silence(fact: str, past: BaselineHistory) -> None:
    why = past.silence or ("this clone is shallow" if past.shallow else "")
    if why:
        remedy = "Run pytest --pfa --pfa-update-baseline once and commit the file; or let git tell"
        history = "fetch-depth: 0 in CI, git fetch --unshallow elsewhere"
        raise ArtifactError(f"{fact}, and whether it had cannot be known: {why}.", remedy=f"{remedy} ({history}).")


def name_in(
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


def previous(content: str | None, source: str, past: BaselineHistory) -> Old:
    """What an update starts from: the file; where it is gone, torn or being merged, what git knows of it.

    Args:
        content: of the file; None where it is gone.
        source: how people know it.
        past: what git knows of it.

    Raises:
        ArtifactError: the file cannot be read, and git has no other state of it; or git cannot say.
    """
    own, torn = _own(content, source)
    if own is not None and not past.merging:
        return Old(own, source, [*known_of(past.versions, source), *known_of(past.began, source)])
    known = known_of(past.versions, source) or known_of(past.began, source)
    if torn and not known:
        fact = f"{torn.fact.removesuffix('.')}; and git has no other state of it."
        remedy = f"Restore it from a commit that has it whole (git log -- {source}). A new one would lift its ratchets."
        raise ArtifactError(fact, remedy=remedy)
    if content is None and past.silence:
        fact = f"There is no baseline {source}, and whether there was one cannot be known: {past.silence}."
        raise ArtifactError(fact, remedy="Let git read the repository.")
    used = [*([(source, own)] if own is not None else []), *known]
    if not used:
        return Old({}, source)
    names = listed([name.removeprefix(f"{source} at ") if name != source else "the file" for name, _ in used], 5)
    state = "is gone" if content is None else "cannot be read" if torn else "is being merged"
    remark = f"{source} {state}; an update may not exceed the lowest values of {names}."
    return Old(tighter([gates for _, gates in used]), source, remark=remark)


def _own(content: str | None, source: str) -> tuple[Mapping[str, Any] | None, ArtifactError | None]:
    """The gates of the file itself, or why it cannot be read."""
    try:
        return None if content is None else whole(content, source), None
    except ArtifactError as error:
        return None, error


def _revision(name: str) -> str:
    return {":2": "our side of the merge", ":3": "their side of the merge"}.get(name, name[:10])


def _commit(revision: str) -> str:
    return "HEAD" if revision.startswith(":") else revision[:10]
