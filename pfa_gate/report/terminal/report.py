"""The report on a terminal: verdict, layers, footprint, budgets, what is missing, and where the files are."""

import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from rich.console import Console
from rich.text import Text

from pfa_gate.budget import Finding
from pfa_gate.record import Record
from pfa_gate.report.advice import advice
from pfa_gate.report.baseline import baseline_sentences
from pfa_gate.report.delivery import delivery
from pfa_gate.report.formatting import ASCII, UNICODE, headline, looked_at
from pfa_gate.report.terminal.answers import answers_section, parity_section
from pfa_gate.report.terminal.factorized import factorized_section
from pfa_gate.report.terminal.layers import layer_section, spectra_section
from pfa_gate.report.terminal.layout import BADGES, GAP, HEADING, QUIET, STYLES, Look, lay_out, shorten, widths
from pfa_gate.report.terminal.quantized import int8_section
from pfa_gate.report.terminal.sizes import footprint_section, recovery_section
from pfa_gate.report.terminal.sparsity import zeros_section
from pfa_gate.report.terminal.timing import timing_section
from pfa_gate.report.text import clean, inert

_LEAST_WIDTH = 40
_FILES = "Files"
# Terminals that follow OSC 8, by a variable that each of them sets.
_TERMINALS = ("iTerm.app", "WezTerm", "vscode", "ghostty", "Hyper", "Tabby", "rio")
_VARIABLES = ("KITTY_WINDOW_ID", "WT_SESSION", "DOMTERM", "KONSOLE_VERSION", "ALACRITTY_WINDOW_ID")
_FIRST_VTE = 5000


def render(record: Record, *, width: int, colour: bool, unicode: bool, verbosity: int = 0) -> str:
    """The report as text; no line is wider than `width` (40 at least).

    Args:
        record: what the run found.
        width: terminal cells in a line.
        colour: write ANSI styles; without them every verdict is still there in words and signs.
        unicode: whether the terminal can show more than ASCII.
        verbosity: as `pytest -v` counts it. -1: verdict and what is not kept; 0: the failing layers and the worst
            five; 1: all layers, all sentences, seconds per stage; 2: each spectrum at length.

    Example:
        >>> from pfa_gate.record import Probe, Record, Size
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"))
        >>> print(render(record, width=80, colour=False, unicode=False).splitlines()[0])
        digits  NOT JUDGED  no budget was judged
    """
    look = Look(max(width, _LEAST_WIDTH), UNICODE if unicode else ASCII, verbosity)
    lines = list(_sections(record, look))
    text = printed(lines, look.width, colour)
    return text if unicode else text.encode("ascii", "replace").decode("ascii")


def _sections(record: Record, look: Look) -> Iterable[Text]:
    yield from _header(record, look)
    if look.verbosity >= 0:
        yield from layer_section(record, look)
        yield from spectra_section(record, look)
        yield from footprint_section(record, look)
        yield from answers_section(record, look)
        yield from parity_section(record, look)
        yield from recovery_section(record, look)
        yield from zeros_section(record, look)
        yield from factorized_section(record, look)
        yield from int8_section(record, look)
        yield from timing_section(record, look)
    yield from _budgets(record, look)
    if look.verbosity >= 0:
        yield from _baseline(record, look)
        yield from _unmeasured(record, look)
        yield from _files(record, look)
    if look.verbosity > 0:
        yield from _seconds(record, look)


def printed(lines: Sequence[Text], width: int, colour: bool) -> str:
    """Styled lines as text, each cut at the width."""
    # Every switch is set, so that no environment variable can change a report.
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        no_color=not colour,
        legacy_windows=False,
        force_jupyter=False,
        force_interactive=False,
        highlight=False,
        markup=False,
        emoji=False,
        _environ={},
    )
    with console.capture() as capture:
        for line in lines:
            line.truncate(width, overflow="crop")
            console.print(line, no_wrap=True, crop=False, overflow="ignore")
    return inert(capture.get())


def _header(record: Record, look: Look) -> list[Text]:
    verdict, words = headline(record)
    badge = verdict.upper()
    gate = shorten(clean(record.gate), look.width - len(badge) - 2, look.glyphs.dots)
    title = Text.assemble((gate, HEADING), "  ", (badge, BADGES[verdict]))
    lines = [title, Text(words)]
    if title.cell_len + 2 + len(words) <= look.width:
        lines = [Text.assemble(title, "  ", words)]
    seconds = sum(record.seconds.values())
    device = () if record.device == "cpu" else (f"on {record.device}",)
    facts = (record.config, looked_at(record.probe), *device, f"{seconds:.1f} s")
    sentences = [look.glyphs.between.join(facts), *([record.weights] if record.weights else [])]
    return [*lines, *(line for sentence in sentences for line in look.sentence(sentence, 0, QUIET))]


def _budgets(record: Record, look: Look) -> list[Text]:
    findings = [f for f in record.budgets if look.verbosity >= 0 or f.outcome != "kept"]
    if not findings:
        return []
    lines = _budget_table(findings, look)
    out = [*look.heading("Budgets"), lines[0]]
    for line, finding in zip(lines[1:], findings, strict=True):
        out += [line, *_explanation(record, finding, look)]
    return out


def _budget_table(findings: Sequence[Finding], look: Look) -> list[Text]:
    cells = [[Text(title, QUIET) for title in ("", "budget", "limit", "observed", "", "")]]
    cells += [_budget_cells(finding, look) for finding in findings]
    # First the line goes, then the word after the mark: a name cut short is worse.
    while len(cells[0]) > 4 and sum(widths(cells)) + GAP * (len(cells[0]) - 1) > look.width:
        cells = [line[:-1] for line in cells]
    others = [width for index, width in enumerate(widths(cells)) if index != 1]
    room = max(1, look.width - sum(others) - GAP * len(others))
    for line in cells:
        line[1] = Text(shorten(line[1].plain, room, look.glyphs.dots), line[1].style)
    return lay_out(cells, "llrrll"[: len(cells[0])])


def _budget_cells(finding: Finding, look: Look) -> list[Text]:
    style = STYLES[finding.outcome]
    return [
        Text(look.glyphs.mark(finding.outcome), style),
        Text(clean(finding.id)),
        Text(shorten(clean(finding.limit), 16, look.glyphs.dots)),
        Text(shorten(clean(finding.observed), 16, look.glyphs.dots) or look.glyphs.skipped),
        Text(finding.outcome, style),
        Text(f"line {finding.line}" if finding.line else "", QUIET),
    ]


def _explanation(record: Record, finding: Finding, look: Look) -> list[Text]:
    lines = [line for note in finding.notes for line in look.sentence(note, 3, STYLES["not judged"])]
    if finding.outcome == "kept" and look.verbosity <= 0:
        return lines
    fact = look.sentence(finding.sentence, 3, QUIET if finding.outcome == "kept" else "")
    return [*fact, *_help(record, finding, look), *lines]


def _baseline(record: Record, look: Look) -> list[Text]:
    lines = [line for sentence in baseline_sentences(record) for line in look.sentence(clean(sentence), 3)]
    return [*look.heading("Baseline"), *lines] if lines else []


def _help(record: Record, finding: Finding, look: Look) -> list[Text]:
    # The failure of the test has said it already.
    sentences = advice(record, finding) if look.verbosity > 0 else ()
    return [line for sentence in sentences for line in look.sentence(clean(sentence), 3, QUIET)]


def _unmeasured(record: Record, look: Look) -> list[Text]:
    lines = [line for gap in record.unmeasured for line in look.sentence(f"{gap.what}: {gap.reason}", 3)]
    return [*look.heading("Not measured"), *lines] if lines else []


def _files(record: Record, look: Look) -> list[Text]:
    folders: dict[str, list[str]] = {}
    for path in map(PurePosixPath, record.files.values()):
        folders.setdefault(str(path.parent), []).append(path.name)
    texts = [*(f"{folder}: {', '.join(names)}" for folder, names in folders.items()), *delivery(record)]
    lines = [line for text in texts for line in look.sentence(text, 3)]
    return [*look.heading(_FILES), *lines] if lines else []


def _seconds(record: Record, look: Look) -> list[Text]:
    if not record.seconds:
        return []
    cells = [[Text(f"   {clean(stage)}"), Text(f"{taken:.2f} s")] for stage, taken in record.seconds.items()]
    return [*look.heading("Seconds"), *lay_out(cells, "lr")]


def follows_links(environment: Mapping[str, str]) -> bool:
    """Whether the terminal of an environment is known to open links; a log never is.

    Example:
        >>> follows_links({"TERM_PROGRAM": "WezTerm"}), follows_links({"TERM": "xterm"})
        (True, False)
        >>> follows_links({"TERM_PROGRAM": "WezTerm", "CI": "true"})
        False
    """
    if environment.get("CI") or environment.get("TERM") == "dumb":
        return False
    version = environment.get("VTE_VERSION", "")
    known = environment.get("TERM_PROGRAM") in _TERMINALS or any(environment.get(name) for name in _VARIABLES)
    return known or (version.isdecimal() and int(version) >= _FIRST_VTE)


def linked(text: str, record: Record, folder: Path) -> str:
    r"""Turn the names of files in a report into links; the visible text stays the same.

    Args:
        text: the report.
        record: the one it tells of.
        folder: which the paths of the record start from.

    Example:
        >>> from pfa_gate.record import Probe, Size
        >>> files = {"record": ".pfa/digits/record.json"}
        >>> record = Record("digits", "pfa.yaml", {}, {}, Size(9, 36, 81), Probe(64, "ab"), files=files)
        >>> linked("Files\n   .pfa/digits: record.json\n", record, Path("/p"))[9:]
        '.pfa/digits: \x1b]8;;file:///p/.pfa/digits/record.json\x1b\\record.json\x1b]8;;\x1b\\\n'
    """
    head, title, files = text.rpartition(_FILES)
    for path in map(Path, record.files.values()):
        address = Path(folder, path).absolute().as_uri()
        name = re.compile(rf"(?<![\w./-]){re.escape(path.name)}(?![\w/-])")
        files = name.sub(lambda match, at=address: f"\x1b]8;;{at}\x1b\\{match[0]}\x1b]8;;\x1b\\", files, count=1)  # type: ignore[misc]
    return head + title + files
