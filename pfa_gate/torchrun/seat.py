"""This process among those that torchrun started: its seat, and the heartbeat that shows the others it lives."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from pfa_gate.errors import RankError

SILENCE, STALL = 60.0, 1800.0


@dataclass(frozen=True)
class Seat:
    """One of several processes.

    Attributes:
        rank: which, from 0.
        size: how many there are.
        silence: seconds without a sign of life after which a process counts as dead.
        stall: seconds without progress after which a process that measures counts as hung.
    """

    rank: int
    size: int
    silence: float = SILENCE
    stall: float = STALL


def seat_in(environment: Mapping[str, str]) -> Seat | None:
    """Read what torchrun has set; None where this process is the only one, or was not started by torchrun.

    Args:
        environment: such as os.environ. PFA_GATE_RANK_SILENCE and PFA_GATE_RANK_STALL give other bounds.

    Raises:
        RankError: a variable is missing, or is no number that can be meant.

    Example:
        >>> at = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}
        >>> seat_in(at)
        Seat(rank=1, size=2, silence=60.0, stall=1800.0)
        >>> seat_in(at | {"WORLD_SIZE": "1"}) is None, seat_in({"WORLD_SIZE": "2"}) is None
        (True, True)
    """
    if environment.get("WORLD_SIZE", "1") == "1" or "RANK" not in environment:
        return None
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if not environment.get(name):
            raise RankError(f"RANK and WORLD_SIZE are set, and {name} is not.", remedy="Start pytest with torchrun.")
    size, rank = _whole_number(environment, "WORLD_SIZE", 2), _whole_number(environment, "RANK", 0)
    if rank >= size:
        raise RankError(f"RANK is {rank}, and WORLD_SIZE is {size}.", remedy="Start pytest with torchrun.")
    silence, stall = _seconds(environment, "SILENCE", SILENCE), _seconds(environment, "STALL", STALL)
    return Seat(rank, size, silence, stall)


def _whole_number(environment: Mapping[str, str], name: str, least: int) -> int:
    text = environment[name]
    if text.isdecimal() and int(text) >= least:
        return int(text)
    raise RankError(f"{name} is '{text}', not a whole number from {least}.", remedy="Start pytest with torchrun.")


def _seconds(environment: Mapping[str, str], which: str, default: float) -> float:
    name = f"PFA_GATE_RANK_{which}"
    try:
        seconds = float(environment.get(name, default))
    except ValueError:
        seconds = 0.0
    if 1.0 <= seconds < float("inf"):
        return seconds
    raise RankError(f"{name} is '{environment[name]}', not a number of seconds from 1.", remedy="Correct or unset it.")


_GONE = "gone: "


class Store(Protocol):
    """What all processes can read and write: torch's TCPStore, or a substitute for it."""

    def set(self, key: str, value: str, /) -> None:
        """Write."""

    def get(self, key: str, /) -> bytes:
        """Read what is there."""

    def check(self, keys: list[str], /) -> bool:
        """Whether all are there."""


class Heartbeat:
    """Writes beats to the store, and watches the beats of the others.

    A process is dead when its beat does not change for `seat.silence` seconds: work does not stop the beat. It is hung
    when it measures (see `measuring`) and nothing of what it does has called `tick` for `seat.stall` seconds; each
    process sees to that itself.

    Args:
        seat: this process.
        store: shared by all.
        watched: ranks whose life matters here.
        fail: called once, in the thread, with a sentence and whether this process itself is at fault.
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
        """Stop the beat; the others know that this process ends, or have ended."""
        self._ended.set()
        if self._thread is not threading.current_thread():
            self._thread.join(self.seat.silence)

    def tick(self) -> None:
        """Report progress of what this process measures."""
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

    def announce_end(self, sentence: str) -> None:
        """Tell the others that this process ends, and why."""
        self._store.set(f"beat/{self.seat.rank}", _GONE + sentence)

    def _run(self) -> None:
        number, pause = 0, min(2.0, self.seat.silence / 5)
        while not self._ended.wait(pause):
            number += 1
            try:
                self._beat(number)
                fault = self._hung() or self._dead()
            except Exception as error:  # whatever the store raises, no other rank can be reached any more
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
        for rank, (last, since) in self._last.items():
            key = f"beat/{rank}"
            beat = self._store.get(key) if self._store.check([key]) else b""
            if beat.startswith(_GONE.encode()):
                return beat.decode().removeprefix(_GONE), False
            if beat != last:
                self._last[rank] = beat, time.monotonic()
            elif time.monotonic() - since > self.seat.silence:
                return f"Rank {rank} has given no sign of life for {self.seat.silence:g} s.", False
        return None


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
