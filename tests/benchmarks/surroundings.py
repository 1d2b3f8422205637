"""What every benchmark says of where it ran, and how its findings are kept for one table."""

import json
import os
import platform
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import Console
from threadpoolctl import threadpool_info

CONSOLE = Console(width=110)
FOLDER = "PFA_GATE_BENCHMARKS"


@dataclass(frozen=True)
class Finding:
    """One line of the common table: a measured number, and what was wanted of it (such as `>= 3`), if anything."""

    work: str
    measure: str
    value: float
    wanted: str = ""

    @property
    def reached(self) -> bool | None:
        """Whether the wish is met; None where there is none."""
        if not self.wanted:
            return None
        sign, limit = self.wanted.split()
        return {"<=": self.value <= float(limit), ">=": self.value >= float(limit), "<": self.value < float(limit)}[
            sign
        ]


def surroundings() -> dict[str, object]:
    """Versions, threads, the kernels that BLAS has chosen, and how busy the machine is."""
    pools = threadpool_info()
    return {
        "versions": {"python": platform.python_version()} | dict(_versions("torch", "numpy", "scipy")),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "threads": max((pool["num_threads"] for pool in pools), default=1),
        "kernels": sorted({pool["architecture"] for pool in pools if "architecture" in pool}),
        "load": round(os.getloadavg()[0], 1),
    }


def _versions(*names: str) -> list[tuple[str, str]]:
    found = []
    for name in names:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return found


def described() -> str:
    """The same in one line."""
    here = surroundings()
    versions = ", ".join(f"{name} {number}" for name, number in here["versions"].items())  # type: ignore[attr-defined]
    return f"{versions}; {here['machine']}, {here['threads']} threads, kernels {here['kernels']}, load {here['load']}"


def keep(name: str, findings: list[Finding], **more: object) -> None:
    """Write NAME.json into the folder that `all.py` asks for; nothing where a script runs by itself."""
    if folder := os.environ.get(FOLDER):
        told = {"surroundings": surroundings(), "findings": [asdict(each) for each in findings]} | more
        (Path(folder) / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n")
