"""Listing what would run costs no engine: neither torch nor numpy, in the example as it is."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

SCRIPT = """
import sys
import pytest

code = pytest.main(["--co", "-q", "--pfa", "-p", "no:cacheprovider", "example_project"])
heavy = {"torch", "numpy", "scipy"} & set(sys.modules)
print("code", int(code), "heavy", sorted(heavy))
"""


def test_listing_the_example_imports_no_engine() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "code 0 heavy []"
    assert "example_project/pfa.yaml::digits::compressed.accuracy_drop" in done.stdout
    assert "example_project/test_digits.py::test_reads_the_held_out_digits" in done.stdout


AGAIN = """
import sys
import pytest

pytest.main(["--co", "-q", "--pfa", "-o", "cache_dir=" + sys.argv[1], "example_project"])
print("read", sorted({"pydantic", "yaml", "rich", "filelock"} & set(sys.modules)))
"""


def test_a_second_listing_reads_no_yaml(tmp_path: Path) -> None:
    command = [sys.executable, "-c", AGAIN, str(tmp_path)]
    first, second = (
        subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
        for _ in range(2)
    )
    assert first[-1] == "read ['pydantic', 'yaml']"
    assert second[-1] == "read []"
    nodes = [line for line in first if "::" in line]
    assert nodes
    assert nodes == [line for line in second if "::" in line]
