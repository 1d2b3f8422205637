"""Workflow commands: broken budgets as annotations on their line of pfa.yaml."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pfa_gate.budget import Finding
from pfa_gate.budget.wording import plural
from pfa_gate.record import Record
from pfa_gate.report.advice import advice
from pfa_gate.report.formatting import SEVERITY, again
from pfa_gate.report.text import clean, shorten

# A step shows ten of a kind; the last tells how many more there are.
_MOST = 9
_LONGEST = 1000


@dataclass(frozen=True)
class Failed:
    """A gate that could not be measured.

    Attributes:
        config: path of its pfa.yaml.
        gate: its name.
        reason: what is the case, in words.
        line: of the config, from 1.
        column: of the same; 0 where only the line is known.
    """

    config: str
    gate: str
    reason: str
    line: int = 1
    column: int = 0


def annotations(
    records: Sequence[Record],
    failed: Sequence[Failed] = (),
    file: Callable[[str], str] = str,
) -> tuple[str, ...]:
    """One command for each gate without a record and each budget that is not kept: the worst nine, and a count.

    Args:
        records: one for each gate.
        failed: gates that could not be measured.
        file: the path of a config as the repository has it.

    Example:
        >>> annotations([], [Failed("pfa.yaml", "digits", "No data.", 4, 22)])
        ('::error file=pfa.yaml,line=4,col=22,title=pfa_gate digits%3A not measured::No data.',)
    """
    told = [*(_unmeasured(each, file) for each in failed), *_findings(records, file)]
    left = len(told) - _MOST
    more = [_command({"title": "pfa_gate"}, f"and {plural(left, 'more budget')} not kept; the report has them all")]
    return (*told[:_MOST], *(more if left > 0 else []))


def _unmeasured(failed: Failed, file: Callable[[str], str]) -> str:
    title = f"pfa_gate {_name(failed.gate)}: not measured"
    column = {"col": str(failed.column)} if failed.column > 0 else {}
    place = {"file": file(failed.config), "line": str(max(1, failed.line)), **column}
    return _command({**place, "title": title}, _told(failed.reason))


def _findings(records: Sequence[Record], file: Callable[[str], str]) -> Iterator[str]:
    found = [(record, finding) for record in records for finding in record.budgets if finding.outcome != "kept"]
    for record, finding in sorted(found, key=lambda pair: SEVERITY.index(pair[1].outcome)):
        title = f"pfa_gate {_name(record.gate)}: {finding.id} {finding.outcome}"
        place = {"file": file(record.config), "line": str(max(1, finding.line)), "title": title}
        yield _command(place, "\n".join(_sentences(record, finding)))


def _sentences(record: Record, finding: Finding) -> Iterator[str]:
    for sentence in (finding.sentence, *advice(record, finding), *finding.notes):
        yield _told(sentence)
    yield f"Again: {_told(again(record, finding.id))}"


def _told(text: str) -> str:
    return shorten("\n".join(map(clean, text.splitlines())), _LONGEST)


def _name(text: str) -> str:
    return shorten(clean(text), 80)


def _command(properties: dict[str, str], message: str) -> str:
    """Escape by the runner's rules, so that no name can begin a command or a property of its own."""
    escaped = (f"{name}={_escaped(clean(value), ':,')}" for name, value in properties.items())
    return f"::error {','.join(escaped)}::{_escaped(message)}"


def _escaped(text: str, more: str = "") -> str:
    text = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    for sign in more:
        text = text.replace(sign, f"%{ord(sign):02X}")
    return text
