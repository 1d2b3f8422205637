"""How long pytest takes with a gate that has nothing new to measure, and with one that is only collected.

    python tests/benchmarks/warm.py [runs]

Runs the example gate in a copy of its folder: once cold, then warm; prints the median and the worst of each.
"""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "example_project"
LIMITS = {"warm": 1.0, "--co": 0.5}


def seconds(folder: Path, *arguments: str) -> float:
    """Wall time of one run of pytest."""
    command = [sys.executable, "-m", "pytest", "-q", "--pfa", "pfa.yaml", *arguments]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    taken = time.perf_counter() - start
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return taken


def main() -> None:
    """Measure, print, and fail above a limit."""
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 7
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "example_project"
        shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(".pfa", ".pytest_cache", "__pycache__"))
        print(f"cold  {seconds(folder):.2f} s")
        for name, arguments in {"warm": (), "--co": ("--co",)}.items():
            taken = [seconds(folder, *arguments) for _ in range(times)]
            print(f"{name}  median {statistics.median(taken):.2f} s, worst {max(taken):.2f} s, limit {LIMITS[name]} s")
            if statistics.median(taken) > LIMITS[name]:
                sys.exit(f"{name} is too slow")


if __name__ == "__main__":
    main()
