"""What `pfa-gate parity` prints: lines of at most 80 columns, or JSON."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from pfa_gate.budget.wording import plural
from pfa_gate.record.plain_data import plain
from pfa_gate.report.parity import flip_words, machine_words, parity_fact
from pfa_gate.runtime.parity_check import CheckedFile

_WIDTH = 80
SCHEMA = "pfa_gate.parity_check/1"


def parity_lines(found: Sequence[CheckedFile]) -> Iterator[str]:
    """The verdict on each file, what flipped, and on which machines."""
    for each in found:
        yield from _wrapped(f"{each.gate}: {parity_fact(each.here)}", "")
        yield from _wrapped(_which(each), "  ")
        for flip in each.here.flipped:
            yield from _wrapped(flip_words(flip), "  ")
        if each.here.flips > len(each.here.flipped):
            yield f"  {each.here.flips - len(each.here.flipped):,} more"
        if each.changed:
            yield from _wrapped(f"{each.here.file} is not the file that the gate judged: its SHA-256 differs.", "  ")
        yield from _wrapped(f"here:  {machine_words(each.here.machine)}", "  ")
        yield from _wrapped(f"there: {machine_words(each.expected.machine)}", "  ")
    wrong = sum(each.verdict != "same" for each in found)
    yield f"{_files(wrong)} not what the gate judged." if wrong else f"{_files(len(found))} as the gate judged."


def _files(count: int) -> str:
    return f"{plural(count, 'file')} {'is' if count == 1 else 'are'}"


def _which(checked: CheckedFile) -> str:
    here = checked.here
    if here.samples == checked.of:
        said = f"On {here.where}."
    else:
        said = f"On {here.samples:,} of the {checked.of:,} samples of the {here.source}, evenly chosen."
    allowed = checked.expected.allowed
    return said + (f" {plural(allowed, 'flip')} {'is' if allowed == 1 else 'are'} allowed." if allowed else "")


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False)


def parity_json(found: Sequence[CheckedFile]) -> dict[str, Any]:
    """The same as plain data."""
    files = [plain(each) for each in found]
    return {"schema": SCHEMA, "same": all(each.verdict == "same" for each in found), "files": files}
