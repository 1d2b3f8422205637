"""`pfa-gate study`: says what it will run, shows how far it is, prints the table and writes the files."""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pfa_gate.artifacts.folder import write_study
from pfa_gate.config import load
from pfa_gate.pipeline.run import OUTPUT, only_gate
from pfa_gate.report.formatting import shows_unicode
from pfa_gate.report.ownership import require_study
from pfa_gate.report.study.tables import terminal
from pfa_gate.report.text import printable
from pfa_gate.study.options import StudyOptions
from pfa_gate.study.run import StudyObserver, run
from pfa_gate.study.trials import TrialSeries

FAILED = 1


@dataclass(frozen=True)
class StudyCommand:
    """What the command was asked for.

    Attributes:
        config: a pfa.yaml.
        gate: one of its gates; None where it has one.
        ask: what to compare.
        output: folder for the files; None for `.pfa/<gate>.study` beside the config.
    """

    config: Path
    gate: str | None
    ask: StudyOptions
    output: Path | None


def study(order: StudyCommand) -> int:
    """Run a study, print it, write it.

    Returns:
        0, or 1 where a trial could not be run.

    Raises:
        PFAGateError: nothing could be run, or nothing written.
    """
    document = load(order.config)
    gate = order.gate or only_gate(document)
    folder = order.output or document.path.parent / OUTPUT / f"{gate}.study"
    require_study(folder)  # hours before it is written
    series = TrialSeries.of(document.gate(gate), order.ask)
    print(printable(_announced(gate, series, max(1, len(order.ask.domains)))), file=sys.stderr, flush=True)
    with _Bar() as bar:
        found = run(order.config, gate, order.ask, StudyObserver(bar.show))
    files = write_study(folder, found)
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    unicode = shows_unicode(sys.stdout.encoding)
    shown = terminal(found, width=shutil.get_terminal_size().columns, colour=colour, unicode=unicode)
    print(printable(shown, styled=True), end="")
    print(printable(f"\nFiles: {', '.join(files)}"))
    return FAILED if found.failed or any(plan.reason for plan in found.plans) else 0


def _announced(gate: str, series: TrialSeries, tasks: int) -> str:
    models, trials = series.models * tasks, series.trials * tasks
    return f"Study of {gate}: {models:,} models to cut and recover, {trials:,} scores."


class _Bar:
    """A bar on the error stream, on a terminal only; it is gone when all is done."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        console = Console(stderr=True)
        shown = console.is_terminal
        self._progress = Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=not shown)
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage is."""
        self._progress.update(self._task, description=stage, completed=done, total=total)
