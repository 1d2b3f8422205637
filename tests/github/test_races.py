"""Several posters at once, in processes of their own: one comment with all that each had to say."""

import dataclasses
import json
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hub_server import BOT, Hub
from records import broken

from pfa_gate.github.comment_text import CommentSection, compose, sections_of
from pfa_gate.github.post import Comment, Pace, Update, post
from pfa_gate.record import dumps

POSTER = """
import sys
from pfa_gate.cli import main
from pfa_gate.github import command
from pfa_gate.github.post import Pace
command.Pace = lambda: Pace(settle=0.5, backoff=0.01, between_writes=0)
sys.exit(main(sys.argv[1:]))
"""


class Barrier:
    """Holds the first requests of a kind back until so many have come.

    As `hub.after` it holds their answers, so that all have seen the same; as `hub.before` the requests themselves.
    """

    def __init__(self, method: str, count: int) -> None:
        self.method, self.left = method, count
        self.barrier = threading.Barrier(count, timeout=60)
        self.lock = threading.Lock()

    def __call__(self, method: str, path: str) -> None:
        with self.lock:
            waits = method == self.method and self.left > 0 and path.endswith(("comments", "comments/1001"))
            self.left -= waits
        if waits:
            self.barrier.wait()


@pytest.fixture
def start(hub: Hub, light_python: str, tmp_path: Path) -> Callable[..., "subprocess.Popen[str]"]:
    """Start a poster for one leg."""

    def started(leg: str, *more: str) -> "subprocess.Popen[str]":
        record = tmp_path / leg / "record.json"
        record.parent.mkdir(exist_ok=True)
        record.write_text(dumps(dataclasses.replace(broken(), seconds={})), encoding="utf-8")
        event = record.with_name("event.json")  # one each: a poster may read it while the next is started
        event.write_text(json.dumps({"pull_request": {"number": 7}}))
        environment = os.environ | {
            "GITHUB_REPOSITORY": "acme/nets",
            "GITHUB_API_URL": hub.root,
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_RUN_ID": "5",
            "GITHUB_TOKEN": "ghs_token",
        }
        command = [light_python, "-c", POSTER, "comment", str(record), "--leg", leg, *more]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    return started


def settled(posters: "list[subprocess.Popen[str]]") -> None:
    for poster in posters:
        out, err = poster.communicate(timeout=120)
        assert poster.returncode == 0, out + err


def legs(hub: Hub) -> list[str]:
    (body,) = hub.bodies()
    return [section.leg for section in sections_of(body)]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_two_that_both_find_nothing_leave_one_comment(hub: Hub, start: Callable[..., Any], method: str) -> None:
    if method == "GET":
        hub.after = Barrier(method, 2)
    else:
        hub.before = Barrier(method, 2)
    settled([start("a"), start("b")])
    assert legs(hub) == ["a", "b"]
    assert hub.writes().count("POST") == 2
    assert "DELETE" in hub.writes()


def test_two_that_overwrite_each_other_both_have_their_say(hub: Hub, start: Callable[..., Any]) -> None:
    settled([start("first")])
    assert hub.comments[0]["id"] == 1001
    hub.before = Barrier("PATCH", 2)
    settled([start("a"), start("b")])
    assert legs(hub) == ["a", "b", "first"]
    assert hub.writes().count("POST") == 1
    assert hub.writes().count("PATCH") >= 3


def test_six_at_once(hub: Hub, start: Callable[..., Any]) -> None:
    hub.chatter(110)
    hub.after = Barrier("GET", 6)
    settled([start(f"leg {number}") for number in range(6)])
    assert legs(hub) == [f"leg {number}" for number in range(6)]
    assert len(hub.comments) == 111


def test_the_command_says_what_it_did_and_what_went_wrong(hub: Hub, start: Callable[..., Any]) -> None:
    out, err = start("a").communicate(timeout=60)
    assert (out, err) == ("Comment on acme/nets#7: created.\n", "")
    hub.said(BOT, "another")
    poster = start("a", "--pull", "8")
    out, err = poster.communicate(timeout=60)
    assert poster.returncode == 2
    assert out == ""
    assert err.splitlines()[0] == "There is no pull request acme/nets#8, or the token may not see it."


class Board:
    """Comments in memory that take their time, so that posters meet at every point of their way."""

    def __init__(self, seed: int) -> None:
        self.bodies: dict[int, str] = {}
        self.random, self.lock, self.last = random.Random(seed), threading.Lock(), 0

    def _pause(self) -> None:
        with self.lock:
            pause = self.random.random() * 0.008
        time.sleep(pause)

    def listed(self) -> list[Comment]:
        with self.lock:
            found = [Comment(number, body) for number, body in sorted(self.bodies.items())]
        self._pause()
        return found

    def get(self, number: int) -> Comment | None:
        with self.lock:
            return Comment(number, self.bodies[number]) if number in self.bodies else None

    def create(self, body: str) -> Comment:
        self._pause()
        with self.lock:
            self.last += 1
            self.bodies[self.last] = body
            return Comment(self.last, body)

    def edit(self, number: int, body: str) -> None:
        self._pause()
        with self.lock:
            if number in self.bodies:
                self.bodies[number] = body

    def delete(self, number: int) -> None:
        self._pause()
        with self.lock:
            self.bodies.pop(number, None)


@pytest.mark.parametrize("seed", range(8))
def test_posters_that_meet_anywhere_end_with_the_same_comment(seed: int) -> None:
    board, pace = Board(seed), Pace(settle=0.5, between_writes=0)
    sections = [
        CommentSection("pfa.yaml", "digits", f"leg {n}", "broken", f"line {n}", f"text {n}", (1, 1)) for n in range(5)
    ]
    posters = [threading.Thread(target=post, args=(board, Update((one,)), pace)) for one in sections]
    for poster in posters:
        poster.start()
    for poster in posters:
        poster.join(60)
    (body,) = board.bodies.values()
    assert body == compose(sections)
