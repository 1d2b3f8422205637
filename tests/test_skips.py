"""Whatever is not run is said at the end, with its reason."""

from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")
TESTS = """
import pytest

@pytest.mark.parametrize("number", range(2))
def test_of_a_runtime(number):
    pytest.skip("not run: fastml is not installed")

@pytest.mark.nightly
def test_of_the_night():
    raise AssertionError
"""


@pytest.mark.parametrize("workers", [[], ["-n1"]])
def test_no_skip_goes_without_a_word(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, workers: list[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(CONFTEST.parent))
    pytester.makeconftest(CONFTEST.read_text("utf-8"))
    pytester.makeini("[pytest]\nmarkers =\n nightly\n")
    pytester.makepyfile(TESTS)
    lines = pytester.runpytest_subprocess(*workers).outlines
    assert "1 nightly tests not run: add --nightly." in lines
    assert "2 tests not run: fastml is not installed" in lines
