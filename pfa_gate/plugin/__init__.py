"""What pytest finds by name: options, hooks and the fixture. Nothing else is imported until --pfa is given."""

import os
from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pfa_gate.plugin.fixture import Checks
    from pfa_gate.record import Record

_NEEDS_PFA = {
    "pfa_config": "--pfa-config",
    "pfa_output": "--pfa-output",
    "pfa_no_cache": "--pfa-no-cache",
    "pfa_baseline": "--pfa-baseline",
    "pfa_update_baseline": "--pfa-update-baseline",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options and ini keys."""
    group = parser.getgroup("pfa_gate", "model-quality gate (pfa_gate)")
    group.addoption("--pfa", action="store_true", default=False, help="judge models by the budgets in pfa.yaml")
    group.addoption(
        "--pfa-config",
        action="append",
        metavar="PATH",
        default=[],
        help="run this config instead of searching for pfa.yaml; may be given more than once",
    )
    group.addoption(
        "--pfa-output", metavar="DIR", default=None, help="folder for the results (.pfa beside each config)"
    )
    group.addoption(
        "--pfa-no-cache", action="store_true", default=False, help="measure again even where nothing has changed"
    )
    group.addoption(
        "--pfa-baseline",
        metavar="PATH|git:REF",
        default=None,
        help="compare with this file, or with pfa.baseline.json at the merge base with REF",
    )
    group.addoption(
        "--pfa-update-baseline",
        action="store_true",
        default=False,
        help="write pfa.baseline.json beside each config from what this run measures",
    )
    parser.addini("pfa_baseline", "PATH or git:REF of the baseline (pfa.baseline.json beside pfa.yaml)", default="")
    parser.addini("pfa_no_cache", "measure again even where nothing has changed", type="bool", default=False)
    parser.addini("pfa_config", "configs to run instead of searching for pfa.yaml", type="paths", default=[])
    parser.addini("pfa_output", "folder for the results (.pfa beside each config)", default="")


class GateHooks:
    """Hooks that another plugin may implement, in runs without --pfa too."""

    @staticmethod
    def pytest_pfa_report_section(record: "Record") -> "str | None":
        """Give lines that follow a gate's report on the terminal; None for none.

        Called once for each gate at the end of a run under --pfa, on the controller of xdist. It cannot change a
        verdict; an exception in it is reported, and changes none either.

        Example, in a conftest.py or a plugin of its own::

            def pytest_pfa_report_section(record):
                return f"energy: {record.model.macs * 4.6e-12:.2g} J a sample"
        """


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Declare the hooks that others may implement."""
    pluginmanager.add_hookspecs(GateHooks)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser
) -> Generator[None, object, object]:
    """Under --pfa: observe imports and exits, and take this process's rank where torchrun started several."""
    if not early_config.known_args_namespace.pfa:
        return (yield)
    from pfa_gate.cache.imports import IMPORTS  # noqa: PLC0415  the price is paid only by those who use it
    from pfa_gate.plugin.exit_guard import guarded  # noqa: PLC0415

    IMPORTS.start()
    if os.environ.get("WORLD_SIZE", "1") != "1":
        from pfa_gate.plugin.torchrun import take_seat  # noqa: PLC0415  the price is paid only by those who use it

        take_seat(early_config)
    with guarded(early_config, parser):
        return (yield)


@pytest.fixture(scope="session")
def pfa(tmp_path_factory: pytest.TempPathFactory) -> "Checks":
    """Judge models in tests: `pfa.check(model, batches, kl=0.7)`, `pfa.run("pfa.yaml")`."""
    from pfa_gate.plugin.fixture import checks  # noqa: PLC0415  the price is paid only by those who use it

    return checks(tmp_path_factory)


def pytest_configure(config: pytest.Config) -> None:
    """Bring in the rest of the plugin if --pfa is given.

    Raises:
        UsageError: an option of the gate is given without --pfa.
    """
    if config.getoption("pfa"):
        from pfa_gate.plugin.session import start  # noqa: PLC0415  the price is paid only by those who use it

        start(config)
        return
    for name, option in _NEEDS_PFA.items():
        if config.getoption(name):
            raise pytest.UsageError(f"{option} has no effect without --pfa.")
