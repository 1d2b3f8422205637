"""Runs under `-n 4` whose workers are killed at random times: none of them passes.

    python tests/benchmarks/killed.py [runs] [seed] [every]

Each run starts on one project and one cache, loses some of its workers to SIGKILL at times drawn from the seed, and is
then looked at: the exit status, the record, the cache. After every fifth (or `every`) an undisturbed run must find all
as it should be.
50 runs unless told otherwise; `tests/plugin/test_killed.py` makes a few of them.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pfa_gate.record import from_dict

NET = """
import time

import torch
from torch import nn


def build(seconds=0.0):
    time.sleep(seconds)
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
"""
CONFIG = """\
version: 1
gates:
  kept:
    model: {factory: net.py:build, arguments: {seconds: 0.3}, checkpoint: net.safetensors}
    probe: {data: probe.npz}
    budgets: {layers: [{match: "*", kl: 1, inactive: 6}], model: {parameters: 1 M, macs: 1 M}}
  also:
    model: {factory: net.py:build, arguments: {seconds: 0.2}, checkpoint: net.safetensors}
    probe: {data: probe.npz}
    budgets: {layers: [{match: "*", kl: 1, inactive: 6}], model: {parameters: 1 M}}
"""
GOING = """
import os
import sys
import time

import pytest

# The workers of xdist: in the tests forks of a process that has imported torch.
sys.executable = os.environ.get("PYTHON_EXEC", sys.executable)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtestloop():
    result = yield
    if "PYTEST_XDIST_WORKER" not in os.environ:
        with open("going.txt", "w") as file:
            file.write(str(time.monotonic()))
    return result
"""
BUDGETS = {"kept": 5, "also": 4}
PREPARE = """
import numpy as np
import torch
from safetensors.torch import save_file
import net

save_file(net.build().state_dict(), "net.safetensors")
np.savez("probe.npz", images=torch.randn(64, 4, generator=torch.Generator().manual_seed(0)).numpy())
"""


@dataclass(frozen=True)
class Killed:
    """What became of one run.

    Attributes:
        status: its exit status.
        workers: how many were killed while the controller still waited for something.
        late: how many were killed after that: they had handed in everything, and only had to go.
        seconds: how long it took.
        faults: what must not be, in words.
    """

    status: int
    workers: int
    late: int
    seconds: float
    faults: tuple[str, ...]


def prepare(folder: Path) -> None:
    """Write a project of two small gates whose every input is a file."""
    (folder / "net.py").write_text(NET)
    (folder / "pfa.yaml").write_text(CONFIG)
    (folder / "pytest.ini").write_text("[pytest]\n")
    (folder / "conftest.py").write_text(GOING)
    python = os.environ.get("PYTHON_EXEC", sys.executable)
    subprocess.run([python, "-c", PREPARE], cwd=folder, check=True)


def start(folder: Path, *arguments: str) -> "subprocess.Popen[bytes]":
    """Start pytest on it, in a group of its own."""
    command = [sys.executable, "-m", "pytest", "-q", "--pfa", "pfa.yaml", "-p", "no:hypothesispytest", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    with (folder / "out.txt").open("wb") as out:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )


def children(parent: int) -> list[int]:
    """The processes that a process started; xdist's workers, of a controller."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] != "Z":
            found.append(int(path.parent.name))
    return sorted(found)


def killed(folder: Path, draw: random.Random, span: float) -> Killed:
    """Run once and kill workers at random times within a span of seconds.

    Args:
        folder: of the project.
        draw: says when, and which.
        span: how long an undisturbed run takes.
    """
    arguments = (
        "-n4",
        *(("--pfa-no-cache",) if draw.random() < 0.8 else ()),
        f"--max-worker-restart={draw.choice((0, 2, 9))}",
    )
    times = sorted(draw.uniform(0.2, span) for _ in range(draw.randint(1, 5)))
    (folder / "going.txt").unlink(missing_ok=True)
    begin, hits = time.monotonic(), list[float]()
    run = start(folder, *arguments)
    for moment in times:
        time.sleep(max(0.0, begin + moment - time.monotonic()))
        workers = children(run.pid)
        if run.poll() is None and workers:
            os.kill(draw.choice(workers), signal.SIGKILL)
            # After it, so that whatever is noted as killed in time was.
            hits.append(time.monotonic())
    try:
        status = run.wait(timeout=180)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        return Killed(-1, len(hits), 0, time.monotonic() - begin, ("it hung",))
    seconds, late = time.monotonic() - begin, sum(hit > _going(folder) for hit in hits)
    passed = ("it passed though a worker was killed",) if status == 0 and late < len(hits) else ()
    return Killed(status, len(hits) - late, late, seconds, (*passed, *faults(folder, status)))


def _going(folder: Path) -> float:
    """When the controller had everything it waited for."""
    try:
        return float((folder / "going.txt").read_text())
    except OSError:
        return float("inf")


def faults(folder: Path, status: int) -> Iterator[str]:
    """What must not be after a run, killed or not."""
    shown = (folder / "out.txt").read_text("utf-8", "replace")
    if "INTERNALERROR" in shown and status == 0:
        yield "an internal error passed"
    for name, count in BUDGETS.items():
        path = folder / ".pfa" / name / "record.json"
        if not path.exists():
            if status == 0:
                yield f"it passed without a record of {name}"
            continue
        try:
            record = from_dict(json.loads(path.read_bytes()))
        except Exception as error:
            yield f"the record of {name} is torn: {error!r}"
            continue
        outcomes = [finding.outcome for finding in record.budgets]
        if outcomes != ["kept"] * count:
            yield f"the record of {name} says {outcomes}"
        if status == 0 and f"{name}  KEPT" not in shown:
            yield f"it passed and reported nothing of {name}"
    for path in (folder / ".pytest_cache" / "d" / "pfa_gate").rglob("[!.]*.json"):
        try:
            json.loads(path.read_bytes())
        except ValueError as error:
            yield f"the cache is torn: {path.name}: {error}"


def healed(folder: Path) -> Iterator[str]:
    """What is wrong with an undisturbed run after a killed one."""
    status = start(folder, "-n2").wait(timeout=180)
    if status:
        yield f"the next run ends with {status}: {(folder / 'out.txt').read_text('utf-8', 'replace')[-2000:]}"
    yield from faults(folder, status)


def main() -> None:
    """Run, print one line each, and fail if anything is as it must not be."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    every = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    draw, wrong, statuses = random.Random(seed), 0, dict[int, int]()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder)
        begin = time.monotonic()
        start(folder, "-n4").wait(timeout=180)
        span = time.monotonic() - begin
        for number in range(count):
            run = killed(folder, draw, span)
            found = (*run.faults, *(healed(folder) if number % every == 0 or run.faults else ()))
            statuses[run.status] = statuses.get(run.status, 0) + 1
            wrong += bool(found)
            words = "; ".join(found) or "whole"
            print(
                f"{number:3}  exit {run.status}  {run.workers} killed, {run.late} late  {run.seconds:5.1f} s  {words}",
                flush=True,
            )
    print(f"{count} runs: exit statuses {dict(sorted(statuses.items()))}; {wrong} with a fault")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
