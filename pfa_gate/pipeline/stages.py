"""The stages of a run: how long each took, and where in pfa.yaml an error in it belongs."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pfa_gate.config import Document
from pfa_gate.errors import PFAGateError
from pfa_gate.record.manifest import Progress

Item = TypeVar("Item")


class Stages:
    """Times the stages of one gate's run and adds its place to every error that passes through.

    The times add up to all the time since `since`: what passes between two stages counts for the later one.

    Args:
        document: the config.
        gate: the gate's name.
        progress: called as (stage, done, total) while a long stage runs; None to stay silent.
        since: `time.perf_counter()` of when somebody began to wait; what was before this counts as importing.
    """

    def __init__(
        self, document: Document, gate: str, progress: Progress | None = None, since: float | None = None
    ) -> None:
        self._seconds: dict[str, float] = {}
        self._last = time.perf_counter()
        if since is not None:
            self._seconds["importing"] = self._last - since
        self.gate = gate
        self._document = document
        self._progress = progress

    @property
    def folder(self) -> Path:
        """The folder of pfa.yaml, from which its references are resolved."""
        return self._document.path.resolve().parent

    @contextmanager
    def stage(self, name: str, *keys: str) -> Iterator[None]:
        """Run a stage; an error in it is placed at `gates.<gate>.<keys>` of the config."""
        self.report(name, 0, 1)
        try:
            yield
        except PFAGateError as error:
            place = self._document.place("gates", self.gate, *keys)
            error.at(f"{place}, in gate '{self.gate}', while {name}")
            raise
        finally:
            self._pass(name)
        self.report(name, 1, 1)

    def seconds(self, running: str = "") -> dict[str, float]:
        """How long each stage took so far, in seconds; one that is running is named."""
        if running:
            self._pass(running)
        return {name: round(taken, 3) for name, taken in self._seconds.items()}

    def _pass(self, name: str) -> None:
        """Count the time since it was last counted for this stage."""
        now = time.perf_counter()
        self._seconds[name] = self._seconds.get(name, 0.0) + now - self._last
        self._last = now

    def report(self, name: str, done: int, total: int) -> None:
        """Tell the outside how far a stage is."""
        if self._progress is not None:
            self._progress(name, done, total)

    def counted(self, name: str, items: Iterable[Item], total: int) -> Iterator[Item]:
        """Pass items through and report each."""
        for done, item in enumerate(items, 1):
            yield item
            self.report(name, done, total)
