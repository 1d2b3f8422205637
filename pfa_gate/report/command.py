"""`pfa-gate report` and `verify`: records on disk rendered once more; whether a run kept all that it declared."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pfa_gate.budget.wording import listed, plural
from pfa_gate.errors import ArtifactError
from pfa_gate.files import replace_text
from pfa_gate.record import Record
from pfa_gate.record.manifest import MANIFEST, DeclaredGate, Manifest, read_manifest
from pfa_gate.report.files import FoundRecords, find_record, find_records
from pfa_gate.report.ownership import BADGE, COMMENT, PAGE, require_file


@dataclass(frozen=True)
class ReportOptions:
    """What is to be rendered, and where to.

    Attributes:
        paths: records, or folders that hold some.
        history: folder of the records of past runs; None to render `paths`.
        html: file for the page; None for none.
        markdown: file for the comment; None for none.
        badge: file for the badge; None for none.
        base: record whose spectra are drawn over those of the page.
    """

    paths: tuple[Path, ...]
    history: Path | None = None
    html: Path | None = None
    markdown: Path | None = None
    badge: Path | None = None
    base: Path | None = None


@dataclass(frozen=True)
class Screen:
    """The terminal that reads it."""

    width: int
    colour: bool
    unicode: bool
    verbosity: int


def write_reports(options: ReportOptions, screen: Screen) -> str:
    """Write the files that were asked for; give what is to be printed.

    Raises:
        ArtifactError: there is no record, a file cannot be written, or two records would go into one page.
    """
    if options.history is not None:
        return _history(options.history, options.html, screen)
    records = find_records(options.paths)
    if not records.runs:
        paths = ", ".join(path.as_posix() for path in options.paths)
        refused = " ".join(records.refused)
        remedy = "Run `pytest --pfa`, or name a record.json."
        raise ArtifactError(refused or f"There is no record below {paths}.", remedy=remedy)
    written = list(_write_files(options, [run.record for run in records.runs]))
    return "\n".join(written or [*_printed(records, screen)]) + "\n"


def _write_files(options: ReportOptions, records: list[Record]) -> Iterator[str]:
    if options.html is not None:
        from pfa_gate.report.html import render  # noqa: PLC0415  jinja2 is needed for a page alone

        base = find_record(options.base).record if options.base is not None else None
        yield _write(options.html, PAGE, render(_only(records, "--html"), base))
    if options.markdown is not None:
        from pfa_gate.report.markdown import comment  # noqa: PLC0415

        yield _write(options.markdown, COMMENT, comment(records))
    if options.badge is not None:
        from pfa_gate.report.ci import badge  # noqa: PLC0415

        yield _write(options.badge, BADGE, badge(_only(records, "--badge")))


def _printed(records: FoundRecords, screen: Screen) -> Iterator[str]:
    from pfa_gate.report.terminal import render  # noqa: PLC0415  rich is needed only here

    show: Callable[[Record], str] = lambda record: render(  # noqa: E731
        record, width=screen.width, colour=screen.colour, unicode=screen.unicode, verbosity=screen.verbosity
    )
    yield from (show(run.record) for run in records.runs)
    yield from (f"Left out: {sentence}" for sentence in records.refused)


def _history(folder: Path, html: Path | None, screen: Screen) -> str:
    from pfa_gate.report.history import gates, history_page, history_text  # noqa: PLC0415  jinja2 and rich

    if not folder.is_dir():
        fact = f"There is no folder {folder.as_posix()}."
        raise ArtifactError(fact, remedy="Name one that holds past records.")
    records = find_records([folder], "*.json")
    if not records.runs:
        refused = f" {' '.join(records.refused[:3])}" if records.refused else ""
        fact = f"There is no record below {folder.as_posix()}.{refused}"
        raise ArtifactError(fact, remedy="Keep the record.json of each run there, under a name of its own.")
    histories = gates(records.runs)
    if html is not None:
        return _write(html, PAGE, history_page(histories, records.refused)) + "\n"
    return history_text(histories, records.refused, width=max(40, screen.width), unicode=screen.unicode)


def _only(records: list[Record], option: str) -> Record:
    if len(records) == 1:
        return records[0]
    names = ", ".join(record.gate for record in records[:5])
    fact = f"{option} takes one record, and there are {len(records)}: {names}."
    raise ArtifactError(fact, remedy="Name the folder of one gate.")


def _write(path: Path, mark: re.Pattern[bytes], text: str) -> str:
    require_file(path, mark)
    try:
        replace_text(path, text)
    except OSError as error:
        fact = f"{path.as_posix()} cannot be written: {error.strerror or error}."
        raise ArtifactError(fact, remedy="Name a file in a folder that is there and can be written.") from error
    return f"Written: {path.as_posix()}"


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
