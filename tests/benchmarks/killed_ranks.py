"""Two ranks of torchrun, one of them killed at a random time: `python tests/benchmarks/killed_ranks.py [runs] [seed]`.

Every run starts on one project and must end, in bounded time, with a non-zero exit code and a sentence, unless rank 0
had ended the run already; the records it leaves are whole. An undisturbed run at the end must pass. 20 runs unless
told otherwise; `tests/gate/test_torchrun.py` makes one of them.
"""

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

from killed import BUDGETS, children, faults, prepare

LONGEST = 120
TOLD = ("Rank 0 was stopped by SIGTERM", "has given no sign of life", "Signal 9 (SIGKILL) received", "ERROR: --pfa:")


@dataclass(frozen=True)
class Ended:
    """What became of one run.

    Attributes:
        status: its exit status; None where it hung.
        rank: which was killed; None where the run was over before.
        seconds: from the kill to the end.
        faults: what must not be, in words.
    """

    status: int | None
    rank: int | None
    seconds: float
    faults: tuple[str, ...]


def start(folder: Path) -> "subprocess.Popen[bytes]":
    """Two ranks on the project, in a group of their own."""
    ranks = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "pytest"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    environment |= {"PFA_GATE_RANK_SILENCE": "20", "PFA_GATE_RANK_STALL": "60"}
    with (folder / "out.txt").open("wb") as out:
        return subprocess.Popen(
            [*ranks, "-q", "--pfa", "--pfa-no-cache", "pfa.yaml", "-p", "no:hypothesispytest"],
            cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def killed(folder: Path, draw: random.Random, span: float) -> Ended:
    """Run once, and kill a rank within a span of seconds after it was started.

    Args:
        folder: of the project.
        draw: says when, and which.
        span: how long an undisturbed run takes.
    """
    run, rank = start(folder), draw.randrange(2)
    while run.poll() is None and not ranked(run.pid, rank):
        time.sleep(0.05)
    time.sleep(draw.uniform(0.0, span))
    found, moment = ranked(run.pid, rank), time.monotonic()
    for process in found:
        os.kill(process, signal.SIGKILL)
    try:
        status = run.wait(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        return Ended(None, rank, LONGEST, ("it hung",))
    hit = rank if found else None
    wrong = (*faults(folder, status), *unsaid(folder, status, hit))
    return Ended(status, hit, time.monotonic() - moment, wrong)


def ranked(torchrun: int, rank: int) -> list[int]:
    """The process to which torchrun gave a rank, if it lives."""
    found = []
    for process in children(torchrun):
        try:
            if f"RANK={rank}".encode() in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
                found.append(process)
        except OSError:
            continue
    return found


def unsaid(folder: Path, status: int, hit: int | None) -> Iterator[str]:
    """What is wrong with the end of a run one of whose ranks was killed."""
    shown = (folder / "out.txt").read_text("utf-8", "replace")
    if status == 0 and hit is not None:
        yield f"it passed though rank {hit} was killed"
    if status and hit is not None and not any(words in shown for words in TOLD):
        yield "it says nothing of the rank that is gone"


def main() -> None:
    """Run, print one line each, and fail if anything is as it must not be."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    draw, wrong, longest = random.Random(int(sys.argv[2]) if len(sys.argv) > 2 else 0), 0, 0.0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        prepare(folder)
        begin = time.monotonic()
        assert start(folder).wait(timeout=LONGEST) == 0, (folder / "out.txt").read_text()
        span = (time.monotonic() - begin) / 2  # the other half is torchrun's own start
        for number in range(count):
            run = killed(folder, draw, span)
            wrong, longest = wrong + bool(run.faults), max(longest, run.seconds)
            words = "; ".join(run.faults) or "whole"
            print(f"{number:3}  rank {run.rank}  exit {run.status}  {run.seconds:5.1f} s after it  {words}", flush=True)
        assert start(folder).wait(timeout=LONGEST) == 0, (folder / "out.txt").read_text()
        assert not list(faults(folder, 0)), BUDGETS
    print(f"{count} runs, {wrong} with a fault; the longest ended {longest:.1f} s after the kill")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
