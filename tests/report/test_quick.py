"""All reports of a large record in a fresh process: no torch, no NumPy, and soon done."""

import json
import os
import subprocess
import sys
from pathlib import Path

RENDER = """
import json, sys, time
import examples
from pfa_gate.report.files import report_text
from pfa_gate.report.ownership import REPORTS
from pfa_gate.report.terminal import render

record = examples.pictured(examples.many(200))
start = time.process_time()
texts = {name: report_text(record, name) for name in REPORTS}
texts["terminal"] = render(record, width=100, colour=True, unicode=True, verbosity=2)
seconds = time.process_time() - start
heavy = sorted({"torch", "numpy", "scipy", "pfa_gate.pipeline.run"} & set(sys.modules))
print(json.dumps({"seconds": seconds, "heavy": heavy, "lengths": {name: len(each) for name, each in texts.items()}}))
"""


def test_two_hundred_layers_take_less_than_two_seconds_and_no_torch() -> None:
    here = Path(__file__).parent
    paths = os.pathsep.join(map(str, (here, here.parent, here.parents[1])))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run([sys.executable, "-c", RENDER], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["heavy"] == []
    # Processor time: what else the machine does is no fault of the reports.
    assert told["seconds"] < 2, told
    assert set(told["lengths"]) == {"report.html", "report.md", "badge.json", "terminal"}
    assert min(told["lengths"].values()) > 80
