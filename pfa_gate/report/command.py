"""`pfa-gate report`: records rendered once more, and drawn over time."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pfa_gate.errors import ArtifactError
from pfa_gate.files import replace_text
from pfa_gate.record import Record
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
