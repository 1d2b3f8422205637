"""How far a long command is: a bar on the error stream, where that is a terminal."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar


class StudyProgress:
    """A bar on the error stream, on a terminal only; it is gone when all is done."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        console = Console(stderr=True)
        shown = console.is_terminal
        self._progress = ProgressBar(
            *columns, TimeRemainingColumn(), console=console, transient=True, disable=not shown
        )
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> "StudyProgress":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, stage: str, done: int, total: int) -> None:
        """Show how far a stage is."""
        self._progress.update(self._task, description=stage, completed=done, total=total)
