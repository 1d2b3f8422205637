"""The plugin beside xdist: workers collect what the controller found, and the controller sees that they did."""

import os
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pfa_gate.plugin.run_plan import WORKER_INPUT, plan_of, require_gates

# As long as xdist itself waits for a worker that is to end.
_SECONDS = 10.0


def is_worker(config: pytest.Config) -> bool:
    """Whether this process is a worker of xdist."""
    return hasattr(config, "workerinput")


def has_workers(config: pytest.Config) -> bool:
    """Whether this process is to start workers of xdist."""
    asked = config.getoption("numprocesses", None) or config.getoption("tx", None)
    return bool(asked) and not is_worker(config)


def collects_elsewhere(config: pytest.Config) -> bool:
    """Whether what this process collects, if anything, is judged by or in another."""
    return is_worker(config) or config.pluginmanager.hasplugin("dsession")


class XdistHooks:
    """Hooks that exist only where xdist does.

    Args:
        session: that of this process; the hooks of xdist do not name it.
    """

    def __init__(self, session: pytest.Session) -> None:
        self.session = session
        self.config = session.config

    def pytest_configure_node(self, node: Any) -> None:
        """Send the plan to a worker, which knows only the command line it was started with."""
        node.workerinput[WORKER_INPUT] = plan_of(self.config).to_plain()

    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """See that a worker collected a budget.

        Raises:
            UsageError: it did not, and nothing on the command line says why.
        """
        require_gates(self.session, any(self._is_budget(each) for each in ids))

    def _is_budget(self, test_id: str) -> bool:
        path, separator, _ = test_id.partition("::")
        root = self.config.rootpath
        absolute = Path(os.path.abspath(root / path))
        # The id of a file outside rootdir begins at the argument it was found by.
        return bool(separator) and any(
            config == absolute or (not config.is_relative_to(root) and config.as_posix().endswith(path))
            for config in plan_of(self.config).configs
        )


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
