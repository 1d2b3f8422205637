"""A GitHub for tests: real sockets, the requests that the poster makes, and whatever can go wrong with them."""

import io
import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

BOT = "github-actions[bot]"
WHEN = "2026-03-01T09:00:00Z"
REFUSED = "Resource not accessible by integration"


@dataclass
class Fault:
    """Something that goes wrong: for requests of one method whose path matches, the given number of times."""

    method: str
    path: str = ""
    status: int = 500
    message: str = "Server Error"
    headers: dict[str, str] = field(default_factory=dict)
    times: int = 1
    stored: bool = False
    reset: bool = False
    delay: float = 0.0
    errors: list[dict[str, str]] | None = None
    raw: bytes | None = None
    short: int = 0

    @property
    def no_answer(self) -> bool:
        """Whether what is sent is nothing that GitHub describes."""
        return self.reset or self.raw is not None


@dataclass(frozen=True)
class Exchange:
    """One request and what was answered."""

    method: str
    path: str
    query: dict[str, list[str]]
    body: Any
    status: int
    answer: Any


@dataclass
class Hub:
    """All state of the server; tests read and change it as they like."""

    root: str = ""
    prefix: str = ""
    tokens: dict[str, str] = field(default_factory=lambda: {"ghs_token": BOT, "ghp_ada": "ada", "ghp_bot": "nets-bot"})
    comments: list[dict[str, Any]] = field(default_factory=list)
    pulls: dict[int, dict[str, Any]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    before: Callable[[str, str], None] | None = None
    after: Callable[[str, str], None] | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)
    pull_example: dict[str, Any] = field(default_factory=dict)
    renamed: bool = False
    most: int = 100
    last: int = 1000

    def said(self, login: str, body: str) -> dict[str, Any]:
        """Store a comment."""
        with self.lock:
            self.last += 1
            comment = self._comment(self.last, login, body)
            self.comments.append(comment)
            return comment

    def chatter(self, count: int) -> None:
        """So many comments of other people."""
        for number in range(count):
            self.said("ada", f"Remark {number}")

    def bodies(self, login: str = BOT) -> list[str]:
        """What an account has said."""
        return [comment["body"] for comment in self.comments if comment["user"]["login"] == login]

    def asked(self) -> list[str]:
        """Method and last part of the path of every request, in order."""
        return [f"{each.method} {each.path.rsplit('/', 1)[-1]}" for each in self.exchanges]

    def writes(self) -> list[str]:
        """Methods of all requests that change something."""
        return [each.method for each in self.exchanges if each.method != "GET"]

    def open_pull(self, number: int, sha: str, branch: str) -> None:
        """Open a pull request from `owner:branch`."""
        ref = branch.split(":")[1]
        example = json.loads(json.dumps(self.pull_example))
        head = example.get("head", {}) | {"sha": sha, "ref": ref, "label": branch}
        example |= {"requested_teams": []} if example else {}
        self.pulls[number] = example | {
            "number": number,
            "head": head,
            "url": f"{self.root}/repos/acme/nets/pulls/{number}",
        }

    def _comment(self, number: int, login: str, body: str) -> dict[str, Any]:
        url = f"{self.root}/repos/acme/nets/issues"
        return {
            "id": number,
            "node_id": f"IC_{number}",
            "url": f"{url}/comments/{number}",
            "html_url": f"https://github.test/acme/nets/pull/7#issuecomment-{number}",
            "issue_url": f"{url}/7",
            "user": self.user(login),
            "created_at": WHEN,
            "updated_at": WHEN,
            "author_association": "NONE",
            "body": body,
            "performed_via_github_app": self._app() if login == BOT else None,
        }

    def user(self, login: str) -> dict[str, Any]:
        """An account."""
        url = f"{self.root}/users/{login}"
        links = ("events", "followers", "following", "gists", "organizations", "received_events", "repos", "starred")
        return {
            **{f"{link}_url": f"{url}/{link}" for link in (*links, "subscriptions")},
            "login": login,
            "id": sum(map(ord, login)),
            "node_id": f"U_{login}",
            "avatar_url": f"{self.root}/avatars/{sum(map(ord, login))}",
            "gravatar_id": "",
            "url": url,
            "html_url": url,
            "type": "Bot" if login.endswith("[bot]") else "User",
            "site_admin": False,
        }

    def _app(self) -> dict[str, Any]:
        return {
            "id": 15368,
            "slug": "github-actions",
            "node_id": "A_1",
            "owner": self.user("github"),
            "name": "GitHub Actions",
            "description": "Automate your workflow",
            "external_url": "https://help.github.test/actions",
            "html_url": "https://github.test/apps/github-actions",
            "created_at": WHEN,
            "updated_at": WHEN,
            "permissions": {"issues": "write"},
            "events": [],
        }


def serve(hub: Hub, prefix: str = "") -> ThreadingHTTPServer:
    """Start the server; its address is then in `hub.root`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.prefix, hub.root = prefix, f"http://127.0.0.1:{server.server_address[1]}{prefix}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return server


Answer = tuple[int, Any, dict[str, str]]


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    # Answers in two packets would wait for each other.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._handle()

    do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815  names of the standard library

    def log_message(self, *arguments: object) -> None:
        """Say nothing: the tests read the exchanges."""

    def _handle(self) -> None:
        hub, url = self.hub, urlsplit(self.path)
        path, query = url.path.removeprefix(hub.prefix), parse_qs(url.query)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        if hub.before:
            hub.before(self.command, path)
        fault = self._fault(path)
        if fault and fault.delay:
            time.sleep(fault.delay)
        status, answer, headers = self._answer(path, query, body) if not fault or fault.stored else (0, None, {})
        if fault and fault.raw is None and (fault.reset or fault.status):
            data = {"message": fault.message, "documentation_url": "https://docs.github.test/rest"}
            status, answer, headers = fault.status, data, fault.headers
            if fault.errors:
                data |= {"errors": fault.errors}  # type: ignore[dict-item]
        if hub.after:
            hub.after(self.command, path)
        with hub.lock:
            hub.exchanges.append(
                Exchange(self.command, path, query, body, 0 if fault and fault.no_answer else status, answer)
            )
        if fault and fault.reset:
            # Linger 0 makes the close a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.shutdown(socket.SHUT_RD)
            self.close_connection = True
            self.wfile.close()
            self.connection.close()
            # The base class flushes once more.
            self.wfile = io.BytesIO()
            return
        if fault and fault.raw is not None:
            self._write(fault.status, fault.raw, {}, fault.short)
            return
        self._send(status, answer, headers)

    def _fault(self, path: str) -> Fault | None:
        with self.hub.lock:
            for fault in self.hub.faults:
                if fault.method == self.command and re.search(fault.path, path) and fault.times:
                    fault.times -= 1
                    return fault
        return None

    def _send(self, status: int, answer: Any, headers: dict[str, str]) -> None:
        self._write(status, b"" if answer is None else json.dumps(answer).encode(), headers)

    def _write(self, status: int, data: bytes, headers: dict[str, str], short: int = 0) -> None:
        self.close_connection = self.close_connection or bool(short)
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json; charset=utf-8"} | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data) + short))
        self.end_headers()
        self.wfile.write(data)

    def _answer(self, path: str, query: dict[str, list[str]], body: Any) -> Answer:
        login = self.hub.tokens.get(self.headers.get("Authorization", "").partition(" ")[2])
        if login is None:
            return _refusal(401, "Bad credentials")
        if self.hub.renamed and path.startswith("/repos/acme/nets"):
            place = self.path.replace("/repos/acme/nets", "/repositories/42")
            moved = {"message": "Moved Permanently", "url": place, "documentation_url": "https://docs.github.test/rest"}
            host = self.hub.root.removesuffix(self.hub.prefix)
            return 301 if self.command == "GET" else 307, moved, {"Location": f"{host}{place}"}
        with self.hub.lock:
            for method, pattern, act in _ROUTES:
                found = re.fullmatch(pattern, path)
                if found and method == self.command:
                    return act(self.hub, login, found.groups(), query, body)
        return _refusal(404, "Not Found")


def _refusal(status: int, message: str) -> Answer:
    return status, {"message": message, "documentation_url": "https://docs.github.test/rest", "status": str(status)}, {}


def _list(hub: Hub, login: str, parts: tuple[str, ...], query: dict[str, list[str]], body: Any) -> Answer:
    del login, body
    if parts[0] != "7":
        return _refusal(404, "Not Found")
    size, page = int(query.get("per_page", ["30"])[0]), int(query.get("page", ["1"])[0])
    assert 1 <= size <= 100
    size = min(size, hub.most)
    last = max(1, -(-len(hub.comments) // size))
    links = {"next": page + 1, "last": last} if page < last else {}
    url = f"{hub.root}/repositories/42/issues/7/comments?per_page={size}"
    link = ", ".join(f'<{url}&page={number}>; rel="{name}"' for name, number in links.items())
    return 200, hub.comments[(page - 1) * size : page * size], {"Link": link} if link else {}


def _create(hub: Hub, login: str, parts: tuple[str, ...], query: dict[str, list[str]], body: Any) -> Answer:
    del query
    if parts[0] != "7":
        return _refusal(404, "Not Found")
    if len(body["body"].encode("utf-16-le")) // 2 > 65536:
        status, answer, headers = _refusal(422, "Validation Failed")
        message = "body is too long (maximum is 65536 characters)"
        return status, answer | {"errors": [{"code": "custom", "field": "body", "message": message}]}, headers
    return 201, hub.said(login, body["body"]), {}


def _one(hub: Hub, login: str, parts: tuple[str, ...], query: dict[str, list[str]], body: Any) -> Answer:
    del query
    found = [comment for comment in hub.comments if comment["id"] == int(parts[0])]
    if not found:
        return _refusal(404, "Not Found")
    if body is None:
        return 200, found[0], {}
    if found[0]["user"]["login"] != login:
        return _refusal(403, "Must have admin rights to Repository.")
    found[0]["body"] = body["body"]
    return 200, found[0], {}


def _delete(hub: Hub, login: str, parts: tuple[str, ...], query: dict[str, list[str]], body: Any) -> Answer:
    del login, query, body
    before = len(hub.comments)
    hub.comments = [comment for comment in hub.comments if comment["id"] != int(parts[0])]
    return (204, None, {}) if len(hub.comments) < before else _refusal(404, "Not Found")


def _user(hub: Hub, login: str, parts: tuple[str, ...], query: dict[str, list[str]], body: Any) -> Answer:
    del parts, query, body
    counts = dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0)
    named = dict.fromkeys(("name", "company", "blog", "location", "email", "hireable", "bio"))
    dates = {"created_at": WHEN, "updated_at": WHEN, "user_view_type": "public"}
    if login.endswith("[bot]"):
        return _refusal(403, REFUSED)
    return 200, hub.user(login) | counts | named | dates, {}


def _pull(hub: Hub, login: str, parts: tuple[str, ...], query: dict[str, list[str]], body: Any) -> Answer:
    del login, query, body
    return (200, hub.pulls[int(parts[0])], {}) if int(parts[0]) in hub.pulls else _refusal(404, "Not Found")


def _pulls(hub: Hub, login: str, parts: tuple[str, ...], query: dict[str, list[str]], body: Any) -> Answer:
    del login, parts, body
    return 200, [pull for pull in hub.pulls.values() if pull["head"]["label"] == query["head"][0]], {}


_REPO = r"/(?:repos/acme/nets|repositories/42)"
_ROUTES: list[tuple[str, str, Callable[..., Answer]]] = [
    ("GET", rf"{_REPO}/issues/(\d+)/comments", _list),
    ("POST", rf"{_REPO}/issues/(\d+)/comments", _create),
    ("GET", rf"{_REPO}/issues/comments/(\d+)", _one),
    ("PATCH", rf"{_REPO}/issues/comments/(\d+)", _one),
    ("DELETE", rf"{_REPO}/issues/comments/(\d+)", _delete),
    ("GET", r"/user", _user),
    ("GET", rf"{_REPO}/pulls/(\d+)", _pull),
    ("GET", rf"{_REPO}/pulls", _pulls),
]
