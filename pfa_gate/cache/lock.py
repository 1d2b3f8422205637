"""A lock whose holder shows that it is alive. A process that waits for it says for whom and how long, and gives up.

The process that holds it touches a file beside it. A process that was stopped does not, but the system keeps its lock.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pfa_gate.errors import ArtifactError

if TYPE_CHECKING:
    from filelock import BaseFileLock

    from pfa_gate.record.manifest import Progress

BEAT = 5.0
SILENCE = 300.0
LONGEST = 24 * 60 * 60.0
_FIRST_WORD = 2.0
_PAUSE = 0.5


@contextmanager
def exclusive_lock(path: Path, progress: "Progress | None" = None, more: str = "") -> Iterator[None]:
    """Hold a lock that one process can hold at a time.

    Args:
        path: of the lock; its folder is there.
        progress: called with whom this process waits for, whenever the time it has waited has doubled.
        more: a further remedy, for the error where the wait was in vain.

    Raises:
        ArtifactError: the holder has given no sign of life for 300 s, or has not done in a day.
        OSError: there can be no lock there.
    """
    from filelock import FileLock  # noqa: PLC0415  a run that only lists has nothing to lock

    lock, holder = FileLock(path), holder_of(path)
    _acquire(lock, _Waiting(holder, progress, more))
    try:
        with _beating(holder):
            yield
    finally:
        lock.release()


def holder_of(path: Path) -> Path:
    """The file in which the holder of a lock says who it is.

    Example:
        >>> holder_of(Path("a.lock")).name
        'a.holder'
    """
    return path.with_suffix(".holder")


def _acquire(lock: "BaseFileLock", waiting: "_Waiting") -> None:
    from filelock import Timeout  # noqa: PLC0415

    pause = 0.0
    while True:
        try:
            lock.acquire(timeout=pause)
        except Timeout:
            pause = _PAUSE
            waiting.look()
        else:
            waiting.over()
            return


class _Waiting:
    """A wait for the holder of a lock.

    Args:
        holder: file in which it says who it is, and which it touches.
        progress: as for `exclusive_lock`.
        more: as for `exclusive_lock`.
    """

    def __init__(self, holder: Path, progress: "Progress | None", more: str) -> None:
        self._holder = holder
        self._progress = progress
        self._remedy = f"Let that process go on, or end it, and run again.{more}"
        self._began = self._alive = time.monotonic()
        self._beat = -1
        self._reported = 0.0

    def look(self) -> None:
        """See whether the holder is alive, and report the wait.

        Raises:
            ArtifactError: it has been waited for long enough.
        """
        now, beat = time.monotonic(), _touched(self._holder)
        if beat != self._beat:
            # By the clock of this process alone: another machine's may be wrong.
            self._beat, self._alive = beat, now
        waited = now - self._began
        if now - self._alive > SILENCE:
            raise self._refusal(f"has given no sign of life for {SILENCE:g} s", waited)
        if waited > LONGEST:
            raise self._refusal("is not done", waited)
        if self._progress is not None and waited >= max(_FIRST_WORD, 2 * self._reported):
            self._reported = waited
            self._progress(f"waiting for {_who(self._holder)} ({waited:.0f} s so far)", 0, 0)

    def over(self) -> None:
        """Report the end of the wait, where the wait was reported."""
        if self._progress is not None and self._reported:
            from pfa_gate.record.manifest import WAITED  # noqa: PLC0415  pydantic and yaml come with it

            self._progress(WAITED, 1, 1)

    def _refusal(self, state: str, waited: float) -> ArtifactError:
        who = _who(self._holder)
        fact = f"{who[0].upper()}{who[1:]}, and {state}; this run has waited for {waited:.0f} s."
        return ArtifactError(fact, remedy=self._remedy)


def _touched(holder: Path) -> int:
    try:
        return holder.stat().st_mtime_ns
    except OSError:
        return 0


def _who(holder: Path) -> str:
    try:
        holder_says = json.loads(holder.read_bytes())
        name = f"process {holder_says['process']:d} on {holder_says['host']:.80}"
        return f"{name}, which has measured this gate since {holder_says['since']:.19}"
    except (OSError, ValueError, TypeError, KeyError):
        return "a process that does not say who it is, which measures this gate"


@contextmanager
def _beating(holder: Path) -> Iterator[None]:
    identity = {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    ended = threading.Event()
    thread = threading.Thread(target=_beat, args=(holder, ended), name="pfa_gate lock", daemon=True)
    # The lock works without it; only a waiting process would not know for whom it waits.
    with suppress(OSError):
        holder.write_text(json.dumps(identity), encoding="utf-8")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(OSError):
            holder.unlink(missing_ok=True)


def _beat(holder: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        with suppress(OSError):
            os.utime(holder)
