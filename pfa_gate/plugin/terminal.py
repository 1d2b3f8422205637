"""What a run shows on the terminal: how far each analysis is, and at the end the report of every gate."""

import os
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pfa_gate.plugin.gate_analysis import Result, results
from pfa_gate.plugin.run_plan import RunPlan
from pfa_gate.report.text import printable

if TYPE_CHECKING:
    from pfa_gate.record import Record
    from pfa_gate.record.manifest import Progress

_PAUSE = 0.1
_BAR = 24
LONG = 30.0  # seconds after which stages are printed to a log; most gates are done by then


def progress_on(config: pytest.Config) -> "Callable[[str], Progress] | None":
    """Give what shows the progress of a gate, or None where nothing is shown: -q, a worker.

    On a terminal it is one line that is gone in the end; in a log a line for each stage, if it takes long.
    """
    reporter = config.pluginmanager.getplugin("terminalreporter")
    if reporter is None or config.get_verbosity() < 0:
        return None
    if reporter.isatty:
        return lambda gate: ProgressLine(reporter, config, gate)
    return lambda gate: StageLines(reporter, config, gate)


class ProgressLine:
    """One line, written over and over.

    Args:
        reporter: the terminal.
        config: that of the run; its capture is lifted for the moment of writing.
        gate: name of the gate.
    """

    def __init__(self, reporter: pytest.TerminalReporter, config: pytest.Config, gate: str) -> None:
        self.reporter = reporter
        self.write = _past_capture(config)
        self.gate = gate
        self.width = config.get_terminal_writer().fullwidth - 1
        self.last = 0.0
        self.stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show a stage; at the end of the last one, or of a wait, the line is wiped."""
        from pfa_gate.record.manifest import WAITED  # noqa: PLC0415  pydantic and yaml come with it

        now = time.monotonic()
        finished = stage in ("writing", WAITED) and done >= total
        if stage == self.stage and not finished and now - self.last < _PAUSE:
            return
        if not self.stage:
            self.write(self.reporter.ensure_newline)  # pytest has begun a line of its own
        self.last, self.stage = now, stage
        self.write(lambda: self._draw("" if finished else line(self.gate, stage, done, total)))

    def _draw(self, text: str) -> None:
        self.reporter.rewrite(printable(f"{text[: self.width]:<{self.width}}"))
        if not text:
            self.reporter.rewrite(printable(""))
        self.reporter.flush()


class StageLines:
    """For a log: a line for each stage, once an analysis has taken long.

    Args:
        reporter: what writes the log.
        config: that of the run; its capture is lifted for the moment of writing.
        gate: name of the gate.
    """

    def __init__(self, reporter: pytest.TerminalReporter, config: pytest.Config, gate: str) -> None:
        self.reporter = reporter
        self.write = _past_capture(config)
        self.gate = gate
        self.began = time.monotonic()
        self.stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Print a stage once: when it begins, or when the analysis has taken long in it."""
        from pfa_gate.record.manifest import WAITED  # noqa: PLC0415

        taken = time.monotonic() - self.began
        if stage in (self.stage, WAITED) or taken < LONG:
            return
        self.stage = stage
        self.write(lambda: self._print(f"{self.gate}: {stage} ({taken:.0f} s)"))

    def _print(self, text: str) -> None:
        self.reporter.ensure_newline()  # pytest has begun a line of its own
        self.reporter.write_line(printable(text))
        self.reporter.flush()


def _past_capture(config: pytest.Config) -> Callable[[Callable[[], None]], None]:
    """What writes to the terminal while pytest captures output."""
    capture = config.pluginmanager.getplugin("capturemanager")

    def write(text: Callable[[], None]) -> None:
        with nullcontext() if capture is None else capture.global_and_fixture_disabled():
            text()

    return write


def line(gate: str, stage: str, done: int, total: int) -> str:
    """Put progress in words and, where a stage has steps, a bar; a total of 0 is one that nobody knows.

    Example:
        >>> line("digits", "probing", 2, 8)
        'digits: probing [######..................] 2/8'
        >>> line("digits", "loading", 0, 1)
        'digits: loading'
        >>> line("digits", "probing", 2, 0)
        'digits: probing, 2 so far'
    """
    if done and not total:
        return f"{gate}: {stage}, {done} so far"
    if total <= 1:
        return f"{gate}: {stage}"
    full = min(_BAR, _BAR * done // total)
    return f"{gate}: {stage} [{'#' * full}{'.' * (_BAR - full)}] {done}/{total}"


def write_reports(reporter: pytest.TerminalReporter, config: pytest.Config, plan: RunPlan) -> None:
    """Write the report of every gate that was analysed, in the order of the configs and of the gates' names.

    Args:
        reporter: the terminal.
        config: says how much is wanted: -q, -v, --color.
        plan: that of the run.
    """
    measured = [result for result in results(plan.shared) if result.record is not None]
    if not measured or config.get_verbosity() < -1:
        return
    from pfa_gate.record import from_dict  # noqa: PLC0415

    reporter.write_sep("=", "pfa_gate")
    order = {str(path): index for index, path in enumerate(plan.configs)}
    for result in sorted(measured, key=lambda each: (order[each.config], each.gate)):
        record = from_dict(result.record)
        lines = [_report(record, config), *_sections(config, record)]
        if remark := _remark(result, config.get_verbosity()):
            lines.append(printable(f"{result.gate}: {remark}"))
        for line in lines:
            reporter.write_line(printable(line, styled=True))


def _report(record: "Record", config: pytest.Config) -> str:
    from pfa_gate.report.formatting import shows_unicode  # noqa: PLC0415
    from pfa_gate.report.terminal import follows_links, linked, render  # noqa: PLC0415  rich is needed only here

    writer = config.get_terminal_writer()
    text = render(
        record,
        width=writer.fullwidth,
        colour=writer.hasmarkup,
        unicode=shows_unicode(sys.stdout.encoding),
        verbosity=config.get_verbosity(),
    )
    if writer.hasmarkup and follows_links(os.environ):
        text = linked(text, record, Path.cwd())
    return text.rstrip("\n")


def _remark(result: Result, verbosity: int) -> str:
    """Why the record is of an earlier run, or why the next run measures again; empty where neither is so."""
    if result.since:
        return f"measured {result.since}; nothing that it depends on has changed since. --pfa-no-cache measures again."
    if result.remark:
        return f"{result.remark}."
    return f"the next run measures again: {result.not_reusable}." if result.not_reusable and verbosity > 0 else ""


def _sections(config: pytest.Config, record: "Record") -> list[str]:
    """What other plugins add."""
    try:
        sections = config.hook.pytest_pfa_report_section(record=record)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # an exit here would end a run of broken budgets with the exit's own status
        return [f"A plugin's pytest_pfa_report_section raised {type(error).__name__}: {error}"]
    return [str(section) for section in sections if section]
