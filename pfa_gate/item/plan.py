"""What one pytest run means to do, agreed between its controller and its workers.

PYTEST_DONT_REWRITE
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest


@dataclass(frozen=True)
class Plan:
    """What one run does.

    Args:
        configs: the configs to collect, in order; absolute.
        shared: folder of this run alone, in which its processes share what they found; absolute.
        output: folder for the results of all gates; None for `.pfa` beside each config.
        chosen: the command line names single tests only, so that no gate need be among them.
    """

    configs: tuple[Path, ...]
    shared: Path
    output: Path | None = None
    chosen: bool = False

    def sent(self) -> dict[str, object]:
        """Write it as plain data, for a worker.

        Example:
            >>> plan = Plan((Path("/a/pfa.yaml"),), Path("/tmp/run"))
            >>> Plan.received(plan.sent()) == plan
            True
        """
        output = None if self.output is None else str(self.output)
        configs = [str(path) for path in self.configs]
        return {"configs": configs, "shared": str(self.shared), "output": output, "chosen": self.chosen}

    @classmethod
    def received(cls, data: dict[str, object]) -> Self:
        """Read it from what `sent` wrote."""
        configs, output = data["configs"], data["output"]
        assert isinstance(configs, list)
        return cls(
            configs=tuple(Path(path) for path in configs),
            shared=Path(str(data["shared"])),
            output=None if output is None else Path(str(output)),
            chosen=bool(data["chosen"]),
        )


Watch = Callable[[str, int, int], None]
"""Is told (stage, done, total) while a gate is analysed."""

PLAN = pytest.StashKey[Plan]()
"""Where the plan of a run is kept on its pytest config."""

PROGRESS = pytest.StashKey[Callable[[str], Watch]]()
"""Where there is a terminal to show progress on: gives the watch of the gate with a name."""
