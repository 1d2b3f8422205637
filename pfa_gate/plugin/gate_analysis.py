"""One analysis per gate and run: the first process that needs it makes it, the others read what it found.

Its result is plain data, which processes share: the record, or in words why there is none.
"""

import hashlib
import json
import os
import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pfa_gate.cache.lock import exclusive_lock
from pfa_gate.cache.verdicts import GateVerdict
from pfa_gate.errors import ArtifactError, PFAGateError

if TYPE_CHECKING:
    from pfa_gate.budget import Context
    from pfa_gate.config import Document
    from pfa_gate.record import Record
    from pfa_gate.record.manifest import Wait

_IN_FILE = re.compile(r"(.+):(\d{1,9}):(\d{1,9})")


@dataclass(frozen=True)
class Result:
    """What the analysis of one gate found; exactly one of record, error and crash is there.

    Args:
        config: path of the config; absolute.
        gate: name of the gate.
        record: the record as plain data.
        error: text of a mistake that the user can correct.
        crash: one line on any other exception.
        test: id of the test that ran the analysis, and so shows the traceback of a crash.
        since: when an earlier run made the record; empty if this one did.
        not_reusable: why later runs cannot use the record; empty if they can.
        remark: why it was measured although nothing changed, or why the next run measures again; empty if neither.
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
            stack.enter_context(exclusive_lock(path.with_suffix(".lock")))
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
    contents = (result.record, result.error, result.crash)
    return result if sum(each is not None for each in contents) == 1 else None


def _write(path: Path, result: Result) -> None:
    unfinished = path.with_suffix(f".{os.getpid()}")
    with _refusals(path.parent):
        unfinished.write_text(json.dumps(asdict(result)), encoding="utf-8")
        os.replace(unfinished, path)


def run_gate(document: "Document", gate: str, context: "Context", output: Path | None, wait: "Wait") -> "Record":
    """Run a gate in this process, and give its record. This imports torch.

    Args:
        document: the config.
        gate: name of the gate.
        context: the baseline, and the day on which waivers are judged.
        output: folder for the results of all gates; None for `.pfa` beside the config.
        wait: since when it is waited for, and what is called as it proceeds.

    Raises:
        PFAGateError: what could not be measured.
    """
    from pfa_gate.pipeline.run import run_document  # noqa: PLC0415  the one import of torch on the light side

    return run_document(document, gate, context, output=output, wait=wait).record


@contextmanager
def _warnings_reported() -> Iterator[None]:
    """Report warnings and raise none: a project's `error` filter is meant for its tests, not for torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        yield


class Attempt:
    """An analysis whose result is shared, and whose exception, if it is no mistake of the user, stays in this process.

    Args:
        config: path of the config.
        gate: name of the gate.
        test: id of the test that attempts it.
        line: of the gate in the config.
    """

    def __init__(self, config: Path, gate: str, test: str, line: int = 1) -> None:
        self.config = config
        self.gate = gate
        self.test = test
        self.line = line
        self.exception: BaseException | None = None

    def result(self, verdict_of: Callable[[], GateVerdict]) -> Result:
        """Turn what `verdict_of` gives or raises into a result."""
        try:
            with _warnings_reported():
                return self._result(**vars(verdict_of()))
        except PFAGateError as error:
            line, column = _position(error, self.config) or (self.line, 0)
            return replace(self._result(error=str(error)), line=line, column=column)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            escapes = isinstance(error, pytest.xfail.Exception | pytest.exit.Exception)
            if escapes or not isinstance(error, Exception | pytest.fail.Exception):
                return self._result(error=_escaped(error))
            self.exception = error
            return self._result(crash="".join(traceback.format_exception_only(error)).strip())

    def _result(self, **found: Any) -> Result:
        return Result(str(self.config), self.gate, test=self.test, line=self.line, **found)


def _position(error: PFAGateError, config: Path) -> tuple[int, int] | None:
    """The innermost line and column in the config that an error names; None where it names none."""
    for where in error.where:
        match = _IN_FILE.fullmatch(where)
        path = Path(os.path.abspath(match[1])) if match else None
        if match and path is not None and (path == config or config.as_posix().endswith(f"/{match[1]}")):
            return int(match[2]), int(match[3])
    return None


def _escaped(error: BaseException) -> str:
    # A skip or an exit that user code asks for must not let the gate pass unmeasured.
    kind = "skip the test" if isinstance(error, pytest.skip.Exception) else f"end by {type(error).__name__}"
    fact = f"Code that the gate called asked to {kind}: {error}."
    return str(PFAGateError(fact, remedy="Let it return, or raise an exception: a gate cannot be skipped."))
