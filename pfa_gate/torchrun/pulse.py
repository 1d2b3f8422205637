"""A thread that shows that its process is alive, and sees whether the others are."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from pfa_gate.torchrun import Seat

_GONE = "gone: "


class Store(Protocol):
    """What all processes can read and write: torch's TCPStore, or what stands in for it."""

    def set(self, key: str, value: str, /) -> None:
        """Write."""

    def get(self, key: str, /) -> bytes:
        """Read what is there."""

    def check(self, keys: list[str], /) -> bool:
        """Whether all are there."""


class Heartbeat:
    """Beats in the store, and watches the beats of others.

    A process is dead when its beat does not change for `seat.silence` seconds: work does not stop the beat. It is hung
    when it measures (see `measuring`) and nothing of what it does has called `tick` for `seat.stall` seconds; each
    process sees to that itself.

    Args:
        seat: this process.
        store: shared by all.
        watched: ranks whose life matters here.
        fail: called once, in the thread, with a sentence and whether it is this process that is to blame.
    """

    def __init__(self, seat: Seat, store: Store, watched: Iterable[int], fail: Callable[[str, bool], None]) -> None:
        self.seat = seat
        self._store = store
        self._fail = fail
        self._last = dict.fromkeys(watched, (b"", time.monotonic()))
        self._ticked = time.monotonic()
        self._measuring = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pfa_gate pulse", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._beat(0)
        self._thread.start()

    def stop(self) -> None:
        """Beat no more; the others have been told, or have ended."""
        self._ended.set()
        if self._thread is not threading.current_thread():
            self._thread.join(self.seat.silence)

    def tick(self) -> None:
        """Say that what this process measures goes on."""
        self._ticked = time.monotonic()

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """While the block runs, this process is hung if it does not tick."""
        self.tick()
        self._measuring = True
        try:
            yield
        finally:
            self._measuring = False

    def part(self, sentence: str) -> None:
        """Tell the others that this process ends, and why."""
        self._store.set(f"beat/{self.seat.rank}", _GONE + sentence)

    def _run(self) -> None:
        number, pause = 0, min(2.0, self.seat.silence / 5)
        while not self._ended.wait(pause):
            number += 1
            try:
                self._beat(number)
                fault = self._hung() or self._dead()
            except Exception as error:  # whatever the store raises, nobody can be reached any more
                fault = (f"The store that connects the ranks cannot be reached: {_first_line(error)}", False)
            if fault and not self._ended.is_set():
                self._fail(*fault)
                return

    def _beat(self, number: int) -> None:
        self._store.set(f"beat/{self.seat.rank}", str(number))

    def _hung(self) -> tuple[str, bool] | None:
        if self._measuring and time.monotonic() - self._ticked > self.seat.stall:
            return f"Rank {self.seat.rank} has made no progress for {self.seat.stall:g} s.", True
        return None

    def _dead(self) -> tuple[str, bool] | None:
        for rank, (before, since) in self._last.items():
            key = f"beat/{rank}"
            found = self._store.get(key) if self._store.check([key]) else b""
            if found.startswith(_GONE.encode()):
                return found.decode().removeprefix(_GONE), False
            if found != before:
                self._last[rank] = found, time.monotonic()
            elif time.monotonic() - since > self.seat.silence:
                return f"Rank {rank} has given no sign of life for {self.seat.silence:g} s.", False
        return None


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
