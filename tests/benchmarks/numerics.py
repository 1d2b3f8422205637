"""Print how exact the covariance is, and how fast analysis and selection are: `python tests/benchmarks/numerics.py`.

Wanted: eigenvalues within 1e-6 of two-pass float64 NumPy at mean / sd = 1e4 from float32 responses,
whatever the batch size; the full removal order of 2,048 filters in under 1 s; `analyse` with its standard errors in
1.5 times what a float64 product of the centred responses and their eigenvalues alone take.

`--threads 1` takes seconds of CPU, which other work on the machine changes little; with more, it is by the clock.
"""

import argparse
import time
from collections.abc import Callable
from itertools import product
from statistics import median

import numpy as np
import torch
from rich.table import Table
from surroundings import CONSOLE, Finding, described, keep
from threadpoolctl import threadpool_limits

from pfa_gate.analysis.covariance import JackknifeFolds, Moments, covariance, merge_all, update
from pfa_gate.analysis.spectrum import Spectrum, analyse, spectrum
from pfa_gate.compress.select import removal_order


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--filters", type=int, nargs="+", default=[64, 128, 256, 512, 1024, 2048])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--floor", action="store_true", help="the analysis beside its floor alone")
    arguments = parser.parse_args()
    CONSOLE.print(described())
    with threadpool_limits(arguments.threads):
        torch.set_num_threads(arguments.threads)
        clock = time.process_time if arguments.threads == 1 else time.perf_counter
        cases = product(arguments.filters, ("float32", "float64"))
        findings = [analysis_over_floor(filters, dtype, arguments.times, clock) for filters, dtype in cases]
        if not arguments.floor:
            CONSOLE.print(accuracy(filters=64, samples=5000))
            CONSOLE.print(speed())
            findings.append(order_over_eigenvalues(4096))
    keep("numerics", findings)


def analysis_over_floor(filters: int, dtype: str, times: int, clock: Callable[[], float]) -> Finding:
    """Medians of several; both sides in turn, the floor at the faster of two libraries' eigenvalues."""
    draw = np.random.default_rng(0)
    scale = np.arange(1, filters + 1) ** -0.5
    wide = (draw.standard_normal((20_000, filters)) * scale) @ draw.standard_normal((filters, filters))
    rows, centred = wide.astype(dtype), wide - wide.mean(axis=0)
    matrix = centred.T @ centred
    work: dict[str, Callable[[], object]] = {
        "product": lambda: centred.T @ centred,
        "NumPy": lambda: np.linalg.eigvalsh(matrix),
        "torch": lambda: torch.linalg.eigvalsh(torch.from_numpy(matrix)),
        "analyse": lambda: analyse(rows),
    }
    taken: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(times + 1):
        for name, each in work.items():
            start = clock()
            each()
            taken[name].append(clock() - start)
    seconds = {name: median(each[1:]) for name, each in taken.items()}  # the first ones warm up
    ratio = seconds["analyse"] / (seconds["product"] + min(seconds["NumPy"], seconds["torch"]))
    told = ", ".join(f"{name} {1e3 * each:,.1f} ms" for name, each in seconds.items())
    CONSOLE.print(f"C = {filters:,}, {dtype}: {told}; analyse takes {ratio:.2f} of its floor")
    wanted = "<= 1.5" if filters >= 256 else ""
    return Finding(f"analyse with errors, C = {filters:,}, {dtype}", "time / (product + eigenvalues)", ratio, wanted)


def order_over_eigenvalues(filters: int, times: int = 5) -> Finding:
    """Medians of several, of seconds of CPU."""
    measured = spectrum(update(Moments.empty(filters), mixed(filters)))
    orders, solves = ([], [])
    for _ in range(times):
        for work, taken in ((removal_order, orders), (eigvalsh, solves)):
            start = time.process_time()
            work(measured)
            taken.append(time.process_time() - start)
    ratio = median(one / other for one, other in zip(orders, solves, strict=True))
    CONSOLE.print(f"C = {filters:,}: the removal order takes {ratio:.3f} of one eigvalsh, median of {times}")
    return Finding(f"selection, C = {filters:,}, full order", "time / one eigenvalue solve", ratio, "<= 0.2")


def accuracy(filters: int, samples: int) -> Table:
    table = Table(title=f"Largest relative error of an eigenvalue, float32, mean / sd = 1e4, C = {filters}")
    for head in ("batch", "update", "Shards", "raw sums in float32", "wanted"):
        table.add_column(head, justify="right")
    rows = (1e4 + np.random.default_rng(0).standard_normal((samples, filters))).astype(np.float32)
    for batch in (1, 7, 32, 500, samples):
        ways = (updated(rows, batch), sharded(rows, batch), raw_sums(rows, batch))
        table.add_row(f"{batch:,}", *(f"{error(way, rows):.1e}" for way in ways), "1.0e-06")
    return table


def updated(rows: np.ndarray, batch: int) -> np.ndarray:
    total = Moments.empty(rows.shape[1])
    for start in range(0, len(rows), batch):
        total = update(total, rows[start : start + batch])
    return covariance(total)


def sharded(rows: np.ndarray, batch: int) -> np.ndarray:
    shards = JackknifeFolds(rows.shape[1])
    for start in range(0, len(rows), batch):
        shards.add(rows[start : start + batch])
    return covariance(merge_all(shards.moments()))


def raw_sums(rows: np.ndarray, batch: int) -> np.ndarray:
    """Sums without centring, for comparison."""
    blocks = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    squares = sum(block.T @ block for block in blocks)
    mean = sum(block.sum(axis=0) for block in blocks) / np.float32(len(rows))
    return (squares - np.float32(len(rows)) * np.outer(mean, mean)) / np.float32(len(rows) - 1)


def error(got: np.ndarray, rows: np.ndarray) -> float:
    wide = rows.astype(np.float64)
    centred = wide - wide.mean(axis=0)
    wanted = np.linalg.eigvalsh(centred.T @ centred / (len(rows) - 1))
    return float(np.abs(np.linalg.eigvalsh(got.astype(np.float64)) / wanted - 1).max())


def speed() -> Table:
    table = Table(title="Seconds, best of 3 (C = 4,096: once)")
    for head in ("C", "responses", "removal order", "one eigvalsh", "8 C rows into Shards", "spectrum"):
        table.add_column(head, justify="right")
    for filters in (256, 1024, 2048, 4096):
        times = 3 if filters <= 2048 else 1
        for name, rows in (("mixed", mixed(filters)), ("all copies", copies(filters))):
            moments = update(Moments.empty(filters), rows)
            measured = spectrum(moments)
            whole = name == "mixed"
            cells = (
                seconds(lambda m=measured: removal_order(m), times),
                seconds(lambda m=measured: eigvalsh(m), times) if whole else "",
                seconds(lambda r=rows: JackknifeFolds(r.shape[1]).add(np.tile(r, (4, 1))), times) if whole else "",
                seconds(lambda m=moments: spectrum(m), times) if whole else "",
            )
            table.add_row(f"{filters:,}", name, *cells)
    return table


def mixed(filters: int) -> np.ndarray:
    draw = np.random.default_rng(0)
    factors = draw.standard_normal((2 * filters, filters // 8)) @ draw.standard_normal((filters // 8, filters))
    return factors + draw.standard_normal(factors.shape)


def copies(filters: int) -> np.ndarray:
    """Every step is a tie: the slowest case."""
    return np.repeat(np.random.default_rng(0).standard_normal((2 * filters, 1)), filters, axis=1)


def eigvalsh(measured: Spectrum) -> torch.Tensor:
    """By torch, which is the faster one for wide layers."""
    return torch.linalg.eigvalsh(torch.from_numpy(measured.covariance))


def seconds(work: Callable[[], object], times: int) -> str:
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return f"{min(taken):.3f}"


if __name__ == "__main__":
    main()
