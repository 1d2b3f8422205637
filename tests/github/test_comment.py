"""The poster over real sockets: what it asks for, how often, and what is left on the pull request."""

import dataclasses
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hub_server import BOT, REFUSED, Fault, Hub
from published import Description
from records import broken, kept, not_judged

from pfa_gate.errors import CommentError
from pfa_gate.github import CommentRequest, comment
from pfa_gate.github import command as command_room
from pfa_gate.github.comment_text import is_ours, sections_of
from pfa_gate.github.post import Pace
from pfa_gate.report.markdown import MARKER, section

Say = Callable[..., str]
QUICK = Pace(settle=0.02, backoff=0.01, longest=3, timeout=2, between_writes=0)
FIRST = ["GET comments", "POST comments", "GET comments"]


def visible(body: str) -> list[str]:
    return [line for line in body.splitlines() if not line.startswith("<!--")]


@pytest.mark.npm
def test_every_exchange_is_held_against_the_published_description(published: tuple[Description | None, str]) -> None:
    if published[0] is None and not (os.environ.get("CI") or os.environ.get("PFA_GATE_MUST_RUN")):
        pytest.skip(f"not run: {published[1]}")
    assert published[0] is not None, published[1]
    assert published[0].faults("PUT", "/repos/a/b/issues/7/comments", {}, None, 200, []) != []
    assert published[0].faults("POST", "/repos/a/b/issues/7/comments", {}, {"text": "a"}, 404, {}) != []
    assert published[0].faults("GET", "/repos/a/b/issues/7/comments", {"size": ["9"]}, None, 200, []) != []
    assert published[0].faults("GET", "/repos/a/b/issues/7/comments", {}, None, 200, [{"id": "x"}]) != []


def test_a_broken_gate_is_told_in_one_comment(hub: Hub, say: Say) -> None:
    assert say(broken()) == "Comment on acme/nets#7: created."
    (body,) = hub.bodies()
    assert is_ours(body)
    assert section(broken()).strip() in body
    assert hub.asked() == FIRST


def test_an_unchanged_run_writes_nothing(hub: Hub, say: Say, workflow: Callable[..., Any]) -> None:
    say(broken())
    before = hub.bodies()
    hub.exchanges.clear()
    slower = dataclasses.replace(broken(), seconds={"probe": 99.0})
    assert say(slower, workflow(run=2)) == "Comment on acme/nets#7: unchanged."
    assert hub.bodies() == before
    assert hub.asked() == ["GET comments"]


def test_a_resolved_run_leaves_one_line(hub: Hub, say: Say, workflow: Callable[..., Any]) -> None:
    say(broken())
    hub.exchanges.clear()
    assert say(kept(), workflow(run=2)) == "Comment on acme/nets#7: updated."
    (body,) = hub.bodies()
    assert visible(body) == ["**pfa_gate**: ✅ `digits`: kept · 12 budgets kept"]
    assert hub.asked() == ["GET comments", f"PATCH {hub.comments[0]['id']}", "GET comments"]
    hub.exchanges.clear()
    assert say(kept(), workflow(run=3)).endswith("unchanged.")
    assert say(broken(), workflow(run=4)).endswith("updated.")
    assert section(broken()).strip() in hub.bodies()[0]
    assert len(hub.comments) == 1


def test_a_kept_gate_needs_no_comment(hub: Hub, say: Say) -> None:
    assert say(kept()) == "Comment on acme/nets#7: not needed."
    assert hub.asked() == ["GET comments"]
    assert say(not_judged()) == "Comment on acme/nets#7: created."


@pytest.mark.parametrize(
    ("policy", "first", "second", "left"),
    [
        ("auto", "created", "updated", 1),
        ("always", "created", "updated", 1),
        ("on_failure", "created", "deleted", 0),
    ],
)
def test_policies_when_broken_and_then_kept(
    hub: Hub, say: Say, policy: str, first: str, second: str, left: int
) -> None:
    assert say(broken(), policy=policy).endswith(f"{first}.")
    assert say(kept(), policy=policy).endswith(f"{second}.")
    assert len(hub.comments) == left


def test_policies_when_kept_from_the_start(hub: Hub, say: Say) -> None:
    assert say(kept(), policy="never") == "No comment: the policy is never."
    assert hub.exchanges == []
    assert say(kept(), policy="on_failure").endswith("not needed.")
    assert say(kept(), policy="always").endswith("created.")
    assert section(kept()).strip() in hub.bodies()[0]


@pytest.mark.parametrize("before", [29, 30, 99, 100, 120, 250])
def test_the_comment_is_found_behind_many_others(hub: Hub, say: Say, before: int) -> None:
    hub.chatter(before)
    say(broken())
    hub.chatter(5)
    hub.exchanges.clear()
    assert say(kept()).endswith("updated.")
    assert len(hub.bodies()) == 1
    pages = -(-(before + 6) // 100)
    assert hub.asked() == ["GET comments"] * pages + [f"PATCH {1001 + before}"] + ["GET comments"] * pages


@pytest.mark.parametrize("most", [1, 5])
def test_the_comment_is_found_however_many_a_server_puts_on_a_page(hub: Hub, say: Say, most: int) -> None:
    hub.most = most
    hub.chatter(11)
    say(broken())
    hub.chatter(1)
    assert say(kept()).endswith("updated.")
    assert len(hub.bodies()) == 1


def test_a_repository_that_has_another_name_by_now_is_followed(hub: Hub, say: Say) -> None:
    hub.chatter(35)
    hub.renamed = True
    assert say(broken()).endswith("created.")
    assert say(kept()).endswith("updated.")
    assert visible(hub.bodies()[0]) == ["**pfa_gate**: ✅ `digits`: kept · 12 budgets kept"]
    assert say(kept(), policy="on_failure").endswith("deleted.")
    assert hub.bodies() == []


def test_a_token_is_sent_to_no_other_server(hub: Hub, say: Say) -> None:
    hub.faults.append(Fault("POST", status=307, headers={"Location": "http://evil.test/repos/acme/nets"}))
    with pytest.raises(CommentError, match=r"GitHub leads to another server: http://evil\.test"):
        say(broken())


NO_ANSWERS = {
    "cut off": Fault("", status=200, raw=b'[{"id": 3, "bo'),
    "cut short": Fault("", status=200, raw=b'[{"id": 3, "bo', short=40),
    "a page": Fault("", status=200, raw=b"<html>Unicorn</html>"),
    "nothing": Fault("", status=200, raw=b""),
    "null": Fault("", status=200, raw=b"null"),
    "an object": Fault("", status=200, raw=b'{"message": "hello"}'),
    "junk": Fault("", status=200, raw=b'[null, 3, {"id": "x"}]'),
    "no text": Fault("", status=200, raw=b"\xff\xfe"),
}


@pytest.mark.parametrize("fault", NO_ANSWERS.values(), ids=NO_ANSWERS)
@pytest.mark.parametrize("stored", [False, True])
def test_what_is_no_answer_to_a_write_is_looked_into(hub: Hub, say: Say, fault: Fault, stored: bool) -> None:
    hub.faults.append(dataclasses.replace(fault, method="POST", stored=stored))
    assert say(broken()).endswith("created.")
    assert len(hub.comments) == 1


@pytest.mark.parametrize("fault", NO_ANSWERS.values(), ids=NO_ANSWERS)
@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_what_is_no_answer_is_asked_for_again(hub: Hub, say: Say, fault: Fault, method: str) -> None:
    say(broken())
    hub.faults.append(dataclasses.replace(fault, method=method, times=2))
    assert say(kept()).endswith("updated.")
    hub.faults.append(dataclasses.replace(fault, method="GET", times=99))
    with pytest.raises(CommentError, match="What answers for acme/nets makes no sense"):
        say(broken())
    assert len(hub.comments) == 1


@pytest.mark.parametrize("raw", [b"<html>Bad gateway</html>", b'["x"]', b'{"message": 3}', b""])
def test_a_refusal_may_say_anything(hub: Hub, say: Say, raw: bytes) -> None:
    hub.faults.append(Fault("POST", status=422, raw=raw))
    with pytest.raises(CommentError, match="GitHub does not accept the comment on acme/nets#7"):
        say(broken())


def test_a_wait_that_is_none_is_none(hub: Hub, say: Say) -> None:
    hub.faults.append(Fault("GET", status=403, message="API rate limit exceeded", headers={"Retry-After": "soon"}))
    assert say(broken()).endswith("created.")


def test_a_marker_in_somebody_elses_comment_does_not_count(hub: Hub, say: Say) -> None:
    theirs = [MARKER, f"{MARKER}\nlooks good to me", f"> {MARKER}"]
    for body in theirs:
        hub.said("ada", body)
    hub.said(BOT, f"Another workflow quotes: {MARKER}")
    assert say(broken()).endswith("created.")
    assert say(kept()).endswith("updated.")
    assert hub.bodies("ada") == theirs
    assert len(hub.bodies()) == 2


def test_the_comment_of_a_person_is_found_by_their_name(hub: Hub, say: Say, workflow: Callable[..., Any]) -> None:
    say(broken())
    hub.exchanges.clear()
    assert say(broken(), workflow(token="ghp_bot")).endswith("created.")
    assert hub.asked() == ["GET user", *FIRST]
    assert say(kept(), workflow(token="ghp_bot")).endswith("updated.")
    assert len(hub.bodies()) == len(hub.bodies("nets-bot")) == 1


def test_an_app_that_has_another_name_learns_it_from_its_own_comment(
    hub: Hub, say: Say, workflow: Callable[..., Any]
) -> None:
    hub.tokens["ghs_other"] = "nets-app[bot]"
    for record in (broken(), kept()):
        say(record, workflow(token="ghs_other"))
    assert len(hub.bodies("nets-app[bot]")) == 1


def test_an_account_that_is_gone_does_not_matter(hub: Hub, say: Say) -> None:
    hub.said("ada", MARKER)["user"] = None
    assert say(broken()).endswith("created.")


def test_legs_and_gates_share_one_comment(hub: Hub, say: Say, workflow: Callable[..., Any]) -> None:
    other = dataclasses.replace(broken(), gate="mnist")
    say(broken(), leg="py3.11")
    say(broken(), leg="py3.12")
    say(other)
    (body,) = hub.bodies()
    assert [(one.gate, one.leg) for one in sections_of(body)] == [
        ("digits", "py3.11"),
        ("digits", "py3.12"),
        ("mnist", ""),
    ]
    assert "❌ **pfa_gate**: 3 of 3 gates do not keep every budget." in visible(body)
    assert "### ❌ `digits`: broken · 12 budgets: 5 broken, 7 kept · `py3.12`" in visible(body)
    say(kept(), leg="py3.11")
    assert "✅ `digits`: kept · 12 budgets kept · `py3.11`" in visible(hub.bodies()[0])
    say(kept(), leg="py3.12")
    say(dataclasses.replace(kept(), gate="mnist"))
    assert visible(hub.bodies()[0]) == ["✅ **pfa_gate**: all 3 gates keep every budget."]
    say(other, workflow(run=9), only=True)
    assert [one.gate for one in sections_of(hub.bodies()[0])] == ["mnist"]


def test_an_older_run_changes_nothing(hub: Hub, say: Say, workflow: Callable[..., Any]) -> None:
    say(kept(), workflow(run=8), policy="always")
    assert say(broken(), workflow(run=7)).endswith("unchanged.")


def test_duplicates_become_one(hub: Hub, say: Say) -> None:
    say(broken(), leg="a")
    first = hub.comments.pop()
    say(broken(), leg="b")
    hub.comments.insert(0, first)
    hub.said(BOT, hub.bodies()[1])
    assert say(broken(), leg="c").endswith("updated.")
    assert [comment["id"] for comment in hub.comments] == [first["id"]]
    assert [one.leg for one in sections_of(hub.bodies()[0])] == ["a", "b", "c"]
    assert hub.writes()[-3:] == ["PATCH", "DELETE", "DELETE"]


@pytest.mark.parametrize("fault", [Fault("POST", status=502, stored=True), Fault("POST", reset=True, stored=True)])
def test_a_comment_that_was_stored_although_the_answer_was_lost_is_not_written_twice(
    hub: Hub, say: Say, fault: Fault
) -> None:
    hub.faults.append(fault)
    assert say(broken()).endswith("created.")
    assert len(hub.comments) == 1
    assert hub.asked() == FIRST


@pytest.mark.parametrize("fault", [Fault("POST", status=502), Fault("POST", status=503), Fault("POST", reset=True)])
def test_a_comment_that_was_not_stored_is_written_again(hub: Hub, say: Say, fault: Fault) -> None:
    hub.faults.append(fault)
    assert say(broken()).endswith("created.")
    assert len(hub.comments) == 1
    assert hub.asked() == ["GET comments", "POST comments", *FIRST]


@pytest.mark.parametrize("method", ["GET", "PATCH"])
@pytest.mark.parametrize("reset", [False, True])
def test_what_can_be_repeated_is_repeated(hub: Hub, say: Say, method: str, reset: bool) -> None:
    say(broken())
    hub.exchanges.clear()
    hub.faults.append(Fault(method, status=502, times=3, reset=reset))
    assert say(kept()).endswith("updated.")
    assert len(hub.exchanges) == 6


def test_an_answer_that_comes_too_late_is_looked_for(hub: Hub, say: Say) -> None:
    hub.faults.append(Fault("POST", status=0, delay=1.5, stored=True))
    slow = threading.Event()

    def wait(method: str, path: str) -> None:
        if method == "GET" and slow.is_set():
            time.sleep(0.7)
        slow.set()

    hub.before = wait
    assert say(broken()).endswith("created.")
    time.sleep(1)
    assert len(hub.comments) == 1


def test_a_long_look_is_renewed_before_the_write(hub: Hub, say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    say(broken())
    monkeypatch.setattr(command_room, "Pace", lambda: dataclasses.replace(QUICK, stale=0.2))
    hub.chatter(100)
    hub.exchanges.clear()
    hub.faults.append(Fault("GET", status=0, delay=0.4, stored=True))
    assert say(kept()).endswith("updated.")
    first = hub.comments[0]["id"]
    assert hub.asked() == [
        "GET comments",
        "GET comments",
        f"GET {first}",
        f"PATCH {first}",
        "GET comments",
        "GET comments",
    ]


def test_a_slow_answer_is_waited_for(hub: Hub, say: Say) -> None:
    hub.faults.append(Fault("POST", status=0, delay=0.5, stored=True))
    assert say(broken()).endswith("created.")
    assert len(hub.comments) == 1


def test_a_comment_deleted_between_look_and_write_is_written_anew(hub: Hub, say: Say) -> None:
    say(broken())
    first = hub.comments[0]["id"]
    hub.exchanges.clear()

    def deleted(method: str, path: str) -> None:
        if method == "PATCH":
            hub.comments = [comment for comment in hub.comments if comment["id"] != first]

    hub.before = deleted
    assert say(not_judged()).endswith("updated.")
    assert [is_ours(body) for body in hub.bodies()] == [True]
    assert hub.asked() == ["GET comments", f"PATCH {first}", "GET comments", "POST comments", "GET comments"]


def test_a_list_that_is_behind_its_writes_makes_no_second_comment(hub: Hub, say: Say) -> None:
    hidden: list[dict[str, Any]] = []

    def lag(method: str, path: str) -> None:
        if method == "GET" and path.endswith("/7/comments") and hub.comments and not hidden:
            hidden.extend(hub.comments)
            hub.comments = []
        elif method == "GET" and hidden:
            hub.comments = list(hidden)

    hub.before = lag
    assert say(broken()).endswith("created.")
    assert len(hub.comments) == 1
    assert hub.asked() == [*FIRST, f"GET {hub.comments[0]['id']}"]


@pytest.mark.parametrize("status", [403, 429])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("header", ["Retry-After", "X-RateLimit-Reset"])
def test_patience_where_github_asks_for_it(hub: Hub, say: Say, status: int, method: str, header: str) -> None:
    value = (
        {"Retry-After": "1"}
        if header == "Retry-After"
        else {"X-RateLimit-Remaining": "0", header: str(int(time.time()))}
    )
    message = "API rate limit exceeded for installation."
    hub.faults.append(Fault(method, status=status, message=message, headers=value))
    began = time.monotonic()
    assert say(broken()).endswith("created.")
    assert time.monotonic() - began >= 0.9
    assert len(hub.comments) == 1
    assert len(hub.exchanges) == 4


@pytest.mark.parametrize(
    "headers", [{"Retry-After": "3600"}, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "4000000000"}]
)
def test_no_patience_without_end(hub: Hub, say: Say, headers: dict[str, str]) -> None:
    hub.faults.append(Fault("GET", status=403, message="API rate limit exceeded", headers=headers, times=9))
    with pytest.raises(CommentError, match=r"GitHub asks to wait [\d,]+ s; a comment waits 3 s at most"):
        say(broken())
    assert len(hub.exchanges) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_fork_may_not_write_and_the_build_goes_on(hub: Hub, say: Say, method: str) -> None:
    hub.faults.append(Fault(method, path="comments", status=403, message=REFUSED, times=9))
    told = say(broken())
    assert told.startswith(
        "No comment was posted; the build is not affected. The token may not write comments on acme/nets#7."
    )
    for word in ("pull-requests: write", "issues: write", "workflow_run", "--from", REFUSED, "record.json"):
        assert word in told
    assert hub.asked() == FIRST[: 1 if method == "GET" else 2]


def test_the_report_is_named_where_there_is_one(hub: Hub, say: Say, tmp_path: Any) -> None:
    (tmp_path / ".pfa" / "digits").mkdir(parents=True)
    (tmp_path / ".pfa" / "digits" / "report.md").write_text("x")
    hub.faults.append(Fault("POST", status=403, message=REFUSED))
    assert say(broken()).endswith("digits/report.md")


def test_a_locked_conversation(hub: Hub, say: Say) -> None:
    hub.faults.append(Fault("POST", status=403, message="Unable to create comment because issue is locked."))
    assert "The conversation of acme/nets#7 is locked." in say(broken())


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (
            Fault("GET", status=404, message="Not Found"),
            "There is no pull request acme/nets#7, or the token may not see it.",
        ),
        (
            Fault("POST", status=404, message="Not Found"),
            "There is no pull request acme/nets#7, or the token may not see it.",
        ),
        (Fault("GET", status=410, message="Gone"), "The comments of acme/nets#7 are gone."),
        (Fault("POST", status=410, message="Gone"), "The comments of acme/nets#7 are gone."),
        (
            Fault(
                "POST",
                status=422,
                message="Validation Failed",
                errors=[{"code": "custom", "message": "body is too long"}],
            ),
            "GitHub does not accept the comment on acme/nets#7.\n  GitHub says: Validation Failed; body is too long.",
        ),
        (Fault("GET", status=502, times=99), "GitHub failed with 502, so acme/nets#7 has no new comment."),
        (Fault("GET", reset=True, times=99), "GitHub could not be reached, so acme/nets#7 has no new comment."),
        (Fault("POST", status=502, times=99), "The comment was not the same after 12 attempts."),
        (
            Fault(
                "POST",
                status=429,
                message="You have exceeded a secondary rate limit",
                times=99,
                headers={"Retry-After": "0"},
            ),
            "GitHub's limit of requests is used up for acme/nets#7.",
        ),
        (Fault("GET", status=418, message="Teapot"), "GitHub refused with 418 to comment on acme/nets#7."),
    ],
)
def test_what_cannot_be_mended_has_a_sentence(hub: Hub, say: Say, fault: Fault, sentence: str) -> None:
    hub.faults.append(fault)
    with pytest.raises(CommentError) as caught:
        say(broken())
    assert str(caught.value).startswith(sentence)
    assert caught.value.remedy
    assert hub.comments == []


def test_a_token_that_is_none(hub: Hub, say: Say, workflow: Callable[..., Any]) -> None:
    with pytest.raises(CommentError, match="GitHub does not accept the token for acme/nets#7"):
        say(broken(), workflow(token="ghp_wrong"))
    with pytest.raises(CommentError, match="There is no token"):
        say(broken(), workflow(token=""))
    assert hub.asked() == ["GET user"]


def test_a_run_without_a_pull_request(hub: Hub, say: Say, workflow: Callable[..., Any]) -> None:
    assert say(broken(), workflow(event={})) == "No comment: this run belongs to no pull request."
    assert hub.exchanges == []
    assert say(broken(), workflow(event={}) | {"GITHUB_REF": "refs/pull/7/merge"}).endswith("created.")
    assert say(broken(), workflow(event={}), pull=7).endswith("unchanged.")


def test_a_token_that_may_not_ask_who_it_is(hub: Hub, say: Say, workflow: Callable[..., Any]) -> None:
    hub.tokens["plain"] = BOT
    hub.faults += [
        Fault("GET", path="/user$", status=404, message="Not Found"),
        Fault("GET", path="/user$", status=403),
    ]
    assert say(broken(), workflow(token="plain")).endswith("created.")
    assert say(kept(), workflow(token="plain")).endswith("updated.")
    assert len(hub.comments) == 1


def test_a_failure_without_a_record_is_told(hub: Hub, say: Say, workflow: Callable[..., Any], tmp_path: Any) -> None:
    (tmp_path / "empty").mkdir()
    failed = CommentRequest((tmp_path / "empty",), status=1)
    assert comment(failed, workflow()).endswith("created.")
    assert "❔ The run failed, and no record says why; its log does." in hub.bodies()[0]
    assert say(broken(), workflow(run=2), status=1).endswith("updated.")
    assert [section.outcome for section in sections_of(hub.bodies()[0])] == ["broken"]
    assert comment(failed, workflow(run=3)).endswith("updated.")
    assert say(kept(), workflow(run=4), status=0).endswith("updated.")
    assert visible(hub.bodies()[0]) == ["**pfa_gate**: ✅ `digits`: kept · 12 budgets kept"]
    assert comment(failed, workflow(run=5)).endswith("updated.")
    assert comment(dataclasses.replace(failed, policy="on_failure"), workflow(run=6)).endswith("unchanged.")
    with pytest.raises(CommentError, match=r"There is no record\.json in"):
        comment(dataclasses.replace(failed, status=0), workflow())


def test_a_failure_resolved_by_gates_that_were_never_named(hub: Hub, say: Say, tmp_path: Any, workflow: Any) -> None:
    comment(CommentRequest((tmp_path / "gone",), status=2), workflow())
    assert say(kept(), workflow(run=2), status=0).endswith("updated.")
    assert visible(hub.bodies()[0]) == ["**pfa_gate**: ✅ The run left its verdict."]


def of(service: str, record: Any) -> Any:
    """The record of a service of the repository, whose gate has the same name as the others'."""
    return dataclasses.replace(record, config=f"services/{service}/pfa.yaml")


def outcomes(hub: Hub) -> dict[str, str]:
    return {section.config: section.outcome for section in sections_of(hub.bodies()[0])}


def test_a_service_that_is_mended_does_not_hide_another_that_is_broken(hub: Hub, say: Say, workflow: Any) -> None:
    assert say(of("a", broken())).endswith("created.")
    assert say(of("b", broken())).endswith("updated.")
    assert say(of("b", kept()), workflow(run=2)).endswith("updated.")
    assert outcomes(hub) == {"services/a/pfa.yaml": "broken", "services/b/pfa.yaml": "kept"}
    assert section(of("a", broken())).strip() in hub.bodies()[0]


def test_a_service_without_a_record_is_not_hidden_by_another_that_has_one(
    hub: Hub, say: Say, workflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two jobs of one run, and two folders of one job; and two uses in one folder of one job."""
    silent = CommentRequest((tmp_path / "gone",), status=2)
    for folder in ("a", "b"):
        (tmp_path / "repository" / folder).mkdir(parents=True)
    (tmp_path / "repository" / ".git").mkdir()
    for here, job in (("a", "one"), ("a", "two"), ("b", "one")):
        monkeypatch.chdir(tmp_path / "repository" / here)
        assert comment(silent, workflow() | {"GITHUB_JOB": job}).split()[-1] in ("created.", "updated.")
    assert outcomes(hub) == dict.fromkeys(["one: a", "one: b", "two: a"], "not judged")
    assert "its log does. · `one: b`" in hub.bodies()[0]
    same_run = workflow() | {"GITHUB_JOB": "one"}
    assert say(kept(), same_run, status=0).endswith("unchanged.")
    assert outcomes(hub) == dict.fromkeys(["one: a", "one: b", "two: a"], "not judged")
    assert say(kept(), workflow(run=2) | {"GITHUB_JOB": "one"}, status=0).endswith("updated.")
    assert outcomes(hub) == {"one: a": "not judged", "two: a": "not judged"}


def test_a_dry_run_asks_nobody(hub: Hub, say: Say) -> None:
    body = say(broken(), dry_run=True)
    assert is_ours(body)
    assert section(broken()).strip() in body
    assert hub.exchanges == []
