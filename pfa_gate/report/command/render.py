"""`pfa-gate report`: records rendered again, and drawn over time."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pfa_gate.errors import ArtifactError
from pfa_gate.record import Record
from pfa_gate.report.command.find_records import FoundRecords, below, one
from pfa_gate.report.ownership import BADGE, COMMENT, PAGE, require_file
from pfa_gate.report.restore import replace_text


@dataclass(frozen=True)
class ReportOptions:
    """What is to be rendered, and where to.

    Attributes:
        places: records, or folders that hold some.
        history: folder of the records of past runs; None to render `places`.
        html: file for the page; None for none.
        markdown: file for the comment; None for none.
        badge: file for the badge; None for none.
        base: record whose spectra are drawn over those of the page.
    """

    places: tuple[Path, ...]
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


def again(order: ReportOptions, screen: Screen) -> str:
    """Write the files that were asked for; give what is to be printed.

    Raises:
        ArtifactError: there is no record, a file cannot be written, or two records would go into one page.
    """
    if order.history is not None:
        return _history(order.history, order.html, screen)
    shelf = below(order.places)
    if not shelf.runs:
        places = ", ".join(place.as_posix() for place in order.places)
        refused = " ".join(shelf.refused)
        remedy = "Run `pytest --pfa`, or name a record.json."
        raise ArtifactError(refused or f"There is no record below {places}.", remedy=remedy)
    told = list(_written(order, [run.record for run in shelf.runs]))
    return "\n".join(told or [*_printed(shelf, screen)]) + "\n"


def _written(order: ReportOptions, records: list[Record]) -> Iterator[str]:
    if order.html is not None:
        from pfa_gate.report.html import render  # noqa: PLC0415  jinja2 is needed for a page alone

        base = one(order.base).record if order.base is not None else None
        yield _write(order.html, PAGE, render(_only(records, "--html"), base))
    if order.markdown is not None:
        from pfa_gate.report.markdown import comment  # noqa: PLC0415

        yield _write(order.markdown, COMMENT, comment(records))
    if order.badge is not None:
        from pfa_gate.report.badge import badge  # noqa: PLC0415

        yield _write(order.badge, BADGE, badge(_only(records, "--badge")))


def _printed(shelf: FoundRecords, screen: Screen) -> Iterator[str]:
    from pfa_gate.report.terminal import render  # noqa: PLC0415  rich is needed only here

    show: Callable[[Record], str] = lambda record: render(  # noqa: E731
        record, width=screen.width, colour=screen.colour, unicode=screen.unicode, verbosity=screen.verbosity
    )
    yield from (show(run.record) for run in shelf.runs)
    yield from (f"Left out: {sentence}" for sentence in shelf.refused)


def _history(folder: Path, html: Path | None, screen: Screen) -> str:
    from pfa_gate.report.history import gates  # noqa: PLC0415
    from pfa_gate.report.history.page import page  # noqa: PLC0415
    from pfa_gate.report.history.terminal import words  # noqa: PLC0415

    if not folder.is_dir():
        raise ArtifactError(f"There is no folder {folder.as_posix()}.", remedy="Name one that holds past records.")
    shelf = below([folder], "*.json")
    if not shelf.runs:
        refused = f" {' '.join(shelf.refused[:3])}" if shelf.refused else ""
        fact = f"There is no record below {folder.as_posix()}.{refused}"
        raise ArtifactError(fact, remedy="Keep the record.json of each run there, under a name of its own.")
    pasts = gates(shelf.runs)
    if html is not None:
        return _write(html, PAGE, page(pasts, shelf.refused)) + "\n"
    return words(pasts, shelf.refused, width=max(40, screen.width), unicode=screen.unicode)


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
