"""What the command line of this run chose, told from what ini files, PYTEST_ADDOPTS and plugins add to every run.

PYTEST_DONT_REWRITE
"""

import os
from collections.abc import Generator, Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from pfa_gate.plugin.choice import Budgets, Choice, absolute_ids, share_left_out
from pfa_gate.plugin.nodes import BudgetItem
from pfa_gate.plugin.run_plan import RunPlan

PARSER = pytest.StashKey[pytest.Parser]()
"""Where the parser of the options is kept on pytest's config."""

LOOKS = ("collectonly", "showfixtures", "show_fixtures_per_test", "markers", "cacheshow", "help", "version")


def choice_of(config: pytest.Config) -> Choice:
    """Read what was chosen for this run alone: the arguments that pytest was called with, and nothing else."""
    parser = config.stash.get(PARSER, None)
    if parser is None:
        return Choice()
    given = parser.parse_known_args(list(config.invocation_params.args))
    return Choice(
        keyword=str(getattr(given, "keyword", None) or ""),
        mark=str(getattr(given, "markexpr", None) or ""),
        arguments=absolute_ids(given.file_or_dir, config.invocation_params.dir),
        only_lists=any(getattr(given, name, None) for name in LOOKS),
    )


def added(config: pytest.Config, choice: Choice) -> str:
    """Name the selections in force that are no choice of this run, for a remedy; empty if there are none."""
    options = {"-k": ("keyword", choice.keyword), "-m": ("markexpr", choice.mark)}
    values = {name: str(getattr(config.option, key, None) or "") for name, (key, _) in options.items()}
    found = [f"{name} '{values[name]}'" for name, (_, chosen) in options.items() if values[name] not in ("", chosen)]
    return " and ".join(found)


class LeftOutBudgets:
    """Notes, in each process that collects, which budgets pytest leaves out as the command line chose.

    Args:
        config: of this process.
        plan: that of the run.
    """

    def __init__(self, config: pytest.Config, plan: RunPlan) -> None:
        self.config = config
        self.plan = plan

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None, object, object]:
        """Compare what is left with what was collected; what else took a budget away was no choice."""
        before = [item for item in items if isinstance(item, BudgetItem)]
        result = yield
        left = set(items)
        gone = [item for item in before if item not in left]
        process = os.environ.get("PYTEST_XDIST_WORKER", "main")
        share_left_out(self.plan.shared, process, self._chosen(gone))
        return result

    def _chosen(self, gone: Iterable[BudgetItem]) -> Budgets:
        marks: Any = self.config.pluginmanager.get_plugin("mark")
        items = list(gone)
        if marks is None or not items:
            return frozenset()
        kept = list(items)
        # pytest's own reading of -k and -m, asked with what the command line says and without telling anybody.
        marks.pytest_collection_modifyitems(items=kept, config=_Asked(self.config, self.plan.choice))
        return frozenset(item.place for item in items if item not in kept)


class _Asked:
    """pytest's config as its marks read it, but for the expressions."""

    def __init__(self, config: pytest.Config, choice: Choice) -> None:
        self._config = config
        self.option = SimpleNamespace(**{**vars(config.option), "keyword": choice.keyword, "markexpr": choice.mark})
        self.hook = SimpleNamespace(pytest_deselected=lambda items: None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._config, name)
