"""What is printed, and what is not."""

import os
import pty
import re
import subprocess
import sys
import time

import pytest
from projects import Pfa, config, gate, runs

from pfa_gate.plugin.terminal import StageLines

ESCAPE = "\x1b["


def test_the_report_stands_at_the_end(pfa: Pfa) -> None:
    pfa().stdout.fnmatch_lines(["test_one.py .*", "=* pfa_gate =*", "digits  KEPT  2 budgets kept", "=* 3 passed in *"])


def test_every_gate_that_ran_has_a_report(project: pytest.Pytester, pfa: Pfa) -> None:
    broken, crashed = "{broken: [exact]}", "{raises: bug}"
    project.makefile(".yaml", pfa=config(gate(), gate(arguments=broken, name="b"), gate(arguments=crashed, name="c")))
    shown = pfa().stdout.str()
    assert len(re.findall(r"^(digits|b|c)  (KEPT|BROKEN)", shown, re.MULTILINE)) == 2


@pytest.mark.parametrize(("argument", "there"), [("-v", True), ("-q", True), ("-qq", False), ("--no-summary", False)])
def test_quiet_runs_print_less(pfa: Pfa, argument: str, there: bool) -> None:
    assert ("KEPT" in pfa(argument).stdout.str()) is there


def test_nothing_is_printed_without_a_gate_that_ran(pfa: Pfa) -> None:
    assert "= pfa_gate =" not in pfa("--co").stdout.str()
    assert "= pfa_gate =" not in pfa("-k", "passes").stdout.str()


def test_colour_is_asked_for(pfa: Pfa, monkeypatch: pytest.MonkeyPatch) -> None:
    def verdict(*arguments: str) -> str:
        return next(line for line in pfa(*arguments).outlines if "KEPT" in line)

    assert ESCAPE in verdict("--color=yes")
    assert ESCAPE not in verdict()
    monkeypatch.setenv("NO_COLOR", "1")
    assert ESCAPE not in verdict()


def test_the_width_of_the_terminal_is_kept(pfa: Pfa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    shown = pfa().stdout.str()
    assert max(map(len, shown[shown.index("= pfa_gate") :].splitlines())) <= 60


def test_a_terminal_that_is_not_unicode(pfa: Pfa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    result = pfa()
    assert result.ret == 0
    assert result.stdout.str().isascii()
    assert "\\u" not in result.stdout.str()


def on_terminal(python: str, project: pytest.Pytester, *arguments: str) -> str:
    """Output of a run whose standard output is a terminal."""
    ours, theirs = pty.openpty()
    command = [python, "-m", "pytest", "-p", "fakes", "--pfa", *arguments]
    process = subprocess.Popen(command, cwd=project.path, stdout=theirs, stderr=theirs, stdin=theirs)
    os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    assert process.wait(60) == 0
    return shown.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux says so when the other end is closed
        return b""


@pytest.mark.skipif(sys.platform == "win32", reason="not run: Windows has no pty")
def test_progress_is_shown_on_a_terminal_and_wiped(project: pytest.Pytester, light_python: str) -> None:
    # Longer than the pause between two writes.
    project.makefile(".yaml", pfa=config(gate(arguments="{pause: 0.12}")))
    shown = on_terminal(light_python, project)
    assert "digits: loading" in shown
    assert "digits: probing [######..................] 1/4" in shown
    assert "digits: probing [########################] 4/4" in shown
    assert re.search(r"\r +\r", shown)
    assert runs(project) == ["digits main None"]
    for argument in ("-q", "-n2"):
        assert "digits: loading" not in on_terminal(light_python, project, argument)


def test_logs_of_quick_gates_have_no_progress(pfa: Pfa) -> None:
    assert "loading" not in pfa("-v").stdout.str()


def test_logs_of_long_gates_have_a_line_a_stage(project: pytest.Pytester, pfa: Pfa) -> None:
    """No bar, and nothing is written over; the half minute of silence is over at once here."""
    project.makeconftest("import pfa_gate.plugin.terminal as progress\n\nprogress.LONG = 0.0\n")
    for capture in ("--capture=fd", "-s"):
        result = pfa(capture)
        result.assert_outcomes(passed=3)
        told = [line for line in result.outlines if line.startswith("digits: ")]
        assert told == [f"digits: {stage} (0 s)" for stage in ("importing", "loading", "probing", "writing")]
        assert "\r" not in result.stdout.str()
    assert "digits: loading" not in pfa("-q").stdout.str()


class Log:
    """Stands for pytest's reporter."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def ensure_newline(self) -> None:
        pass

    def flush(self) -> None:
        pass

    def write_line(self, text: str) -> None:
        self.lines.append(text)


def test_a_log_is_told_from_the_half_minute_on(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    now, log = [50.0], Log()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    lines = StageLines(log, pytestconfig, "digits")  # type: ignore[arg-type]
    for at, stage, done, total in [
        (0, "importing", 0, 1),
        (4, "loading", 0, 1),
        (29.9, "loading", 1, 1),
        (29.9, "probing", 0, 1),
        (31, "probing", 1, 8),
        (64, "probing", 2, 8),
        (90, "scoring", 0, 1),
        (95, "scoring", 1, 1),
    ]:
        now[0] = 50.0 + at
        lines(stage, done, total)
    assert log.lines == ["digits: probing (31 s)", "digits: scoring (90 s)"]
