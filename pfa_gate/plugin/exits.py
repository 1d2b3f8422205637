"""os._exit(0) would end a run at once and with success, before anything is judged: under --pfa it is an error.

PYTEST_DONT_REWRITE
"""

import atexit
import os
import sys
import threading
from typing import NoReturn

_FACT = "os._exit(0) was called, which would have ended the run with success before every budget was judged"
# The function is known by two names: os took it from the module of the system.
_MODULES = (os, sys.modules[os.name])


def succeeds(status: object) -> bool:
    """Whether a process that ends with a status succeeds: systems keep its last eight bits.

    Example:
        >>> succeeds(0), succeeds(None), succeeds(256), succeeds(1), succeeds("a reason")
        (True, True, True, False, False)
    """
    return status is None or (isinstance(status, int | float) and status % 256 == 0)


class Exits:
    """Lets no code of this process end it with success behind pytest's back; other statuses and forks are let through.

    It holds from here until `allow`.
    """

    def __init__(self) -> None:
        self._ends, self._process, self._last = os._exit, os.getpid(), 0
        self._hold()

    def keep(self, status: int) -> None:
        """Hold on to the end of the process, whose status is known: whoever ends it with 0 ends it with this one."""
        self._last = status
        # The last to be registered is the first to run.
        atexit.register(self._hold)

    def allow(self) -> None:
        """Let it be ended as anybody likes."""
        for module in _MODULES:
            vars(module)["_exit"] = self._ends

    def _hold(self) -> None:
        for module in _MODULES:
            vars(module)["_exit"] = self._end

    def _end(self, status: int) -> NoReturn:
        if not succeeds(status) or os.getpid() != self._process:
            self._ends(status)
        if self._last:
            self._ends(self._last)
        if threading.current_thread() is not threading.main_thread():
            self._ends(1)  # an exception would end the thread alone
        raise SystemExit(_FACT)
