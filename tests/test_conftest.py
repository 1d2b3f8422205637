"""What the whole suite shares: a word about whatever is not run, and long files that are begun first."""

import runpy
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")
LONG = runpy.run_path(str(CONFTEST), run_name="suite")["LONG"]
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


def test_files_that_are_begun_first_are_there() -> None:
    assert [name for name in LONG if not (CONFTEST.parent / name).is_file()] == []


def test_workers_begin_long_files_first_and_then_those_of_most_tests(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(CONFTEST.parent))
    pytester.makeconftest(CONFTEST.read_text("utf-8").replace(LONG[0], "test_last.py"))
    pytester.makeini("[pytest]\nmarkers =\n nightly\n")
    two = "def test_it(): pass\ndef test_that(): pass"
    pytester.makepyfile(test_a="def test_it(): pass", test_b=two, test_last="def test_it(): pass")
    lines = pytester.runpytest_subprocess("-n1", "--dist", "loadfile", "-v").outlines
    files = [line.split("PASSED ")[1].split("::")[0] for line in lines if "PASSED " in line]
    assert files == ["test_last.py", "test_b.py", "test_b.py", "test_a.py"]
