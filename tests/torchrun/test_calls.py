"""Rank 0 and two others in threads of one process, over torch's own store and gloo."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.distributed import FileStore
from torch.distributed.distributed_c10d import PrefixStore, ProcessGroupGloo, Store

from pfa_gate.errors import DataError, PFAGateError, RankError
from pfa_gate.torchrun import Seat
from pfa_gate.torchrun.calls import DroppedError, Ranks, failure
from pfa_gate.torchrun.seat import Heartbeat

SIZE = 3


class Shelf(dict[str, bytes]):
    """A store in memory."""

    def set(self, key: str, value: str, /) -> None:
        self[key] = value.encode()

    def get(self, key: str, /) -> bytes:  # type: ignore[override]
        return self[key]

    def check(self, keys: list[str], /) -> bool:
        return all(key in self for key in keys)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return FileStore(str(tmp_path / "store"), SIZE)


@pytest.fixture
def ranks(store: Store) -> Iterator[list[Ranks]]:
    def seated(rank: int) -> Ranks:
        group = ProcessGroupGloo(PrefixStore("gloo", store), rank, SIZE, timedelta(seconds=20))
        return Ranks(Seat(rank, SIZE, 20, 20), store, group, lambda words: None)

    with ThreadPoolExecutor(SIZE) as pool:
        found = list(pool.map(seated, range(SIZE)))
    yield found
    for each in found:
        each._heartbeat.stop()


def serving(rank: Ranks, do: Callable[[dict[str, Any]], dict[str, Any]]) -> "Future[None]":
    """A thread that does what is called for, until the end."""

    def serve() -> None:
        for call in rank.calls():
            if call["name"] == "end":
                rank.leave()
                return
            try:
                facts = do(call)
            except DroppedError:
                continue
            except PFAGateError as error:
                facts = failure(error)
            rank.answer(facts)

    pool = ThreadPoolExecutor(1)
    done = pool.submit(serve)
    pool.shutdown(wait=False)
    return done


def test_calls_are_answered_in_order_and_sums_are_over_all(ranks: list[Ranks]) -> None:
    first, *others = ranks

    def do(rank: Ranks) -> Callable[[dict[str, Any]], dict[str, Any]]:
        def done(call: dict[str, Any]) -> dict[str, Any]:
            if call["name"] == "sum":
                rank.total(np.full((2, 3), float(rank.seat.rank)))
            if call["name"] == "receive":
                return {"got": rank.broadcast(None, call["size"]).decode()}
            return {"twice": 2 * call.get("number", 0), "rank": rank.seat.rank}

        return done

    threads = [serving(each, do(each)) for each in others]
    first.call("double", number=4)
    assert first.answers() == [{"twice": 8, "rank": 1}, {"twice": 8, "rank": 2}]
    first.call("sum")
    np.testing.assert_array_equal(first.total(np.zeros((2, 3))), np.full((2, 3), 3.0))
    first.answers()
    first.call("receive", size=5)
    first.broadcast(b"model", 5)
    assert first.answers() == [{"got": "model"}] * 2
    first.end(0)
    assert [thread.result(10) for thread in threads] == [None, None]


def test_an_error_of_another_rank_is_raised_here_with_its_rank(ranks: list[Ranks]) -> None:
    first, *others = ranks

    def do(call: dict[str, Any]) -> dict[str, Any]:
        if call["name"] == "read":
            raise DataError("It is empty.", remedy="Fill it.").at("pfa.yaml:3:4")
        return {}

    threads = [serving(others[0], lambda call: {}), serving(others[1], do)]
    first.call("read")
    with pytest.raises(DataError) as caught:
        first.answers()
    assert str(caught.value) == "It is empty.\n  at pfa.yaml:3:4\n  at rank 2\n  Fill it."
    first.call("present")
    assert first.answers() == [{}, {}]
    first.end(1)
    assert [thread.result(10) for thread in threads] == [None, None]


def test_what_is_not_wanted_any_more_is_dropped(ranks: list[Ranks]) -> None:
    first, *others = ranks
    begun = threading.Event()

    def do(rank: Ranks) -> Callable[[dict[str, Any]], dict[str, Any]]:
        def done(call: dict[str, Any]) -> dict[str, Any]:
            while call["name"] == "measure":  # for ever, but for the tick
                begun.set()
                rank.tick()
                time.sleep(0.01)
            return {}

        return done

    threads = [serving(each, do(each)) for each in others]
    first.call("measure")
    assert begun.wait(10)
    first.call("present")
    assert first.answers() == [{}, {}]
    first.end(0)
    assert [thread.result(10) for thread in threads] == [None, None]


def test_rank_0_learns_why_another_ended(ranks: list[Ranks]) -> None:
    first, one, two = ranks
    del two
    first.call("measure")
    one._heartbeat.stop()
    one._heartbeat.announce_end("Rank 1 has made no progress for 3 s.")
    with pytest.raises(RankError, match=r"^Rank 1 has made no progress for 3 s\."):
        first.answers()
    with pytest.raises(RankError, match="no progress"):
        first.call("present")


def failing(seat: Seat, shelf: Shelf, watched: list[int]) -> "tuple[Heartbeat, Future[tuple[str, bool]]]":
    told: Future[tuple[str, bool]] = Future()
    return Heartbeat(seat, shelf, watched, lambda sentence, mine: told.set_result((sentence, mine))), told


def test_a_beat_that_stops_is_a_death_and_one_that_goes_on_is_none() -> None:
    shelf, begun = Shelf(), time.monotonic()
    zero, told = failing(Seat(0, 3, 2.0), shelf, [1, 2])
    one, untold = failing(Seat(1, 3, 2.0), shelf, [0])
    two, _ = failing(Seat(2, 3, 2.0), shelf, [0])
    for each in (zero, one, two):
        each.start()
    time.sleep(2.5)
    assert not told.done()
    two.stop()
    assert told.result(10) == ("Rank 2 has given no sign of life for 2 s.", False)
    assert time.monotonic() - begun > 4.0
    one.stop()
    assert not untold.done()


def test_who_measures_and_does_not_tick_is_hung_and_who_works_otherwise_is_not() -> None:
    shelf = Shelf()
    one, told = failing(Seat(1, 2, 2.0, 2.0), shelf, [])
    one.start()
    time.sleep(2.5)
    assert not told.done()
    with one.measuring():
        for _ in range(25):
            time.sleep(0.1)
            one.tick()
        assert not told.done()
        assert told.result(10) == ("Rank 1 has made no progress for 2 s.", True)
    one.stop()


def test_a_store_that_is_gone_is_told() -> None:
    class Torn(Shelf):
        def check(self, keys: list[str], /) -> bool:
            raise RuntimeError("Connection reset\nby peer")

    one, told = failing(Seat(1, 2, 1.0), Torn(), [0])
    one.start()
    assert told.result(10) == ("The store that connects the ranks cannot be reached: Connection reset", False)
