"""One analysis per gate and run: the first process that needs it makes it, the others read what it found.

PYTEST_DONT_REWRITE
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pfa_gate.cache.lock import held
from pfa_gate.errors import ArtifactError


@dataclass(frozen=True)
class Result:
    """What the analysis of one gate found; exactly one of record, error and crash is there.

    Args:
        config: path of the config; absolute.
        gate: name of the gate.
        record: the record as plain data.
        error: text of a mistake that the user can mend.
        crash: one line on an exception that nobody foresaw.
        test: id of the test that ran the analysis, and so shows the traceback of a crash.
        since: when an earlier run made the record; empty if this one did.
        not_reusable: why later runs cannot use the record; empty if they can.
        remark: what everybody is to know of why it was measured, or will be.
        subject: of what model, probe and evaluation the record speaks, and of which text of the config; asked where a
            baseline is to be written, and empty where that changed while it was measured.
        line: of the config that an error points at, else of the gate; from 1.
        column: of the same; 0 where only the line is known.
    """

    config: str
    gate: str
    record: dict[str, Any] | None = None
    error: str | None = None
    crash: str | None = None
    test: str = ""
    since: str = ""
    not_reusable: str = ""
    remark: str = ""
    subject: Mapping[str, Any] = field(default_factory=dict)
    line: int = 1
    column: int = 0


def analyse_once(folder: Path, config: Path, gate: str, analyse: Callable[[], Result]) -> Result:
    """Give the result of a gate's analysis, made now if no process of this run has made it.

    Args:
        folder: that of the run.
        config: path of the config; absolute.
        gate: name of the gate.
        analyse: makes the result; called at most once per gate and folder, whatever it gives.

    Raises:
        ArtifactError: the folder cannot be written, or the process that makes the result gives no sign of life.

    Example:
        >>> import tempfile
        >>> def analyse() -> Result:
        ...     print("analysing")
        ...     return Result("/pfa.yaml", "digits", error="The probe is empty.")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     results = [analyse_once(Path(folder), Path("/pfa.yaml"), "digits", analyse) for _ in range(2)]
        analysing
        >>> results[0] == results[1]
        True
    """
    path = folder / f"{_key(config, gate)}.json"
    with _locked(path):
        result = _read(path)
        if result is None:
            result = analyse()
            _write(path, result)
    return result


def results(folder: Path) -> Iterator[Result]:
    """Give all results of a run, by the name of their files.

    Example:
        >>> list(results(Path("/no/such/folder")))
        []
    """
    for path in sorted(folder.glob("*.json")):
        result = _read(path)
        if result is not None:
            yield result


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with ExitStack() as stack:
        with _refusals(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(path.with_suffix(".lock")))
        yield


@contextmanager
def _refusals(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArtifactError(
            f"The verdict cannot be shared with the other tests: {error.strerror or error}.",
            remedy=f"Free some space for {folder.as_posix()}, or point TMPDIR at another disk.",
        ) from error


def _key(config: Path, gate: str) -> str:
    return hashlib.sha256(f"{config}\0{gate}".encode(errors="surrogatepass")).hexdigest()[:24]


def _read(path: Path) -> Result | None:
    """The result in a file, or None where there is none, or none that can be trusted."""
    try:
        data = json.loads(path.read_bytes())
        result = Result(**data)
    except (OSError, ValueError, TypeError):
        return None
    found = (result.record, result.error, result.crash)
    return result if sum(each is not None for each in found) == 1 else None


def _write(path: Path, result: Result) -> None:
    unfinished = path.with_suffix(f".{os.getpid()}")
    with _refusals(path.parent):
        unfinished.write_text(json.dumps(asdict(result)), encoding="utf-8")
        os.replace(unfinished, path)
