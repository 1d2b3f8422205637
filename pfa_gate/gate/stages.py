"""The stages of a run: how long each took, and where in pfa.yaml an error in it belongs."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pfa_gate.config import Document
from pfa_gate.errors import PFAGateError

Item = TypeVar("Item")
Progress = Callable[[str, int, int], None]


class Stages:
    """Times the stages of one gate's run and adds its place to every error that passes through.

    Args:
        document: the config.
        gate: the gate's name.
        progress: called as (stage, done, total) while a long stage runs; None to stay silent.
    """

    def __init__(self, document: Document, gate: str, progress: Progress | None = None) -> None:
        self.seconds: dict[str, float] = {}
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
        start = time.perf_counter()
        self.report(name, 0, 1)
        try:
            yield
        except PFAGateError as error:
            place = self._document.place("gates", self.gate, *keys)
            error.at(f"{place}, in gate '{self.gate}', while {name}")
            raise
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        self.report(name, 1, 1)

    def report(self, name: str, done: int, total: int) -> None:
        """Tell the outside how far a stage is."""
        if self._progress is not None:
            self._progress(name, done, total)

    def counted(self, name: str, items: Iterable[Item], total: int) -> Iterator[Item]:
        """Pass items through and report each."""
        for done, item in enumerate(items, 1):
            yield item
            self.report(name, done, total)
