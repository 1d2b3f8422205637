"""What a run leaves on disk: the folder of each gate's results, and the manifest of the run.

Two gates never share a folder. The manifest is written before the first test, and again at the end.
"""

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pfa_gate.cache.test_names import listing
from pfa_gate.errors import ArtifactError, ConfigError, PFAGateError
from pfa_gate.files import display_path, replace_text
from pfa_gate.plugin.command_line import Budgets
from pfa_gate.plugin.discovery import NAME
from pfa_gate.plugin.run_plan import RunPlan

if TYPE_CHECKING:
    from pfa_gate.record.manifest import Manifest

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
            output = output / _path_in_repository(config)
        folder = (output or config.parent / ".pfa") / gate
        owners = self._owners
        for other in (each for each in owners if folder.is_relative_to(each) or each.is_relative_to(folder)):
            if owners[other] != config or other != folder:
                fact = f"Gate '{gate}' of {display_path(config)} writes to {display_path(folder)}, "
                where = "as" if other == folder else f"and to {display_path(other)}"
                raise ConfigError(
                    f"{fact}{where} {display_path(owners[other])} does.",
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


def _path_in_repository(config: Path) -> Path:
    """A config's folder, from its repository; and below it the config's name where that is not pfa.yaml."""
    from pfa_gate.config.paths import from_root  # noqa: PLC0415  pydantic and yaml come with it

    folder = Path(from_root(config.parent))
    below = folder.relative_to(folder.anchor)
    return below if config.name == NAME else below / config.stem


@dataclass(frozen=True)
class PlannedGate:
    """A gate that a run is to judge.

    Attributes:
        config: path of its config; absolute.
        gate: its name.
        folder: that of its results; absolute.
        budgets: all that it declares.
    """

    config: Path
    gate: str
    folder: Path
    budgets: tuple[str, ...]


@dataclass(frozen=True)
class Manifests:
    """What a run writes of itself.

    Attributes:
        plan: that of the run.
        begun: when it began.
        gates: of all its configs.
        unlisted: configs that do not hold, and why.
    """

    plan: RunPlan
    begun: str
    gates: tuple[PlannedGate, ...] = ()
    unlisted: tuple[tuple[Path, str], ...] = ()

    def write(self, status: int | None = None, left_out: Budgets = frozenset()) -> None:
        """Write it into each folder of results.

        Args:
            status: with which the run has come to its end; None before.
            left_out: budgets that its command line chose away.

        Raises:
            ArtifactError: one cannot be written, a file of somebody else bears its name, or a link leads out of the
                project.
        """
        from pfa_gate.record.manifest import MANIFEST, MARK, write_manifest  # noqa: PLC0415
        from pfa_gate.report.ownership import require_file  # noqa: PLC0415  a listing writes none

        for folder in self._folders():
            path = folder / MANIFEST
            require_file(path, MARK)
            text = write_manifest(replace(self._seen_from(folder, left_out), status=status))
            try:
                folder.mkdir(parents=True, exist_ok=True)
                replace_text(path, text)
            except OSError as error:
                fact = f"{path.as_posix()} cannot be written: {error.strerror or error}."
                remedy = "Free some space, or name another folder with --pfa-output."
                raise ArtifactError(fact, remedy=remedy) from error

    def _folders(self) -> list[Path]:
        if self.plan.output is not None:
            return [self.plan.output] if self.plan.configs else []
        return list(dict.fromkeys(config.parent / ".pfa" for config in self.plan.configs))

    def _seen_from(self, folder: Path, left_out: Budgets) -> "Manifest":
        from pfa_gate.config.paths import from_root  # noqa: PLC0415  pydantic and yaml come with it
        from pfa_gate.record.manifest import DeclaredGate, Manifest, Unlisted  # noqa: PLC0415

        def declared(each: PlannedGate) -> DeclaredGate:
            away = tuple(name for name in each.budgets if (str(each.config), each.gate, name) in left_out)
            record = Path(os.path.relpath(each.folder, folder)) / "record.json"
            return DeclaredGate(from_root(each.config), each.gate, record.as_posix(), each.budgets, away)

        gates = tuple(declared(each) for each in self.gates)
        unlisted = tuple(Unlisted(from_root(path), reason) for path, reason in self.unlisted)
        return Manifest(self.plan.run, self.begun, None, gates, unlisted)


def begin_manifests(plan: RunPlan, config: pytest.Config) -> Manifests:
    """Write of a run that it has begun, so that no earlier one's records count for it; looking writes nothing."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if plan.choice.only_lists:
        return Manifests(plan, now)
    manifests = Manifests(plan, now, *_listed(plan, config.rootpath))
    # What is in the way now is in the way at the end, where it fails the run; the budgets say what they know of it.
    with suppress(ArtifactError):
        manifests.write()
    return manifests


def _listed(plan: RunPlan, root: Path) -> tuple[tuple[PlannedGate, ...], tuple[tuple[Path, str], ...]]:
    folders = ResultFolders(plan, lambda path: listing(path, root, plan.cache))
    gates: list[PlannedGate] = []
    unlisted: list[tuple[Path, str]] = []
    for config in plan.configs:
        try:
            gates += list(_gates(config, root, plan, folders))
        except (PFAGateError, OSError) as error:
            unlisted.append((config, str(error)))  # its collection says so too, and fails the run
    return tuple(gates), tuple(unlisted)


def _gates(config: Path, root: Path, plan: RunPlan, folders: ResultFolders) -> Iterator[PlannedGate]:
    for name, budgets in listing(config, root, plan.cache).items():
        output = folders.claim(config, name) or config.parent / ".pfa"
        yield PlannedGate(config, name, output / name, tuple(budgets))
