"""What the plugin costs where there is nothing new to measure: a warm run, a listing, a run without --pfa.

    python tests/benchmarks/warm.py [runs]

Runs the example in a copy of its folder, once cold and then in turns with bare pytest, which differs only in what the
plugin adds; prints the median and the worst of each, with bytecode cached as an installed package has it.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from surroundings import Finding, keep

EXAMPLE = Path(__file__).parents[2] / "example_project"
ROWS = {
    "bare --co": ("-p", "no:pfa_gate", "--co", "."),
    "--co without --pfa": ("--co", "."),
    "--co with --pfa": ("--pfa", "--co", "."),
    "warm": ("--pfa", "pfa.yaml"),
}
LIMITS = {"warm": 1.0, "--co with --pfa": 0.5}
UNUSED = """
import sys, time
before = set(sys.modules)
start = time.perf_counter()
import pfa_gate.plugin
print(1000 * (time.perf_counter() - start), len({each for each in set(sys.modules) - before if "pfa" in each}))
"""


def environment() -> dict[str, str]:
    """This one, with bytecode kept."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def seconds(folder: Path, *arguments: str) -> float:
    """Wall time of one run of pytest."""
    command = [sys.executable, "-m", "pytest", "-q", *arguments]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    taken = time.perf_counter() - start
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return taken


def unused() -> tuple[float, int]:
    """Milliseconds to import the plugin beside pytest, as every run does, and how many modules that loads."""
    code = f"import pytest{UNUSED}"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    milliseconds, modules = done.stdout.split()
    return float(milliseconds), int(modules)


def main() -> None:
    """Measure, print, and fail above a limit."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    taken: dict[str, list[float]] = {name: [] for name in ROWS}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "example_project"
        shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".pfa", ".pytest_cache", "__pycache__"))
        print(f"cold                {seconds(folder, *ROWS['warm']):.2f} s")
        for arguments in ROWS.values():
            seconds(folder, *arguments)
        for _ in range(times):
            for name, arguments in ROWS.items():
                taken[name].append(seconds(folder, *arguments))
    plugin = sorted(unused() for _ in range(times))[times // 2]
    print(f"unused plugin       {plugin[0]:.1f} ms, {plugin[1]} modules, limit 3 ms")
    slow = [name for name, limit in LIMITS.items() if statistics.median(taken[name]) > limit]
    for name, values in taken.items():
        limit = f", limit {LIMITS[name]} s" if name in LIMITS else ""
        print(f"{name:<19} median {statistics.median(values):.2f} s, worst {max(values):.2f} s{limit}")
    keep(
        "warm",
        [
            Finding("pytest", f"{name}, s", statistics.median(values), f"< {LIMITS[name]}" if name in LIMITS else "")
            for name, values in taken.items()
        ],
    )
    if slow:
        sys.exit(f"too slow: {', '.join(slow)}")


if __name__ == "__main__":
    main()
