"""Covariance, spectrum, recipe and selection beside DNIKit 2.0.0's PFA: `python tests/benchmarks/dnikit.py --help`.

DNIKit is installed from PyPI into a throw-away environment, with NumPy and SciPy of the versions here, unless --theirs
names the Python of one. Both sides read the same responses in batches of the same sizes and in the same dtypes, and
take turns in processes of their own: with one thread in seconds of CPU, with --threads 2 by the clock. Of float32
responses DNIKit multiplies each batch in float32 and sums in float64; pfa_gate does both in float64, whatever it is
given. *ours* has no standard errors, as DNIKit has none; *with errors* is what a gate takes. What is wanted is that
`analyse`, which is given all responses at once and takes standard errors, is not behind DNIKit at batches of 500.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.table import Table
from surroundings import CONSOLE, Finding, described, keep

WANTED = {64: 1.0, 128: 1.0, 256: 1.0, 512: 1.0, 1024: 1.3, 2048: 1.3}
SAMPLES = 20_000
PLAIN = ("covariance", "spectrum", "recipe", "selection")
COLUMNS = {
    "theirs": ("theirs", PLAIN),
    "ours": ("ours", PLAIN),
    "with errors": ("ours", ("covariance", "errors", "recipe", "selection")),
    "analyse": ("ours", ("analyse", "recipe", "selection")),
}
Case = tuple[str, int]  # dtype, batch
Runs = list[dict[str, dict[Case, dict[str, Any]]]]  # in each turn, side -> case -> seconds of each stage

OURS = """
from pfa_gate.analysis.covariance import JackknifeFolds, merge_all
from pfa_gate.recipe import keep_kl
from pfa_gate.compress.select import choose
from pfa_gate.analysis.spectrum import analyse, spectrum, spectrum_of_folds

def covariance(rows):
    shards = JackknifeFolds(rows.shape[1])
    for start in range(0, len(rows), BATCH):
        shards.add(rows[start : start + BATCH])
    return shards.moments()

stages = {
    "covariance": covariance,
    "spectrum": lambda shards: (spectrum(merge_all(shards)), shards),
    "recipe": lambda found: (*found, keep_kl(found[0])),
    "selection": lambda found: (*found, len(choose(found[0], found[2]))),
    "errors": lambda found: (spectrum_of_folds(found[1]), found[2])[1],
    "analyse": lambda keep: (analyse(GIVEN), keep)[1],
}
"""

THEIRS = """
from dnikit.base import Batch
from dnikit.introspectors import PFA
from dnikit.introspectors._pfa._covariances_calculator import _prepare_covariances

def producer(rows):
    return lambda size: (Batch({"layer": rows[start : start + size]}) for start in range(0, len(rows), size))

def selection(found):
    PFA.UnitSelectionStrategy.L1Max()(covariances=found[1], num_units_to_keep=found[0])
    return found[0]

stages = {
    "covariance": lambda rows: _prepare_covariances(BATCH, producer(rows)),
    "spectrum": lambda held: {name: each._get_result() for name, each in held.items()},
    "recipe": lambda found: (PFA.Strategy.KL()(found)["layer"].recommended_output_count, found["layer"]),
    "selection": selection,
}
"""

TIMED = """
import json, sys, time
import numpy as np
from threadpoolctl import threadpool_info

clock = time.process_time if sys.argv[3] == "1" else time.perf_counter

def run(value):
    global GIVEN
    taken, GIVEN = {}, value
    for name, stage in stages.items():
        start = clock()
        value = stage(value)
        taken[name] = clock() - start
    return taken | {"keep": value}

given, found = np.load(sys.argv[1]), []
for dtype, batch in json.loads(sys.argv[2]):
    rows, BATCH = given.astype(dtype), batch
    run(rows[: 2 * rows.shape[1]])
    found.append(run(rows))
kernels = sorted({pool["architecture"] for pool in threadpool_info() if "architecture" in pool})
print(json.dumps({"runs": found, "kernels": kernels}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = [64, 128, 256, 512, 1024]
    parser.add_argument("--filters", type=int, nargs="+", default=sizes, help="2,048 takes long; 4,096 is ours alone")
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=int, nargs="+", default=[32, 128, 500, 1024])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64"])
    parser.add_argument("--theirs", type=Path, help="a Python that has DNIKit")
    arguments = parser.parse_args()
    CONSOLE.print(described())
    kind = "of CPU, one thread" if arguments.threads == 1 else f"by the clock, {arguments.threads} threads"
    drawn = Table(
        title=f"Milliseconds {kind}, medians of {arguments.times}, {SAMPLES:,} responses; in brackets: theirs over it"
    )
    for head in ("C", "dtype", "batch", "keep", *COLUMNS):
        drawn.add_column(head, justify="right")
    findings, cases = list[Finding](), list(product(arguments.dtypes, arguments.batches))
    with tempfile.TemporaryDirectory() as place:
        python = arguments.theirs or theirs_installed(Path(place) / "dnikit")
        for filters in arguments.filters:
            file = Path(place) / "rows.npy"
            np.save(file, responses(filters))
            theirs = python if filters in WANTED else None
            found = [measured(theirs, file, cases, arguments.threads) for _ in range(arguments.times)]
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


def measured(python: Path | None, file: Path, cases: list[Case], threads: int) -> dict[str, dict[Case, dict[str, Any]]]:
    """One run of each side over all cases, in turn."""
    sides = {"ours": (sys.executable, OURS)} | ({"theirs": (python, THEIRS)} if python else {})
    return {
        side: timed([str(command), "-c", code + TIMED], file, cases, threads) for side, (command, code) in sides.items()
    }


def timed(python: list[str], file: Path, cases: list[Case], threads: int) -> dict[Case, dict[str, Any]]:
    unset = {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"}  # each side's BLAS chooses for itself
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    # Python looks into the current folder first, where this file is called dnikit too.
    command = [*python, str(file), json.dumps(cases), str(threads)]
    done = subprocess.run(command, cwd=file.parent, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(file.stat().st_size // SAMPLES // 4, python[0], found["kernels"], flush=True)
    return dict(zip(cases, found["runs"], strict=True))


def told(drawn: Table, filters: int, found: Runs) -> list[Finding]:
    """Rows of the table, one for each case, and what is to be kept of them."""
    seconds = {name: medians(found, side, stages) for name, (side, stages) in COLUMNS.items() if side in found[0]}
    for dtype, batch in seconds["ours"]:
        counts = sorted({each[dtype, batch]["keep"] for each in found[0].values()})
        here = {name: each[dtype, batch] for name, each in seconds.items()}
        drawn.add_row(f"{filters:,}", dtype, f"{batch:,}", " or ".join(map(str, counts)), *cells(here))
    drawn.add_section()
    findings = []
    for dtype, batch in seconds["ours"]:
        here = {name: each[dtype, batch] for name, each in seconds.items()}
        work = f"C = {filters:,}, {dtype}, batches of {batch}"
        findings.append(Finding(f"numerics, {work}", "seconds with standard errors", here["with errors"]))
        if "theirs" in here:
            wanted = f">= {WANTED[filters]}" if batch == 500 else ""
            findings.append(Finding(f"DNIKit, {work}", "theirs / analyse", here["theirs"] / here["analyse"], wanted))
            findings.append(Finding(f"DNIKit, {work}", "theirs / ours", here["theirs"] / here["ours"]))
    return findings


def medians(found: Runs, side: str, stages: Iterable[str]) -> dict[Case, float]:
    return {case: median(sum(each[side][case][stage] for stage in stages) for each in found) for case in found[0][side]}


def cells(seconds: Mapping[str, float]) -> list[str]:
    told = []
    for name in COLUMNS:
        over = f" ({seconds['theirs'] / seconds[name]:.2f})" if name != "theirs" and "theirs" in seconds else ""
        told.append(f"{1e3 * seconds[name]:.1f}{over}" if name in seconds else "")
    return told


if __name__ == "__main__":
    main()
