"""Configs for the tests of the plugin, and what the fake gate was asked."""

from collections.abc import Callable

import pytest

Pfa = Callable[..., pytest.RunResult]
"""Runs `pytest --pfa` with more arguments, in a process of its own."""

ONE_TEST = "def test_passes():\n    pass\n"


def gate(budgets: str = "layers: [{match: '*', kl: 0.7}]", arguments: str = "{}", name: str = "digits") -> str:
    """One gate, as it stands below `gates:`."""
    return (
        f"  {name}:\n"
        f"    model: {{factory: net:build, arguments: {arguments}}}\n"
        f"    probe: {{data: net:probe}}\n"
        f"    budgets: {{{budgets}}}\n"
    )


def config(*gates: str) -> str:
    """A whole config; one gate with one limit unless others are given."""
    return "version: 1\ngates:\n" + "".join(gates or [gate()])


def runs(project: pytest.Pytester, folder: str = ".") -> list[str]:
    """What the fake gate was asked to run, one line a run."""
    log = project.path / folder / "runs.log"
    return log.read_text().splitlines() if log.exists() else []
