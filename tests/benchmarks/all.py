"""Every benchmark of speed and memory, each in processes of its own, and one table: `python tests/benchmarks/all.py`.

    python tests/benchmarks/all.py [--output FOLDER] [name ...]

Each prints what it measures; FOLDER keeps one .json for each, with versions, threads and load. All run on one thread
and count seconds of CPU, so that other work on the machine counts little, but for `warm`, which counts seconds.
`ranks` runs two processes of one thread each.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from rich.table import Table
from surroundings import CONSOLE, FOLDER, Finding, described

NAMES = ("numerics", "dnikit", "floor", "probe", "wide", "memory", "warm", "surgery", "ranks")
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES, metavar="name", help=", ".join(NAMES))
    parser.add_argument("--output", type=Path, default=Path(".pfa") / "benchmarks")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    CONSOLE.print(described())
    environment = os.environ | ONE_THREAD | {FOLDER: str(arguments.output.resolve())}
    failed = []
    for name in arguments.names:
        script = Path(__file__).with_name(f"{name}.py")
        (arguments.output / f"{name}.json").unlink(missing_ok=True)
        failed += [name] * (subprocess.run([sys.executable, script], env=environment, check=False).returncode != 0)
    CONSOLE.print(table(arguments.output, arguments.names))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def table(folder: Path, names: list[str]) -> Table:
    drawn = Table("work", "measure", "measured", "wanted", "")
    for name in names:
        file = folder / f"{name}.json"
        for row in json.loads(file.read_text())["findings"] if file.exists() else ():
            found = Finding(**row)
            mark = {True: "reached", False: "missed", None: ""}[found.reached]
            drawn.add_row(found.work, found.measure, f"{found.value:.3g}", found.wanted, mark)
    return drawn


if __name__ == "__main__":
    main()
