"""The door to torch: runs a gate and puts whatever comes of it into words that cross processes.

PYTEST_DONT_REWRITE
"""

import os
import re
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pfa_gate.cache.verdicts import GateVerdict
from pfa_gate.errors import PFAGateError
from pfa_gate.plugin.shared_results import Result

if TYPE_CHECKING:
    from pfa_gate.budget import Context
    from pfa_gate.config import Document
    from pfa_gate.record.progress import Wait

_IN_FILE = re.compile(r"(.+):(\d{1,9}):(\d{1,9})")


def analyse(
    document: "Document", gate: str, output: Path | None, context: "Context", wait: "Wait"
) -> dict[str, object]:
    """Run a gate and give its record as plain data. This imports torch.

    Args:
        document: the config.
        gate: name of the gate.
        output: folder for the results of all gates; None for `.pfa` beside the config.
        context: the baseline, and the day on which waivers are judged.
        wait: since when it is waited for, and who is told how far it is.

    Raises:
        PFAGateError: what could not be measured.
    """
    if wait.progress is not None:
        wait.progress("importing", 0, 1)
    from pfa_gate.pipeline.run import run_document  # noqa: PLC0415  the one import of torch on the light side
    from pfa_gate.record import to_dict  # noqa: PLC0415

    return to_dict(run_document(document, gate, context, output=output, wait=wait).record)


@contextmanager
def _warnings_reported() -> Iterator[None]:
    """Let warnings be warnings: a project's `error` filter is meant for its tests, not for torch."""
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        yield


class Attempt:
    """An analysis whose result is shared, and whose exception, if nobody foresaw it, is kept for here.

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
            line, column = _place(error, self.config) or (self.line, 0)
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


def _place(error: PFAGateError, config: Path) -> tuple[int, int] | None:
    """Line and column of the innermost place in the config that an error names; None where it names none."""
    for where in error.where:
        found = _IN_FILE.fullmatch(where)
        path = Path(os.path.abspath(found[1])) if found else None
        if found and path is not None and (path == config or config.as_posix().endswith(f"/{found[1]}")):
            return int(found[2]), int(found[3])
    return None


def _escaped(error: BaseException) -> str:
    # A skip or an exit that user code asks for must not let the gate pass unmeasured.
    kind = "skip the test" if isinstance(error, pytest.skip.Exception) else f"end by {type(error).__name__}"
    fact = f"Code that the gate called asked to {kind}: {error}."
    return str(PFAGateError(fact, remedy="Let it return, or raise an exception: a gate cannot be skipped."))
