"""The reports that lie beside record.json: which, under what names, and their texts."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pfa_gate.record import Record

HTML, MARKDOWN, BADGE = "report.html", "report.md", "badge.json"
# Their keys in `Record.files`, in the order in which reports list them.
KEYS: Mapping[str, str] = {HTML: "html", MARKDOWN: "markdown", BADGE: "badge"}


def text(record: "Record", name: str) -> str:
    """The text of one of the files.

    Args:
        record: what the run found.
        name: report.html, report.md or badge.json.

    Raises:
        KeyError: there is no such file.

    Example:
        >>> from pfa_gate.record import Probe, Record, Size
        >>> text(Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab")), "badge.json")[:20]
        '{"schemaVersion": 1,'
    """
    if KEYS[name] == "html":
        from pfa_gate.report.html import render  # noqa: PLC0415  jinja2 is needed only where a page is made

        return render(record)
    if KEYS[name] == "markdown":
        from pfa_gate.report.markdown import comment  # noqa: PLC0415

        return comment([record])
    from pfa_gate.report.badge import badge  # noqa: PLC0415

    return badge(record)
