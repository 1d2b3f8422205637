"""Covariance, spectrum, recipe and selection beside DNIKit 2.0.0's PFA: `python tests/benchmarks/dnikit.py --help`.

DNIKit is installed from PyPI into a throw-away environment, with NumPy and SciPy of the versions here. Both sides read
the same float32 responses, each in batches of its own default size (32 and 128) unless --batch gives both the same,
and take turns in processes of their own with one thread; seconds are of CPU. Ours gives standard errors, which DNIKit
has not: they are timed apart.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.table import Table
from surroundings import CONSOLE, Finding, described, keep

WANTED = {64: 1.5, 128: 1.5, 256: 1.5, 512: 1.5, 1024: 3.0, 2048: 8.0}
SAMPLES = 20_000
DEFAULTS = {"ours": 128, "theirs": 32}

OURS = """
from pfa_gate.covariance import Shards, merge_all
from pfa_gate.recipe import keep_kl
from pfa_gate.selection import choose
from pfa_gate.spectrum import spectrum, spectrum_of_shards

def covariance(rows):
    shards = Shards(rows.shape[1])
    for start in range(0, len(rows), BATCH):
        shards.add(rows[start : start + BATCH])
    return shards.moments()

stages = {
    "covariance": covariance,
    "spectrum": lambda shards: (spectrum(merge_all(shards)), shards),
    "recipe": lambda found: (*found, keep_kl(found[0])),
    "selection": lambda found: (*found, len(choose(found[0], found[2]))),
    "errors": lambda found: (spectrum_of_shards(found[1]), found[2])[1],
}
"""

THEIRS = """
from dnikit.base import Batch
from dnikit.introspectors import PFA
from dnikit.introspectors._pfa._covariances_calculator import _prepare_covariances

def producer(rows):
    return lambda size: (Batch({"layer": rows[start : start + size]}) for start in range(0, len(rows), size))

def selection(found):
    keep = PFA.Strategy.KL()(found)["layer"].recommended_output_count
    PFA.UnitSelectionStrategy.L1Max()(covariances=found["layer"], num_units_to_keep=keep)
    return keep

stages = {
    "covariance": lambda rows: _prepare_covariances(BATCH, producer(rows)),
    "spectrum": lambda held: {name: each._get_result() for name, each in held.items()},
    "recipe": lambda found: (PFA.Strategy.KL()(found), found)[1],
    "selection": selection,
}
"""

TIMED = """
import json, sys, time
import numpy as np
from threadpoolctl import threadpool_info

def run(value):
    taken = {}
    for name, stage in stages.items():
        start = time.process_time()
        value = stage(value)
        taken[name] = time.process_time() - start
    return taken | {"keep": value}

rows = np.load(sys.argv[1])
run(rows[:200, :32])
kernels = sorted({pool["architecture"] for pool in threadpool_info() if "architecture" in pool})
print(json.dumps(run(rows) | {"kernels": kernels}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filters", type=int, nargs="+", default=[*WANTED, 4096], help="4,096 is ours alone")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--batch", type=int, help="of both sides")
    arguments = parser.parse_args()
    batches = {side: arguments.batch or default for side, default in DEFAULTS.items()}
    CONSOLE.print(described())
    drawn = Table(title=f"Median seconds of CPU of {arguments.times}, {SAMPLES:,} responses")
    for head in ("C", "side", "covariance", "spectrum", "recipe", "selection", "total", "ratio", "wanted"):
        drawn.add_column(head, justify="right")
    findings = []
    with tempfile.TemporaryDirectory() as place:
        python = theirs_installed(Path(place) / "dnikit")
        for filters in arguments.filters:
            file = Path(place) / "rows.npy"
            np.save(file, responses(filters))
            found = [measured(python if filters in WANTED else None, file, batches) for _ in range(arguments.times)]
            findings += told(drawn, filters, found)
    CONSOLE.print(drawn)
    keep("dnikit", findings)


def theirs_installed(folder: Path) -> Path:
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    same = [f"{name}=={version(name)}" for name in ("numpy", "scipy", "threadpoolctl")]
    subprocess.run([python, "-m", "pip", "install", "-q", "dnikit==2.0.0", *same], check=True)
    return python


def responses(filters: int) -> np.ndarray:
    """float32, with a spectrum that falls as 1 / i: about a quarter of the filters can go, as in trained networks."""
    draw = np.random.default_rng(0)
    scale = np.arange(1, filters + 1, dtype=np.float32) ** -0.5
    mixed = draw.standard_normal((SAMPLES, filters), np.float32) * scale
    return mixed @ draw.standard_normal((filters, filters), np.float32)


def measured(python: Path | None, file: Path, batches: dict[str, int]) -> dict[str, dict[str, Any]]:
    """One run of each side, in turn."""
    sides = {"ours": (sys.executable, OURS)} | ({"theirs": (python, THEIRS)} if python else {})
    return {
        side: timed(command, f"BATCH = {batches[side]}\n{code}{TIMED}", file) for side, (command, code) in sides.items()
    }


def timed(python: Path | str, code: str, file: Path) -> dict[str, Any]:
    unset = {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"}  # each side's BLAS chooses for itself
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    # Python looks into the current folder first, where this file is called dnikit too.
    done = subprocess.run(
        [python, "-c", code, file], cwd=file.parent, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def told(drawn: Table, filters: int, found: list[dict[str, dict[str, Any]]]) -> list[Finding]:
    plain = ("covariance", "spectrum", "recipe", "selection")
    sums = {side: [total(each[side], plain) for each in found] for side in found[0]}
    for side, runs in sums.items():
        cells = (f"{median(total(each[side], [stage]) for each in found):.4f}" for stage in plain)
        name = f"{side}, keeps {found[0][side]['keep']}, {'/'.join(found[0][side]['kernels'])}"
        drawn.add_row(f"{filters:,}", name, *cells, f"{median(runs):.4f}")
    with_errors = [total(each["ours"], ("covariance", "errors", "recipe", "selection")) for each in found]
    row = Finding(f"numerics, C = {filters:,}", "seconds with standard errors", median(with_errors))
    if "theirs" not in sums:
        return [row]
    ratio = median(one / other for one, other in zip(sums["theirs"], sums["ours"], strict=True))
    whole = median(one / other for one, other in zip(sums["theirs"], with_errors, strict=True))
    wanted = f">= {WANTED[filters]}"
    drawn.add_row("", "theirs / ours", *[""] * 5, f"{ratio:.2f}", wanted)
    drawn.add_row("", "with standard errors", *[""] * 4, f"{median(with_errors):.4f}", f"{whole:.2f}", "")
    drawn.add_section()
    return [
        Finding(f"DNIKit, C = {filters:,}", "total, theirs / ours", ratio, wanted),
        Finding(f"DNIKit, C = {filters:,}", "the same, ours with standard errors", whole),
    ]


def total(side: dict[str, Any], stages: Iterable[str]) -> float:
    return sum(float(side[stage]) for stage in stages)


if __name__ == "__main__":
    main()
