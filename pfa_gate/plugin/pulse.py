"""Whether the workers of xdist still live.

PYTEST_DONT_REWRITE
"""

import threading
import time
from collections.abc import Iterable
from typing import Any

# What xdist itself waits for a worker that it told to go.
_SECONDS = 10.0


def unresponsive(gateways: Iterable[Any], seconds: float = _SECONDS) -> list[str]:
    """Ask processes, all at once, for a sign of life.

    That a connection is closed is noticed only some time after its process died; an answer proves life.

    Args:
        gateways: of execnet.
        seconds: to wait for the answers.

    Returns:
        ids of those that gave none, in their order.
    """
    living: set[str] = set()
    asked = [(each.id, threading.Thread(target=_ask, args=(each, living), daemon=True)) for each in gateways]
    for _, question in asked:
        question.start()
    end = time.monotonic() + seconds
    for _, question in asked:
        question.join(max(0.0, end - time.monotonic()))
    return [name for name, _ in asked if name not in living]


def _ask(gateway: Any, living: set[str]) -> None:
    try:
        gateway.remote_status()
    except (EOFError, OSError):
        return  # the connection is closed
    living.add(gateway.id)
