"""Same seed, same numbers: records agree to the byte but for times and dates, and KL across thread counts to 1e-6."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys, torch
torch.set_num_threads(int(sys.argv[2]))
import pfa_gate
pfa_gate.run("example_project/pfa.yaml", output=sys.argv[1])
"""


def record(python: str, folder: Path, threads: int) -> tuple[str, dict[str, Any]]:
    """The text of a record without its times and its date, in a process of its own, and the record."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [python, "-c", SCRIPT, str(folder), str(threads)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    plain = json.loads((folder / "digits" / "record.json").read_text(encoding="utf-8"))
    for step in plain["compressed"]["recovery"]:
        step["seconds"] = 0
    timeless = {key: value for key, value in plain.items() if key not in ("seconds", "files", "written")}
    return json.dumps(timeless), plain


@pytest.mark.slow
def test_two_runs_and_two_thread_counts(torch_python: str, tmp_path: Path) -> None:
    # A new Python, and one that was forked from another: their sets of strings are in different orders.
    first, plain = record(sys.executable, tmp_path / "a", threads=1)
    again, _ = record(torch_python, tmp_path / "b", threads=1)
    assert first == again
    _, other = record(torch_python, tmp_path / "c", threads=2)
    for one, two in zip(plain["layers"], other["layers"], strict=True):
        assert (one["name"], one["kept"]) == (two["name"], two["kept"])
        for key in ("kl", "kl_ratio", "peak_correlation", "mean_correlation"):
            assert one[key] == pytest.approx(two[key], abs=1e-6)
