"""The door to torch: runs a gate and puts whatever comes of it into words that cross processes.

PYTEST_DONT_REWRITE
"""

import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pfa_gate.errors import PFAGateError
from pfa_gate.item.once import Result
from pfa_gate.item.plan import Watch
from pfa_gate.item.store import Verdict

if TYPE_CHECKING:
    from pfa_gate.budget import Context
    from pfa_gate.config import Document


def analyse(
    document: "Document", gate: str, output: Path | None, context: "Context", watch: Watch | None
) -> dict[str, object]:
    """Run a gate and give its record as plain data. This imports torch.

    Args:
        document: the config.
        gate: name of the gate.
        output: folder for the results of all gates; None for `.pfa` beside the config.
        context: the baseline, and the day on which waivers are judged.
        watch: is told how far the analysis is.

    Raises:
        PFAGateError: what could not be measured.
    """
    from pfa_gate.gate import carried_out  # noqa: PLC0415  the one import of torch on the light side
    from pfa_gate.record import to_dict  # noqa: PLC0415

    return to_dict(carried_out(document, gate, context, output=output, progress=watch).record)


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
    """

    def __init__(self, config: Path, gate: str, test: str) -> None:
        self.config = config
        self.gate = gate
        self.test = test
        self.exception: BaseException | None = None

    def result(self, verdict_of: Callable[[], Verdict]) -> Result:
        """Turn what `verdict_of` gives or raises into a result."""
        try:
            with _warnings_reported():
                return Result(str(self.config), self.gate, test=self.test, **vars(verdict_of()))
        except PFAGateError as error:
            return Result(str(self.config), self.gate, error=str(error), test=self.test)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            escapes = isinstance(error, pytest.xfail.Exception | pytest.exit.Exception)
            if escapes or not isinstance(error, Exception | pytest.fail.Exception):
                return Result(str(self.config), self.gate, error=_escaped(error), test=self.test)
            self.exception = error
            words = "".join(traceback.format_exception_only(error)).strip()
            return Result(str(self.config), self.gate, crash=words, test=self.test)


def _escaped(error: BaseException) -> str:
    # A skip or an exit that user code asks for must not let the gate pass unmeasured.
    kind = "skip the test" if isinstance(error, pytest.skip.Exception) else f"end by {type(error).__name__}"
    fact = f"Code that the gate called asked to {kind}: {error}."
    return str(PFAGateError(fact, remedy="Let it return, or raise an exception: a gate cannot be skipped."))
