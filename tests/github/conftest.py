"""A server per test; at its end every exchange is held against GitHub's published description."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hub_server import Hub, serve
from published import Description, fetched

from pfa_gate.github import CommentRequest, comment
from pfa_gate.github import command as command_room
from pfa_gate.github.post import Pace
from pfa_gate.record import Record, dumps

QUICK = Pace(settle=0.02, backoff=0.01, longest=3, timeout=1, between_writes=0, stale=30)
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pfa_gate_tests"


@pytest.fixture(scope="session")
def published() -> tuple[Description | None, str]:
    """GitHub's description; or None, and why not."""
    path, reason = fetched(CACHE)
    return (Description(path) if path else None), reason


@pytest.fixture
def hub(published: tuple[Description | None, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(command_room, "Pace", lambda: QUICK)
    description = published[0]
    hub = Hub(pull_example=description.example("pull-request") if description else {})
    server = serve(hub)
    yield hub
    server.shutdown()
    server.server_close()
    if description:
        faults = [fault for each in hub.exchanges for fault in description.faults(**vars(each))]
        assert faults == []


@pytest.fixture
def workflow(hub: Hub, tmp_path: Path) -> Callable[..., dict[str, str]]:
    """The environment of a job, for an event."""

    def environment(event: dict[str, Any] | None = None, run: int = 1, token: str = "ghs_token") -> dict[str, str]:
        path = tmp_path / "event.json"
        path.write_text(json.dumps(event if event is not None else {"pull_request": {"number": 7}}))
        return {
            "GITHUB_REPOSITORY": "acme/nets",
            "GITHUB_API_URL": hub.root,
            "GITHUB_EVENT_PATH": str(path),
            "GITHUB_RUN_ID": str(run),
            "GITHUB_RUN_ATTEMPT": "1",
            "GITHUB_TOKEN": token,
        }

    return environment


@pytest.fixture
def say(tmp_path: Path, workflow: Callable[..., dict[str, str]]) -> Callable[..., str]:
    """Post a record as the command line would."""

    def said(record: Record, environment: dict[str, str] | None = None, **wishes: Any) -> str:
        folder = tmp_path / ".pfa" / record.gate
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "record.json").write_text(dumps(record), encoding="utf-8")
        return comment(CommentRequest((folder / "record.json",), **wishes), environment or workflow())

    return said
