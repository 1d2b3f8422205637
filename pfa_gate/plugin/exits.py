"""os._exit(0) would end a run at once and with success, before anything is judged: under --pfa it is an error.

PYTEST_DONT_REWRITE
"""

import os
import threading
from collections.abc import Callable
from typing import NoReturn

_FACT = "os._exit(0) was called, which would have ended the run with success before every budget was judged"


def refuse_success() -> Callable[[], None]:
    """Let no code of this process end it with success behind pytest's back; other statuses and forks are let through.

    Returns:
        Undoes it.
    """
    ends, process = os._exit, os.getpid()

    def end(status: int) -> NoReturn:
        if status % 256 or os.getpid() != process:
            ends(status)
        if threading.current_thread() is not threading.main_thread():
            ends(1)  # an exception would end the thread alone
        raise SystemExit(_FACT)

    os._exit = end

    def undo() -> None:
        os._exit = ends

    return undo
