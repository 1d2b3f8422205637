"""How many threads the libraries of a gate start, and how these wait: chosen before torch is loaded."""

import os
import sys
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def choose_threads(workers: int) -> None:
    """Let threads leave busy cores to others while they wait, and start no more than this process has cores for.

    What the user has set stays, and where torch is loaded already nothing is done: it has read these variables.

    Args:
        workers: processes that share the machine, this one included.
    """
    if "torch" in sys.modules:
        return
    # Processes that this one starts inherit them.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    cores = _cores()
    share = cores_for(cores, workers, quota())
    if share < cores:
        os.environ.setdefault("OMP_NUM_THREADS", str(share))
        os.environ.setdefault("OPENBLAS_NUM_THREADS", str(share))


def cores_for(cores: int, workers: int, limit: float | None) -> int:
    """One process's share of the cores, at least one.

    Args:
        cores: those that the scheduler offers.
        workers: processes that share them.
        limit: CPUs that all of them together may use; None where there is no limit.

    Example:
        >>> cores_for(8, 3, None), cores_for(64, 1, 2.5), cores_for(64, 4, 2.0), cores_for(2, 1, None)
        (2, 2, 1, 2)
    """
    return max(1, int(min(cores, limit or cores) // workers))


def quota(groups: Path = _GROUPS, own: Path = _OWN) -> float | None:
    """CPUs that the control group (v2) of this process may use, as a container has one; None without a limit.

    Example:
        >>> quota(Path("nowhere"), Path("nowhere")) is None
        True
    """
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    path = next((line.removeprefix("0::/") for line in lines if line.startswith("0::/")), "")
    folders = [groups / path, *(groups / path).parents]
    limits = [_limit(folder / "cpu.max") for folder in folders if folder.is_relative_to(groups)]
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(file: Path) -> float | None:
    """`max 100000`, or microseconds of CPU and the period in which they may be used."""
    try:
        used, period = file.read_text(encoding="utf-8").split()
        return None if used == "max" else int(used) / int(period)
    except (OSError, ValueError):
        return None  # no such file, as at the root, or not of this version


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
