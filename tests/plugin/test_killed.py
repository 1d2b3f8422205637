"""Workers killed in the middle, with the real gate; `tests/benchmarks/killed.py` makes 50 of these runs."""

import importlib.util
import random
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "killed.py"
RUNS = 3


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="not run: workers are found through /proc")
def test_no_run_that_lost_workers_passes_for_nothing(
    tmp_path: Path, torch_python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHON_EXEC", torch_python)
    spec = importlib.util.spec_from_file_location("killed", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    sys.modules["killed"] = script
    spec.loader.exec_module(script)
    script.prepare(tmp_path)
    begin = time.monotonic()
    assert script.start(tmp_path, "-n4").wait(timeout=180) == 0, (tmp_path / "out.txt").read_text()
    span, draw = time.monotonic() - begin, random.Random(1)
    runs = [script.killed(tmp_path, draw, span) for _ in range(RUNS)]
    assert [run.faults for run in runs] == [()] * RUNS
    assert sum(run.workers for run in runs) > 0
    assert list(script.healed(tmp_path)) == []
