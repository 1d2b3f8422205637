"""Two ranks of a real torchrun are judged as one process would be; whatever one of them does, none passes wrongly."""

import importlib
import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from machines import GATE, PAPER, PROJECT, assert_same, plain

import pfa_gate

pytestmark = pytest.mark.slow

MORE_CODE = """

def own(model, batches):
    import os

    open(f"metric-{os.environ['RANK']}", "a").close()
    with torch.no_grad():
        return float(sum(model(*batch.args).sum() for batch in batches))


class Torn(Noisy):
    '''Its second rank cannot read it.'''

    def __getitem__(self, index):
        import os

        if os.environ.get("RANK") == "1" and index == 250:
            raise OSError("no such image")
        return super().__getitem__(index)


def torn():
    return Torn()
"""
LABELS = "evaluation: {data: net.py:images}"
MOST = "inactive: 9}]}"
ANSWERS = f"{MOST[:-1]}, compressed: {{agreement: {{min: 1%}}, divergence: 9, class_drop: 99 pp}}}}"
GATES = {
    "residual": GATE.format(
        name="residual",
        kind="Residual",
        data="images",
        more=f"selection: reconstruction\n    recovery: [compensate]\n    {LABELS}",
        most=9,
    ).replace(MOST, ANSWERS),
    "written": GATE.format(
        name="written", kind="Written", data="images", more=f"{PAPER}\n    {LABELS}", most=9
    ).replace("batch_size: 37", "batch_size: 37, positions: 5"),
    # Without an evaluation, on a part of the probe; the error of outputs is rank 0's alone.
    "held": GATE.format(name="held", kind="Tokens", data="tokens", more=PAPER, most=9).replace(
        MOST, f"{MOST[:-1]}, compressed: {{output_error: 900%}}}}"
    ),
    "undecided": GATE.format(name="undecided", kind="Undecided", data="rows", more=PAPER, most=9),
    "own": GATE.format(
        name="own",
        kind="Tokens",
        data="tokens",
        more=f"{PAPER}\n    evaluation: {{data: net.py:tokens, metric: net.py:own, direction: lower}}",
        most=9,
    ),
    # One batch for two ranks.
    "single": GATE.format(name="single", kind="Undecided", data="rows", more=PAPER, most=9).replace("37", "301"),
    "torn": GATE.format(name="torn", kind="Residual", data="torn", more=PAPER, most=9),
}
SMALL = """
import os
import ctypes
import time

import torch
from torch import nn


def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))


def probe():
    if os.environ.get("RANK") == os.environ.get("WHO"):
        eval(os.environ["DOES"])
    return torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
"""
SMALL_GATE = """
  small:
    model: {factory: small.py:build}
    probe: {data: small.py:probe, batch_size: 8}
    artifacts: [weights]
    watch: [small.py]
    selection: correlation
    recovery: []
    budgets: {layers: [{match: "*", kl: 1, inactive: 6}]}
"""
TESTS = """
import os


def test_that_leaves_a_trace(capfd):
    with open("tests.log", "a") as log:
        log.write(os.environ["RANK"])
"""


Torchrun = Callable[..., "subprocess.Popen[str]"]


def write(folder: Path, *gates: str) -> None:
    """A project of these gates."""
    (folder / "net.py").write_text(PROJECT + MORE_CODE)
    (folder / "small.py").write_text(SMALL)
    (folder / "pfa.yaml").write_text("version: 1\ngates:" + "".join(gates))


@pytest.fixture
def torchrun(torch_python: str) -> Torchrun:
    """Start `torchrun` of two ranks that take one thread each; all three are forks of a process with torch."""
    command = [torch_python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "pytest", "--pfa", "-p", "no:hypothesispytest"]
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PFA_GATE_RANK"))}
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "COLUMNS": "100"}

    def start(folder: Path, *arguments: str, **environment: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [*command, *arguments],
            cwd=folder,
            env=plain | threads | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return start


def ended(run: "subprocess.Popen[str]") -> str:
    """What a run has printed, when it has ended; one that hangs is killed with all that it started."""
    try:
        return run.communicate(timeout=240)[0]
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        pytest.fail(f"It hung: {run.communicate()[0]}")


def exits(said: str) -> list[int]:
    """The exit codes that torchrun tells of, one for each rank that did not end with 0."""
    return [int(code) for code in re.findall(r"exitcode  : (-?\d+)", said)]


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_the_records_are_those_of_one_process(
    torchrun: Torchrun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several gates in one run, one of which only rank 0 can read; the user's test runs once, on rank 0."""
    write(tmp_path, *GATES.values(), SMALL_GATE)
    (tmp_path / "test_own.py").write_text(TESTS)
    run = torchrun(tmp_path, "--junitxml=junit.xml", "-rA")
    said = ended(run)
    assert (run.returncode, exits(said)) == (1, [1, 1]), said
    assert (said.count("test session starts"), (tmp_path / "tests.log").read_text()) == (1, "0")
    assert [path.name for path in tmp_path.glob("metric-*")] == ["metric-0"]
    assert "OSError: no such image" in said
    assert "at rank 1" in said
    cases = list(ElementTree.parse(tmp_path / "junit.xml").iter("testcase"))
    assert {case.get("classname") for case in cases if case.find("error") is not None} >= {"pfa.yaml.torn"}
    assert not (tmp_path / ".pfa" / "torn").exists()
    monkeypatch.setenv("RANK", "alone")
    monkeypatch.chdir(tmp_path)
    forms = set()
    for gate in {*GATES, "small"} - {"torn"}:
        wanted = plain(pfa_gate.run(tmp_path / "pfa.yaml", gate, output=tmp_path / "alone").record)
        found = json.loads((tmp_path / ".pfa" / gate / "record.json").read_text("utf-8"))
        assert_same(found, wanted, gate)
        forms.add(found["compressed"] and found["compressed"]["form"])
    assert forms == {"module", "graph", None}
    run = torchrun(tmp_path, "pfa.yaml::small")
    said = ended(run)
    assert run.returncode == 0, said
    assert "small: measured 20" in said  # by the run before: nobody waits for a pass that never comes


@pytest.fixture
def small(tmp_path: Path) -> Path:
    write(tmp_path, SMALL_GATE)
    return tmp_path


@pytest.mark.parametrize(
    ("who", "does", "words"),
    [
        ("1", "ctypes.CDLL(None)._exit(0)", "Rank 1 has given no sign of life for 5 s."),
        ("1", "time.sleep(600)", "Rank 1 has made no progress for 5 s. Rank 1 ends without a verdict."),
        ("0", "ctypes.CDLL(None)._exit(0)", "Rank 0 has given no sign of life for 5 s. Rank 1 ends without a verdict."),
    ],
)
def test_a_rank_that_is_gone_ends_all(torchrun: Torchrun, who: str, does: str, words: str, small: Path) -> None:
    begun = time.monotonic()
    bound = "PFA_GATE_RANK_STALL" if "progress" in words else "PFA_GATE_RANK_SILENCE"
    run = torchrun(small, **{"WHO": who, "DOES": does, bound: "5"})
    said = ended(run)
    assert run.returncode == 1, said
    assert words in said
    assert time.monotonic() - begun < 100
    assert not list((small / ".pfa").glob("*/record.json"))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="not run: ranks are found through /proc")
def test_a_rank_killed_at_a_random_time_ends_all(
    tmp_path: Path, torch_python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One run; `tests/benchmarks/killed_ranks.py` makes 20."""
    monkeypatch.setenv("PYTHON_EXEC", torch_python)  # torchrun starts the ranks with it
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    script = importlib.import_module("killed_ranks")
    script.prepare(tmp_path)
    ended = script.killed(tmp_path, random.Random(1), 3.0)
    assert (ended.rank, ended.status, ended.faults) == (0, 1, ())


@pytest.mark.parametrize("rank", ["0", "1"])
def test_workers_of_xdist_are_refused_before_anybody_waits(light_python: str, rank: str, small: Path) -> None:
    place = {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    command = [light_python, "-m", "pytest", "--pfa", "-n2"]
    done = subprocess.run(command, cwd=small, env=os.environ | place, capture_output=True, text=True, check=False)
    told = (
        "ERROR: --pfa: torchrun's ranks and the workers of xdist (-n) do not go together.\n"
        "  Leave out -n: the ranks share the work of a gate already.\n\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (4, "", told if rank == "0" else "")
