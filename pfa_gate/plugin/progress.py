"""How far an analysis is: on a terminal a line that is gone when it is done, in a log a line a stage if it takes long.

PYTEST_DONT_REWRITE
"""

import time
from collections.abc import Callable
from contextlib import nullcontext

import pytest

from pfa_gate.record.progress import WAITED, Progress
from pfa_gate.report.text import printable

_PAUSE = 0.1
_BAR = 24
LONG = 30.0  # seconds after which a log is told; most gates are done by then


def progress_on(config: pytest.Config) -> Callable[[str], Progress] | None:
    """Give what makes a gate's watch, or None where nobody looks: -q, a worker."""
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
    """For a log: a line for each stage from the moment on that an analysis has taken long.

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
        """Tell of a stage once: when it begins, or when it is the one in which the time has become long."""
        taken = time.monotonic() - self.began
        if stage in (self.stage, WAITED) or taken < LONG:
            return
        self.stage = stage
        self.write(lambda: self._tell(f"{self.gate}: {stage} ({taken:.0f} s)"))

    def _tell(self, text: str) -> None:
        self.reporter.ensure_newline()  # pytest has begun a line of its own
        self.reporter.write_line(printable(text))
        self.reporter.flush()


def _past_capture(config: pytest.Config) -> Callable[[Callable[[], None]], None]:
    """What writes to where people read."""
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
