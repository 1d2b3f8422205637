"""What one pytest run means to do, agreed between its controller and its workers.

PYTEST_DONT_REWRITE
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest

from pfa_gate.plugin.choice import Choice
from pfa_gate.record.progress import Progress


@dataclass(frozen=True)
class RunPlan:
    """What one run does.

    Args:
        configs: the configs to collect, in order; absolute.
        shared: folder of this run alone, in which its processes share what they found; absolute.
        output: folder for the results of all gates; None for `.pfa` beside each config.
        names_tests_only: the command line names single tests only, so that no gate need be among them.
        cache: folder of what earlier runs found; absolute; None for none.
        baseline: an absolute path or `git:REF`; empty for the file beside each config.
        updating: this run writes the baseline.
        run: the run's token; its records and its manifest bear it.
        choice: what the command line of this run chose.
    """

    configs: tuple[Path, ...]
    shared: Path
    output: Path | None = None
    names_tests_only: bool = False
    cache: Path | None = None
    baseline: str = ""
    updating: bool = False
    run: str = ""
    choice: Choice = field(default_factory=Choice)

    def context(self) -> dict[str, str]:
        """What verdicts depend on beside the config and the files it names.

        Example:
            >>> RunPlan((), Path("/tmp/run"), output=Path("/out")).context()
            {'output': '/out', 'updating': 'False'}
        """
        return {"output": "" if self.output is None else str(self.output), "updating": str(self.updating)}

    def to_plain(self) -> dict[str, object]:
        """Write it as plain data, for a worker.

        Example:
            >>> plan = RunPlan((Path("/a/pfa.yaml"),), Path("/tmp/run"))
            >>> RunPlan.from_plain(plan.to_plain()) == plan
            True
        """
        places = {"shared": self.shared, "output": self.output, "cache": self.cache}
        plain = {name: None if path is None else str(path) for name, path in places.items()}
        return {"configs": [str(path) for path in self.configs], **self._flags(), **plain}

    def _flags(self) -> dict[str, object]:
        flags = {"names_tests_only": self.names_tests_only, "baseline": self.baseline, "updating": self.updating}
        return {**flags, "run": self.run, "choice": self.choice.to_plain()}

    @classmethod
    def from_plain(cls, data: dict[str, object]) -> Self:
        """Read it from what `to_plain` wrote."""
        configs = data["configs"]
        assert isinstance(configs, list)
        output, cache = (None if data[name] is None else Path(str(data[name])) for name in ("output", "cache"))
        return cls(
            configs=tuple(Path(path) for path in configs),
            shared=Path(str(data["shared"])),
            output=output,
            names_tests_only=bool(data["names_tests_only"]),
            cache=cache,
            baseline=str(data["baseline"]),
            updating=bool(data["updating"]),
            run=str(data["run"]),
            choice=Choice.from_plain(data["choice"]),
        )


Analysis = Callable[..., dict[str, object]]
"""Runs a gate and gives its record as plain data: `analyse`, or what stands in for it."""

PLAN = pytest.StashKey[RunPlan]()
"""Where the plan of a run is kept on its pytest config."""

PROGRESS = pytest.StashKey[Callable[[str], Progress]]()
"""Where there is a terminal to show progress on: gives that of the gate with a name."""

ANALYSIS = pytest.StashKey[Analysis]()
"""What to call in place of `analyse`, where this process does not measure alone."""
