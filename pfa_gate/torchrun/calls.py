"""Calls from rank 0 to the other ranks, their answers, and sums over all ranks."""

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.distributed.distributed_c10d import PrefixStore, ProcessGroupGloo, Store
from torch.distributed.rendezvous import rendezvous

from pfa_gate import errors
from pfa_gate.errors import PFAGateError, RankError
from pfa_gate.torchrun import Seat
from pfa_gate.torchrun.seat import Heartbeat

_MEETING = timedelta(minutes=5)
_RUN_AGAIN = "Run again; what that process printed says more."
_PAUSES = (0.002, 0.1)
Facts = dict[str, Any]


class DroppedError(Exception):
    """Rank 0 has made another call meanwhile; the answer to this one is not needed any more."""


class Ranks:
    """All processes of one torchrun, as one of them sees them.

    Rank 0 calls; each of the others answers every call, in order. Before a call in which all ranks take part at once
    (`total`, `broadcast`), rank 0 has received all answers to the call before, so that no rank waits there for long.

    Args:
        seat: this process.
        store: shared by all.
        group: torch's process group of all, for what is summed and sent; none of the groups of the user's own code.
        say: prints a sentence to the terminal, even while the output is captured.
    """

    def __init__(self, seat: Seat, store: Store, group: Any, say: Callable[[str], None]) -> None:
        self.seat = seat
        self.say = say
        self.fault = ""
        self._store, self._group = store, group
        self._number = 0
        watched = range(1, seat.size) if seat.rank == 0 else [0]
        self._heartbeat = Heartbeat(seat, store, watched, self._failed)
        self._heartbeat.start()

    def tick(self) -> None:
        """Report progress of what this process measures.

        Raises:
            RankError: on rank 0, another rank has ended.
            DroppedError: on another rank, rank 0 does not need its measurement any more.
        """
        self._heartbeat.tick()
        if self.seat.rank == 0:
            self.require_all()
        elif self._store.check([f"call/{self._number + 1}"]):
            raise DroppedError

    def has(self, number: int) -> bool:
        """Whether a batch, counted from 0, is for this rank; see `tick`, which it calls."""
        self.tick()
        return number % self.seat.size == self.seat.rank

    def measuring(self) -> AbstractContextManager[None]:
        """While the block runs, this process counts as hung if it does not tick."""
        return self._heartbeat.measuring()

    def require_all(self) -> None:
        """Check that no other rank has ended.

        Raises:
            RankError: one has.
        """
        if self.fault:
            raise RankError(self.fault, remedy=_RUN_AGAIN)

    def call(self, name: str, **facts: Any) -> None:
        """On rank 0: make a call to all others."""
        self.require_all()
        self._number += 1
        self._store.set(f"call/{self._number}", json.dumps({"name": name, **facts}))

    def answers(self) -> list[Facts]:
        """On rank 0: the answers of the others to the last call, by rank.

        Raises:
            PFAGateError: one of them failed, or has ended.
        """
        received: dict[int, Facts] = {}
        pause = _PAUSES[0]
        with self.measuring():
            while len(received) < self.seat.size - 1:
                self.tick()
                for rank in set(range(1, self.seat.size)) - set(received):
                    key = f"answer/{self._number}/{rank}"
                    if self._store.check([key]):
                        received[rank] = _read(json.loads(self._store.get(key)), rank)
                time.sleep(pause)
                pause = min(1.5 * pause, _PAUSES[1])
        return [received[rank] for rank in sorted(received)]

    def calls(self) -> Iterator[Facts]:
        """On another rank: the calls of rank 0, in order; waits as long as rank 0 lives."""
        while True:
            self._number += 1
            pause, key = _PAUSES[0], f"call/{self._number}"
            while not self._store.check([key]):
                time.sleep(pause)
                pause = min(1.5 * pause, _PAUSES[1])
            yield json.loads(self._store.get(key))

    def answer(self, facts: Mapping[str, Any]) -> None:
        """On another rank: answer the last call."""
        self._store.set(f"answer/{self._number}/{self.seat.rank}", json.dumps(facts))

    def total(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The sum over all ranks, element by element; all call it at once, with arrays of one shape.

        The array may be written over: the largest ones are as large as all moments of a layer.

        Raises:
            RankError: another rank is gone.
        """
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        self._together(lambda: self._group.allreduce([tensor]))
        return tensor.numpy()

    def broadcast(self, content: bytes | None, size: int) -> bytes:
        """What rank 0 sends; all call it at once, the others without content.

        Raises:
            RankError: another rank is gone.
        """
        tensor = torch.frombuffer(bytearray(content or size), dtype=torch.uint8)
        self._together(lambda: self._group.broadcast(tensor, 0))
        return tensor.numpy().tobytes()

    def _together(self, work: Callable[[], Any]) -> None:
        try:
            work().wait()
        except RuntimeError as error:
            # A group that has failed once fails for ever.
            self.fault = self.fault or f"Another rank broke off while all took part: {str(error).splitlines()[0]}"
            raise RankError(self.fault, remedy=_RUN_AGAIN) from error

    def end(self, status: int) -> None:
        """On rank 0: let all others end with this exit status, and wait until they are about to."""
        with suppress(RankError, RuntimeError):  # a rank that cannot be reached ends by itself
            self._number += 1
            self._store.set(f"call/{self._number}", json.dumps({"name": "end", "status": status}))
            self.answers()
        self._heartbeat.stop()

    def leave(self) -> None:
        """On another rank: end as rank 0 asked."""
        self._heartbeat.stop()
        self.answer({})

    def _failed(self, sentence: str, own: bool) -> None:
        """In the thread of the heartbeat: rank 0 goes on, to report; a hung rank, or one without rank 0, ends."""
        if self.seat.rank == 0 and not own:
            self.fault = sentence
            return
        with suppress(RuntimeError):  # where the store is gone too, silence says the same
            self._heartbeat.announce_end(sentence)
        self.say(f"pfa_gate: {sentence} Rank {self.seat.rank} ends without a verdict.\n")
        if own:
            ident = threading.main_thread().ident
            stack = sys._current_frames().get(ident) if ident is not None else None
            self.say("".join(traceback.format_stack(stack)))
        os._exit(1)


def join(seat: Seat, say: Callable[[str], None]) -> Ranks:
    """Wait until all ranks have joined.

    Raises:
        RankError: they do not join within five minutes, or this seat is taken.
    """
    try:
        store = PrefixStore("pfa_gate", next(rendezvous("env://", seat.rank, seat.size, timeout=_MEETING))[0])
        if store.add(f"seat/{seat.rank}", 1) > 1:
            raise RankError(
                f"Rank {seat.rank} has come already.",
                remedy="A pytest started by a test must not inherit RANK and WORLD_SIZE: unset them.",
            )
        store.wait([f"seat/{rank}" for rank in range(seat.size)], _MEETING)
        group = ProcessGroupGloo(PrefixStore("gloo", store), seat.rank, seat.size, timedelta(seconds=seat.silence))
    except (RuntimeError, OSError) as error:
        fact = f"The {seat.size} ranks do not come together: {str(error).splitlines()[0]}"
        raise RankError(fact, remedy="Start all of them, and let them reach MASTER_ADDR.") from error
    return Ranks(seat, store, group, say)


def failure(error: BaseException) -> Facts:
    """An error as plain data."""
    if isinstance(error, PFAGateError):
        content = {"kind": type(error).__name__, "fact": error.fact, "remedy": error.remedy, "where": list(error.where)}
        return {"error": content}
    words = f"{type(error).__name__}: {error}"
    return {"error": {"kind": "RankError", "fact": f"It raised {words}", "remedy": "", "where": []}}


def _read(answer: Facts, rank: int) -> Facts:
    """An answer; if it holds an error, that is raised with the rank as its place."""
    content = answer.get("error")
    if content is None:
        return answer
    error: PFAGateError = getattr(errors, content["kind"])(content["fact"], remedy=content["remedy"])
    raise type(error)(error.fact, remedy=error.remedy, where=(*content["where"], f"rank {rank}"))
