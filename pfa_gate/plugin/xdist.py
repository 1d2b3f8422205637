"""The plugin beside xdist: workers collect what the controller found, and the controller sees that they did.

PYTEST_DONT_REWRITE
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pfa_gate.plugin.planning import WORKER_INPUT, plan_of, require_gates


class XdistHooks:
    """Hooks that exist only where xdist does."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.session: pytest.Session | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Keep the session; the hooks of xdist do not name it."""
        self.session = session

    def pytest_configure_node(self, node: Any) -> None:
        """Send the plan to a worker, which knows only the command line it was started with."""
        node.workerinput[WORKER_INPUT] = plan_of(self.config).to_plain()

    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """See that a worker collected a budget.

        Raises:
            UsageError: it did not, and nothing on the command line says why.
        """
        assert self.session is not None
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
