"""Products are NumPy's own to the last digits, and one layer's are all made by one library."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pfa_gate.analysis.covariance.products import NARROW, product, summed, with_squares

WIDTHS = [1, NARROW, NARROW + 1, 200]


@pytest.mark.parametrize("filters", WIDTHS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_they_are_numpys(filters: int, order: str) -> None:
    draw = np.random.default_rng(0)
    rows = np.asarray(draw.standard_normal((70, filters)), order=order)
    square = np.asarray(draw.standard_normal((filters, filters)), order=order)
    np.testing.assert_allclose(product(rows, square), rows @ square, atol=1e-11)
    np.testing.assert_allclose(product(rows.T, rows), rows.T @ rows, atol=1e-11)
    np.testing.assert_allclose(product(rows[::2], square), rows[::2] @ square, atol=1e-11)
    np.testing.assert_allclose(summed(rows), rows.sum(axis=0), atol=1e-11)
    lower = np.asfortranarray(np.tril(square @ square.T))
    wanted = lower + np.tril(rows.T @ rows)
    np.testing.assert_allclose(np.tril(with_squares(lower, rows)), wanted, atol=1e-10)
    np.testing.assert_allclose(np.tril(lower), wanted, atol=1e-10)


THREADS = """
import os, sys
from pathlib import Path

def threads():
    return {each.name for each in Path("/proc/self/task").iterdir()}

def ticks(names):
    rest = [Path("/proc/self/task", name, "stat").read_text().rpartition(") ")[2].split() for name in names]
    return sum(int(each[11]) + int(each[12]) for each in rest)

own = threads()
import numpy as np
numpys = threads() - own
rows = np.random.default_rng(0).standard_normal((3000, int(sys.argv[1])))
import scipy.linalg
scipys = threads() - own - numpys
from pfa_gate import analyse
analyse(rows)
before = ticks(numpys), ticks(scipys)
for _ in range(4):
    analyse(rows)
print(len(numpys), len(scipys), ticks(numpys) - before[0], ticks(scipys) - before[1])
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="only Linux tells what each thread did")
def test_the_threads_of_two_libraries_do_not_wait_for_each_other() -> None:
    """NumPy's have nothing to do with a wide layer, and so take no core from scipy's."""
    command = [sys.executable, "-c", THREADS, "256"]
    done = subprocess.run(
        command, env=os.environ | {"OPENBLAS_NUM_THREADS": "2"}, capture_output=True, text=True, check=True
    )
    of_numpy, of_scipy, numpys, scipys = map(int, done.stdout.split())
    if not of_numpy or not of_scipy:
        pytest.skip("not run: NumPy or scipy is built with a library that starts no threads of its own")
    assert scipys > 0
    assert numpys <= 1
