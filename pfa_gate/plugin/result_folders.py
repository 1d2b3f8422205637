"""Which folder each gate of a run writes to: two gates never share one.

PYTEST_DONT_REWRITE
"""

from collections.abc import Callable, Collection
from pathlib import Path

import pytest

from pfa_gate.errors import ConfigError, PFAGateError
from pfa_gate.files import display_path
from pfa_gate.plugin.run_plan import RunPlan

RESULT_FOLDERS = pytest.StashKey["ResultFolders"]()
"""Where the folders of a run are kept on its session."""


class ResultFolders:
    """The folders of a run.

    Args:
        plan: that of the run.
        names: gives the names of a config's gates; may raise what a faulty config raises.
    """

    def __init__(self, plan: RunPlan, names: Callable[[Path], Collection[str]]) -> None:
        self._plan = plan
        self._names = names
        self._known: dict[Path, Collection[str]] = {}
        self._owners: dict[Path, Path] = {}

    def claim(self, config: Path, gate: str) -> Path | None:
        """Take the folder of a gate; its results go into a folder of its name below what is given.

        Args:
            config: path of the config; absolute.
            gate: name of the gate.

        Returns:
            The folder for the results; None for `.pfa` beside the config. It is the one that was asked for, or where
            several configs of the run have a gate of this name, that of the config's place in the repository below.

        Raises:
            ConfigError: another gate writes there.
        """
        output = self._plan.output
        if output is not None and any(gate in self._gates(each) for each in self._plan.configs if each != config):
            output = output / _place(config)
        folder = (output or config.parent / ".pfa") / gate
        owners = self._owners
        for there in (place for place in owners if folder.is_relative_to(place) or place.is_relative_to(folder)):
            if owners[there] != config or there != folder:
                fact = f"Gate '{gate}' of {display_path(config)} writes to {display_path(folder)}, "
                where = "as" if there == folder else f"and to {display_path(there)}"
                raise ConfigError(
                    f"{fact}{where} {display_path(owners[there])} does.",
                    remedy="Run one config at a time, or rename one of the two gates.",
                )
        owners[folder] = config
        return output

    def _gates(self, config: Path) -> Collection[str]:
        if config not in self._known:
            try:
                self._known[config] = self._names(config)
            except (PFAGateError, OSError):
                self._known[config] = ()  # its own collection says why, and fails the run
        return self._known[config]


def _place(config: Path) -> Path:
    """A config's place in its repository; a name of its own where it is not called as all are."""
    from pfa_gate.config.paths import from_root  # noqa: PLC0415  pydantic and yaml come with it

    folder = Path(from_root(config.parent))
    below = folder.relative_to(folder.anchor)
    return below if config.name == "pfa.yaml" else below / config.stem
