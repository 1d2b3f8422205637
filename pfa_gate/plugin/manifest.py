"""The manifest of a run, in each folder of its results: written before the first test, and again at the end.

PYTEST_DONT_REWRITE
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pfa_gate.cache.test_names import listing
from pfa_gate.errors import ArtifactError, PFAGateError
from pfa_gate.files import replacing_file
from pfa_gate.plugin.choice import Budgets
from pfa_gate.plugin.result_folders import ResultFolders
from pfa_gate.plugin.run_plan import RunPlan

if TYPE_CHECKING:
    from pfa_gate.record.manifest import Manifest


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

        for place in self._places():
            require_file(place / MANIFEST, MARK)
            text = write_manifest(replace(self._seen_from(place, left_out), status=status))
            try:
                place.mkdir(parents=True, exist_ok=True)
                with replacing_file(place / MANIFEST) as fresh:
                    fresh.write_text(text, encoding="utf-8", newline="\n")
                    fresh.chmod(0o644)
            except OSError as error:
                fact = f"{(place / MANIFEST).as_posix()} cannot be written: {error.strerror or error}."
                raise ArtifactError(
                    fact, remedy="Free some space, or name another folder with --pfa-output."
                ) from error

    def _places(self) -> list[Path]:
        if self.plan.output is not None:
            return [self.plan.output] if self.plan.configs else []
        return list(dict.fromkeys(config.parent / ".pfa" for config in self.plan.configs))

    def _seen_from(self, place: Path, left_out: Budgets) -> "Manifest":
        from pfa_gate.config.paths import from_root  # noqa: PLC0415  pydantic and yaml come with it
        from pfa_gate.record.manifest import DeclaredGate, Manifest, Unlisted  # noqa: PLC0415

        def declared(each: PlannedGate) -> DeclaredGate:
            away = tuple(name for name in each.budgets if (str(each.config), each.gate, name) in left_out)
            record = Path(os.path.relpath(each.folder, place)) / "record.json"
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
