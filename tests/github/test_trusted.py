"""Posting for a run that is not trusted: nothing is believed but data, and the pull request is asked for."""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub
from records import broken, kept

from pfa_gate.cli import main
from pfa_gate.errors import ArtifactError, CommentError
from pfa_gate.github import CommentRequest, comment
from pfa_gate.github.command import LARGEST, LARGEST_SUM, MOST, read
from pfa_gate.github.comment_text import sections_of
from pfa_gate.github.target import target_of
from pfa_gate.record import dumps

HEAD = "5f1e" * 10
NASTY = [
    "<script>alert(1)</script>",
    "a|b`c",
    "@everyone",
    "#1",
    "![x](http://evil.test/y.png)",
    "x" * 5000,
    "\u202eabc",
]
Say = Callable[..., str]


def from_fork(number: int | None = None) -> dict[str, Any]:
    """The event of a finished run; a fork's names no pull request."""
    started = {
        "id": 77,
        "run_attempt": 2,
        "head_sha": HEAD,
        "head_branch": "wide",
        "head_repository": {"owner": {"login": "ada"}, "full_name": "ada/nets"},
        "pull_requests": [] if number is None else [{"number": number, "head": {"sha": HEAD}}],
    }
    return {"action": "completed", "workflow_run": started, "repository": {"full_name": "acme/nets"}}


def test_a_forks_pull_request_is_found_by_its_branch(hub: Hub, say: Say, workflow: Callable[..., Any]) -> None:
    hub.open_pull(3, "0" * 40, "eve:wide")
    hub.open_pull(7, HEAD, "ada:wide")
    assert say(broken(), workflow(event=from_fork()), trusted=True) == "Comment on acme/nets#7: created."
    assert hub.asked() == ["GET pulls", "GET comments", "POST comments", "GET comments"]
    assert hub.exchanges[0].query == {"state": ["open"], "head": ["ada:wide"], "per_page": ["100"]}
    assert sections_of(hub.bodies()[0])[0].run == (77, 2)


def test_a_number_from_the_event_is_checked(hub: Hub, say: Say, workflow: Callable[..., Any]) -> None:
    hub.open_pull(7, HEAD, "acme:wide")
    assert say(broken(), workflow(event=from_fork(7)), trusted=True) == "Comment on acme/nets#7: created."
    assert hub.asked()[0] == "GET 7"


@pytest.mark.parametrize("named", [None, 7])
def test_a_head_that_has_moved_on_gets_no_comment(
    hub: Hub, say: Say, workflow: Callable[..., Any], named: int | None
) -> None:
    hub.open_pull(7, "9a9a" * 10, "ada:wide")
    told = say(broken(), workflow(event=from_fork(named)), trusted=True)
    assert told == "No comment: this run measured 5f1e5f1, and there is a newer head by now: #7 (9a9a9a9)."
    assert hub.writes() == []


def test_a_number_by_hand_is_checked_too(hub: Hub, say: Say, workflow: Callable[..., Any]) -> None:
    hub.open_pull(7, "9a9a" * 10, "ada:wide")
    assert say(broken(), workflow(event=from_fork()), trusted=True, pull=7).startswith("No comment: this run measured")
    with pytest.raises(CommentError, match="There is no pull request acme/nets#8"):
        say(broken(), workflow(event=from_fork()), trusted=True, pull=8)


def test_a_branch_without_a_pull_request(hub: Hub, say: Say, workflow: Callable[..., Any]) -> None:
    told = say(broken(), workflow(event=from_fork()), trusted=True)
    assert told == "No comment: no open pull request has the branch ada:wide."


def test_a_run_that_failed_before_it_measured_is_told(hub: Hub, workflow: Callable[..., Any], tmp_path: Path) -> None:
    hub.open_pull(7, HEAD, "ada:wide")
    event = from_fork()
    event["workflow_run"]["conclusion"] = "failure"
    order = CommentRequest((tmp_path / "reports",), trusted=True)
    assert comment(order, workflow(event=event)).endswith("created.")
    assert "The run failed, and no record says why" in hub.bodies()[0]
    event["workflow_run"]["conclusion"] = "success"
    with pytest.raises(CommentError, match="is not a regular file"):
        comment(order, workflow(event=event))


def test_legs_are_named_by_the_folders_of_their_artifacts(
    hub: Hub, workflow: Callable[..., Any], tmp_path: Path
) -> None:
    hub.open_pull(7, HEAD, "ada:wide")
    for leg in ("pfa-py3.11", "pfa-py3.12"):
        folder = tmp_path / "artifacts" / leg / ".pfa" / "digits"
        folder.mkdir(parents=True)
        (folder / "record.json").write_text(dumps(broken()))
        (folder / "evil.py").write_text("raise SystemExit(3)")
    order = CommentRequest((tmp_path / "artifacts",), trusted=True)
    assert comment(order, workflow(event=from_fork())).endswith("created.")
    assert [one.leg for one in sections_of(hub.bodies()[0])] == ["pfa-py3.11", "pfa-py3.12"]


@pytest.mark.parametrize(
    ("folder", "leg"),
    [
        ("pfa-gate-reports.use-123/digits", ""),
        ("pfa-gate-reports-py3.11.use-4294967295/digits", "py3.11"),
        ("pfa-gate-reports-py3.11/digits", "py3.11"),
        ("pfa-gate-reports-py3.11.use-1/services/a/digits", "py3.11"),
        ("pfa-gate-reports.use-1/services/a/digits", ""),
        ("py3.11/xservices/a/digits", "py3.11/xservices/a"),
    ],
)
def test_an_artifact_is_named_by_its_leg_and_not_by_its_use(tmp_path: Path, folder: str, leg: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    record = dataclasses.replace(broken(), config="services/a/pfa.yaml")
    (tmp_path / folder / "record.json").write_text(dumps(record))
    assert [source.leg for source in read([tmp_path], "", legs=True)] == [leg]


@pytest.mark.parametrize("name", NASTY)
def test_hostile_names_are_harmless(hub: Hub, say: Say, name: str) -> None:
    record = broken()
    layers = tuple(dataclasses.replace(layer, name=name) for layer in record.layers[:1])
    budgets = tuple(
        dataclasses.replace(each, sentence=f"{name} is above its limit", details=()) for each in record.budgets
    )
    say(
        dataclasses.replace(record, gate="digits", config=f"{name}/pfa.yaml", layers=layers, budgets=budgets),
        leg=name[:300],
    )
    (body,) = hub.bodies()
    visible = "\n".join(line for line in body.splitlines() if not line.startswith("<!-- pfa_gate:"))
    outside = "".join(part for number, part in enumerate(visible.split("`")) if number % 2 == 0)
    for raw in ("<script", "@everyone", "![x]", "\u202e"):
        assert raw not in outside
    assert len(sections_of(body)) == 1
    marker = next(line for line in body.splitlines() if line.startswith("<!-- pfa_gate:section"))
    assert marker.count("-->") == 1
    assert marker.count("--") == 2
    assert len(marker) < 6000


def test_a_section_marker_in_a_name_makes_no_section(hub: Hub, say: Say) -> None:
    forged = '<!-- pfa_gate:end --> <!-- pfa_gate:section {"config":"a","gate":"b"} -->'
    record = dataclasses.replace(broken(), gate=forged, config=forged)
    folder = record.gate.replace("/", "_")
    say(dataclasses.replace(record, gate=folder), leg=forged)
    assert len(sections_of(hub.bodies()[0])) == 1


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    for text in ("", "[]", "{", '{"schema": 1}', "[" * 100_000, '{"schema": "pfa_gate.record/1", "gate": 3}'):
        path.write_text(text)
        with pytest.raises(ArtifactError) as caught:
            read([path], "")
        assert caught.value.where == (str(path),)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(CommentError, match="it is not UTF-8"):
        read([path], "")


def test_size_and_kind_and_number_of_files_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    with path.open("wb") as file:
        file.truncate(LARGEST + 1)
    with pytest.raises(CommentError, match="a record has at most"):
        read([path], "")
    path.unlink()
    (tmp_path / "real").write_text(dumps(kept()))
    path.symlink_to(tmp_path / "real")
    with pytest.raises(CommentError, match="is not a regular file"):
        read([tmp_path], "")
    for number in range(MOST):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "record.json").write_text("{}")
    with pytest.raises(CommentError, match="There are 201 records; one comment takes 200"):
        read([tmp_path], "")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CommentError, match=r"There is no record\.json in"):
        read([tmp_path / "empty"], "")


def test_the_sum_of_all_records_is_bounded(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / str(number)).mkdir()
        with (tmp_path / str(number) / "record.json").open("wb") as file:
            file.truncate(LARGEST)
    expected = f"There are 5 records of {5 * LARGEST:,} bytes; one comment takes {LARGEST_SUM:,}."
    with pytest.raises(CommentError, match=re.escape(expected)):
        read([tmp_path], "")
    assert main(["comment", "--from", str(tmp_path), "--dry-run"]) == 2


@pytest.mark.parametrize(
    "event", ["[]", "{", "null", '{"workflow_run": 3, "pull_request": []}', '{"pull_request": {"number": "7"}}']
)
def test_an_event_that_is_none_names_no_pull_request(tmp_path: Path, event: str) -> None:
    path = tmp_path / "event.json"
    path.write_text(event)
    environment = {"GITHUB_REPOSITORY": "acme/nets", "GITHUB_EVENT_PATH": str(path)}
    if event == "{":
        with pytest.raises(CommentError, match="cannot be read"):
            target_of(environment)
    else:
        assert target_of(environment).numbers == ()


@pytest.mark.parametrize("repository", ["", "acme", "acme/nets/../x", "a b/c", "acme/nets?x=1"])
def test_a_repository_has_an_owner_and_a_name(repository: str) -> None:
    with pytest.raises(CommentError, match="not owner/name"):
        target_of({"GITHUB_REPOSITORY": repository})


def test_an_address_is_one() -> None:
    with pytest.raises(CommentError, match=r"GITHUB_API_URL is 'github\.acme\.test'"):
        target_of({"GITHUB_REPOSITORY": "acme/nets", "GITHUB_API_URL": "github.acme.test"})


def test_what_the_environment_says() -> None:
    environment = {
        "GITHUB_REPOSITORY": "acme/nets",
        "GITHUB_API_URL": "https://github.acme.test/api/v3/",
        "GITHUB_REF": "refs/pull/12/merge",
        "GITHUB_RUN_ID": "9",
        "GITHUB_RUN_ATTEMPT": "2",
    }
    found = target_of(environment)
    assert (found.api, found.numbers, found.run) == ("https://github.acme.test/api/v3", (12,), (9, 2))
    assert target_of(environment, "x/y", 3).numbers == (3,)
    assert target_of({"GITHUB_REPOSITORY": "acme/nets", "GITHUB_REF": "refs/heads/main"}).numbers == ()


def test_enterprise_has_its_own_address(published: Any, tmp_path: Path, workflow: Any, say: Say) -> None:
    from hub_server import serve  # noqa: PLC0415

    hub = Hub()
    server = serve(hub, "/api/v3")
    environment = workflow() | {"GITHUB_API_URL": hub.root}
    hub.chatter(130)
    assert say(broken(), environment).endswith("created.")
    assert say(kept(), environment).endswith("updated.")
    assert len(hub.bodies()) == 1
    server.shutdown()
    server.server_close()


def test_the_record_is_read_back_from_the_file(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(json.dumps(json.loads(dumps(broken()))))
    (source,) = read([tmp_path], "leg")
    assert (source.record, source.leg) == (broken(), "leg")


def test_without_a_name_all_that_runs_have_left_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, record in ((".pfa/digits", broken()), ("deep/.pfa/mnist", dataclasses.replace(kept(), gate="mnist"))):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "record.json").write_text(dumps(record))
    monkeypatch.chdir(tmp_path)
    assert main(["comment", "--dry-run", "--leg", "py3.12"]) == 0
    found = sections_of(capsys.readouterr().out)
    assert [(section.gate, section.leg) for section in found] == [("digits", "py3.12"), ("mnist", "py3.12")]
    with pytest.raises(SystemExit):
        main(["comment", "deep", "--from", ".pfa"])
    assert "not allowed with argument" in capsys.readouterr().err
