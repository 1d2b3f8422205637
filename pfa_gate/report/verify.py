"""`pfa-gate verify`: whether a run judged and kept every budget it declared, from what it left on disk alone.

Code that a process runs can end it with 0; the files that it wrote before say what it had found.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pfa_gate.budget.wording import listed, plural
from pfa_gate.errors import ArtifactError
from pfa_gate.record import Record
from pfa_gate.record.manifest import MANIFEST, DeclaredGate, Manifest, read_manifest
from pfa_gate.report.files import find_record

_MOST_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Verified:
    """What was found.

    Attributes:
        sentences: a sentence on each run, and on each gate of which a run left something out.
        faults: why the runs do not pass; empty where they do.
    """

    sentences: tuple[str, ...]
    faults: tuple[str, ...]


def verify(folders: Sequence[Path]) -> Verified:
    """Look whether the last run in each folder judged and kept all budgets that it was not told to leave out.

    Args:
        folders: that of `--pfa-output`, or the `.pfa` beside a config.

    Raises:
        ArtifactError: no run has left its manifest in a folder, or it cannot be read.

    Example:
        >>> verify([Path("no/such/folder")])
        Traceback (most recent call last):
            ...
        pfa_gate.errors.ArtifactError: no/such/folder holds no pfa_gate.run.json: no run says what it judged.
          Run `pytest --pfa` first, and name the folder of its results.
    """
    sentences: list[str] = []
    faults: list[str] = []
    for folder in folders:
        manifest = _manifest(folder)
        own_faults = list(_faults(folder, manifest))
        faults += own_faults
        sentences += _sentences(folder, manifest, kept=not own_faults)
    # Each folder of a run over several configs bears the manifest of the whole run.
    return Verified(tuple(dict.fromkeys(sentences)), tuple(dict.fromkeys(faults)))


def _manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ArtifactError(f"{path.as_posix()} is too large for a manifest.")
        return read_manifest(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        fact = f"{folder.as_posix()} holds no {MANIFEST}: no run says what it judged."
        raise ArtifactError(fact, remedy="Run `pytest --pfa` first, and name the folder of its results.") from error
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ArtifactError(f"{path.as_posix()} cannot be read: {why}.") from error


def _faults(folder: Path, manifest: Manifest) -> Iterator[str]:
    if manifest.status is None:
        yield "The run did not finish, whatever exit status its process had."
    elif manifest.status != 0:
        yield f"The run ended with exit status {manifest.status}."
    for config in manifest.unlisted:
        yield f"{config.config}: its budgets could not be listed: {config.reason}"
    for gate in manifest.gates:
        yield from (f"{gate.config}::{gate.gate}: {fault}" for fault in _faults_of(folder, manifest.run, gate))
    if not any(_wanted(gate) for gate in manifest.gates):
        yield "No budget was judged: the run left them all out."


def _wanted(gate: DeclaredGate) -> list[str]:
    return [name for name in gate.budgets if name not in gate.left_out]


def _faults_of(folder: Path, run: str, gate: DeclaredGate) -> Iterator[str]:
    wanted = _wanted(gate)
    if not wanted:
        return
    try:
        record = find_record(folder / gate.record).record
    except ArtifactError as error:
        yield f"not judged in this run: {error.fact}"
        return
    if not _is_of(record, run, gate):
        yield f"not judged in this run: {gate.record} is another run's, or another gate's."
        return
    outcomes = {finding.id: finding.outcome for finding in record.budgets}
    broken = [name for name in wanted if outcomes.get(name) == "broken"]
    others = [name for name in wanted if outcomes.get(name) not in {"kept", "broken"}]
    for names, outcome in ((broken, "broken"), (others, "not judged")):
        if names:
            yield f"{outcome} in this run: {listed(names)}."


def _is_of(record: Record, run: str, gate: DeclaredGate) -> bool:
    return (record.run, record.gate, record.config) == (run, gate.gate, gate.config)


def _sentences(folder: Path, manifest: Manifest, *, kept: bool) -> Iterator[str]:
    if kept:
        gates = [wanted for gate in manifest.gates if (wanted := _wanted(gate))]
        counts = f"{plural(sum(map(len, gates)), 'budget')} of {plural(len(gates), 'gate')}"
        yield f"{folder.as_posix()}: the run of {manifest.begun} judged and kept {counts}."
    for gate in manifest.gates:
        if gate.left_out:
            yield f"{gate.config}::{gate.gate}: left out by the command line of the run: {listed(gate.left_out)}."
