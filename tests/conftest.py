"""What all tests share: the reference data beside the repository, and a clear word where it is absent."""

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import forked
import pytest
from hypothesis import settings

# No test is timed: on a busy machine an example may take any time.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

pytest_plugins = ["pytester"]

# As the plugin does it under --pfa: torch's threads then leave busy cores to others while they wait.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    share = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, share)))

SHARED = Path(os.environ.get("PFA_GATE_SHARED") or Path(__file__).parents[2] / "shared")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data; only for tests marked shared_data."""
    return SHARED


@pytest.fixture(scope="session")
def light_python() -> Iterator[str]:
    """A Python that has imported what `pytest --pfa` imports but for torch; see `forked`."""
    yield from _interpreter(forked.LIGHT)


@pytest.fixture(scope="session")
def torch_python() -> Iterator[str]:
    """A Python that has imported what a gate imports when it measures; see `forked`."""
    yield from _interpreter(forked.LIGHT + forked.MEASURING)


def _interpreter(modules: list[str]) -> Iterator[str]:
    if not hasattr(os, "fork"):
        yield sys.executable
        return
    interpreter = forked.Interpreter(modules)
    yield interpreter.path
    interpreter.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--nightly", action="store_true", help="run the tests marked nightly too")


# Begun first where several workers share out the files: a long one that is begun last keeps the others waiting.
LONG = (
    "plugin/test_fail_closed.py",
    "zoo/test_zoo.py",
    "report/test_browser.py",
    "distributed/test_same_numbers.py",
    "docs/test_recipes.py",
    "docs/test_examples.py",
    "distributed/test_torchrun.py",
    "pipeline/test_imports.py",
    "pipeline/test_seconds.py",
    "distributed/test_forced_merge.py",
    "distributed/test_many_machines.py",
    "github/test_action_steps.py",
    "plugin/test_killed.py",
    "plugin/test_forced_exits.py",
    "plugin/test_xdist.py",
    "test_house.py",
)


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config.option, "loadscopereorder"):  # with xdist, which would begin the files of most tests first
        config.option.loadscopereorder = False


def _long_files_first(items: list[pytest.Item]) -> None:
    """Sort the files: the long ones as they are listed, then those of most tests; the order within each stays."""
    files = Counter(item.path for item in items)
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: (places.get(item.path, len(LONG)), -files[item.path], str(item.path)))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        _long_files_first(items)
    for item in items:
        if item.get_closest_marker("nightly") and not config.getoption("--nightly"):
            item.add_marker(pytest.mark.skip(reason="not run: nightly; add --nightly"))
        if item.get_closest_marker("shared_data") and not SHARED.is_dir():
            item.add_marker(pytest.mark.skip(reason=f"not run: there is no folder {SHARED}"))


@pytest.fixture(autouse=True)
def _on_a_gpu(request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("gpu"):
        import torch  # noqa: PLC0415 - most tests of the light side never load it

        if not torch.cuda.is_available():
            pytest.skip("not run: there is no CUDA device")


def _switches() -> dict[str, object] | None:
    torch: Any = sys.modules.get("torch")
    if not hasattr(torch, "get_default_dtype"):  # not loaded, or not wholly
        return None
    return {
        "fused transformer layers": torch.backends.mha.get_fastpath_enabled(),
        "oneDNN": torch.backends.mkldnn.enabled,
        "gradients": torch.is_grad_enabled(),
        "default dtype": torch.get_default_dtype(),
    }


@pytest.fixture(autouse=True)
def _torch_is_as_it_was() -> Iterator[None]:
    """What a test leaves switched off would decide what a later one in the same process finds."""
    before = _switches()
    yield
    assert before in (None, _switches()), "the test leaves a switch of torch other than it was"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    # Read off the reports, so that it holds on the controller of xdist too.
    skipped = terminalreporter.getreports("skipped")
    later = [report for report in skipped if "nightly" in report.keywords]
    if later:
        terminalreporter.write_line(f"{len(later)} nightly tests not run: add --nightly.", yellow=True)
    without = [report for report in skipped if "gpu" in report.keywords]
    if without:
        terminalreporter.write_line(f"{len(without)} gpu tests not run: there is no CUDA device.", yellow=True)
    foreign = [report for report in skipped if "npm" in report.keywords]
    if foreign:
        terminalreporter.write_line(f"{len(foreign)} npm tests not run: {foreign[0].longrepr[2]}", yellow=True)
    unseen = [report for report in skipped if "browser" in report.keywords]
    if unseen:
        terminalreporter.write_line(f"{len(unseen)} browser tests not run: {unseen[0].longrepr[2]}", yellow=True)
    unrun = [report for report in skipped if "shared_data" in report.keywords]
    if unrun:
        terminalreporter.write_line(
            f"{len(unrun)} shared_data tests not run: there is no folder {SHARED} (set PFA_GATE_SHARED).",
            yellow=True,
        )
    marked = {"nightly", "gpu", "npm", "browser", "shared_data"}
    others = Counter(report.longrepr[2] for report in skipped if marked.isdisjoint(report.keywords))
    for reason, count in sorted(others.items()):
        words = reason.removeprefix("Skipped: ").removeprefix("not run: ")
        terminalreporter.write_line(f"{count} test{'s' if count > 1 else ''} not run: {words}", yellow=True)
