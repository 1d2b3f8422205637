"""Exit 0 means that every declared budget was found kept, and nothing else does.

Each row is one way in which a gate could be passed by not judging it; each is run alone, between two workers,
and without pytest's cache.
"""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from projects import ONE_TEST, Pfa, config, gate, runs

TWO = "layers: [{match: '*', kl: 0.7, inactive: 0}], model: {parameters: 9 k}"
WAYS = {"alone": (), "workers": ("-n2",), "no-cache": ("-p", "no:cacheprovider")}
LEFT_OUT = "def pytest_collection_modifyitems(items):\n    items[:] = [i for i in items if {condition}]\n"
FORKS = """
import os
import pytest

@pytest.mark.skipif(not hasattr(os, "fork"), reason="not run: this system has no forks")
def test_fork():
    child = os.fork()
    if not child:
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""
REPORTED = """
import pytest

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    report = yield
    report.outcome = "passed"
    return report
"""
SUCCEEDS = """
import pytest

@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    session.exitstatus = 0
"""
MARKED = (
    "import pytest\n"
    "def pytest_collection_modifyitems(items):\n"
    "    for item in items:\n"
    "        item.add_marker(pytest.mark.{mark})\n"
)


@dataclass(frozen=True)
class Row:
    """A way to pass without being judged.

    Args:
        prepare: brings the project into it.
        arguments: of the command line.
        says: what the output must hold, reason and place.
        code: expected exit status; None for any but 0.
    """

    prepare: Callable[[pytest.Pytester], object] = lambda project: None
    arguments: tuple[str, ...] = ()
    says: str = ""
    code: int | None = None


def gates(*written: str) -> Callable[[pytest.Pytester], object]:
    return lambda project: project.makefile(".yaml", pfa=config(*written))


def raising(kind: str) -> Callable[[pytest.Pytester], object]:
    return gates(gate(TWO, f"{{raises: {kind}}}"))


def text(content: str) -> Callable[[pytest.Pytester], object]:
    return lambda project: (project.path / "pfa.yaml").write_text(content, encoding="utf-8")


def conftest(source: str) -> Callable[[pytest.Pytester], object]:
    return lambda project: (gates(gate(TWO))(project), project.makeconftest(source))


def below(project: pytest.Pytester) -> None:
    gates(gate(TWO, "{broken: [layers.kl]}"))(project)
    (project.mkdir("tests") / "test_a.py").write_text(ONE_TEST)


def once_failed(project: pytest.Pytester) -> None:
    """An ordinary test failed last time and passes now."""
    cache = project.mkdir(".pytest_cache")
    (cache / "v" / "cache").mkdir(parents=True)
    (cache / "v" / "cache" / "lastfailed").write_text('{"test_one.py::test_passes": true}')


ROWS = {
    "no config": Row(lambda project: (project.path / "pfa.yaml").unlink(), (), "found no pfa.yaml", 4),
    "no config, explicit path": Row(
        lambda project: (project.path / "pfa.yaml").unlink(), ("test_one.py",), "found no pfa.yaml", 4
    ),
    "a config that is not there": Row(arguments=("--pfa-config", "no.yaml"), says="there is no file no.yaml", code=4),
    "no gates": Row(text("version: 1\ngates: {}\n"), (), "gates must not be empty"),
    "gates without a value": Row(text("version: 1\ngates:\n"), (), "gates has no value"),
    "no budgets": Row(gates(gate("")), (), "budgets must hold at least one limit"),
    "an empty config": Row(text(""), (), "the file is empty"),
    "a config of junk": Row(text("\x00\x01{[&"), (), "pfa.yaml:1:1"),
    "a broken budget, explicit path": Row(below, ("tests/",), "The sentence of layers.kl.", 1),
    "a broken budget, explicit file": Row(below, ("tests/test_a.py",), "The sentence of layers.kl.", 1),
    "a broken budget": Row(gates(gate(TWO, "{broken: [layers.kl]}")), (), "at pfa.yaml:6", 1),
    "a budget not judged": Row(gates(gate(TWO, "{unknown: [layers.kl]}")), (), "at pfa.yaml:6", 1),
    "a budget without a verdict": Row(gates(gate(TWO, "{absent: [layers.kl]}")), (), "holds no verdict on", 1),
    "one gate of two broken": Row(gates(gate(TWO), gate(TWO, "{broken: [exact]}", "b")), (), "sentence of exact", 1),
    "-k that leaves nothing": Row(arguments=("-k", "no_such_test"), code=5),
    "-m that leaves nothing": Row(arguments=("-m", "nothing"), code=5),
    "--lf that leaves the gate out": Row(once_failed, ("--lf",), "pfa.yaml::digits: not judged", 4),
    "all budgets deselected": Row(arguments=("--deselect", "pfa.yaml::digits"), says="is left to run", code=4),
    "the config ignored": Row(arguments=("--ignore=pfa.yaml",), says="is left to run", code=4),
    "a conftest drops the gate": Row(
        conftest(LEFT_OUT.format(condition="'pfa' not in i.nodeid")), (), "is left to run"
    ),
    "a conftest drops one gate of two": Row(
        lambda project: (
            conftest(LEFT_OUT.format(condition="'::b::' not in i.nodeid"))(project),
            gates(gate(TWO), gate(TWO, name="b"))(project),
        ),
        (),
        "pfa.yaml::b: not judged in this run: exact, layers.kl, layers.inactive and 1 more.",
        4,
    ),
    "a conftest drops the broken budget": Row(
        lambda project: (
            conftest(LEFT_OUT.format(condition="'layers.kl' not in i.nodeid"))(project),
            gates(gate(TWO, "{broken: [layers.kl]}"))(project),
        ),
        (),
        "pfa.yaml::digits: broken in this run: layers.kl.",
        4,
    ),
    "a conftest skips": Row(conftest(MARKED.format(mark="skip")), (), "pfa.yaml::digits: not judged", 4),
    "a conftest expects failure": Row(
        lambda project: (
            conftest(MARKED.format(mark="xfail(strict=False)"))(project),
            gates(gate(TWO, "{broken: [layers.kl]}"))(project),
        ),
        (),
        "pfa.yaml::digits: broken in this run: layers.kl.",
        4,
    ),
    "a conftest rewrites reports": Row(
        lambda project: (
            conftest(REPORTED)(project),
            gates(gate(TWO, "{broken: [layers.kl]}"))(project),
        ),
        (),
        "pfa.yaml::digits: broken in this run: layers.kl.",
        4,
    ),
    "a conftest sets the exit status": Row(
        lambda project: (conftest(SUCCEEDS)(project), gates(gate(TWO, "{broken: [layers.kl]}"))(project)),
        (),
        "ERROR: --pfa: a hook set the exit status to 0; it stays 1.",
        1,
    ),
    "a config that goes in the middle": Row(raising("deleted"), (), "A config can no longer be read", 4),
    "a mistake of the user": Row(raising("mistake"), (), "The module net does not import.", 1),
    "an exception nobody foresaw": Row(raising("bug"), (), "RuntimeError: boom", 1),
    "a skip in the factory": Row(raising("skip"), (), "asked to skip the test", 1),
    "an expected failure in the factory": Row(raising("xfail"), (), "asked to end by XFailed", 1),
    "an exit in the factory": Row(raising("exit"), (), "asked to end by SystemExit", 1),
    "pytest.exit with 0 in the factory": Row(raising("quit"), (), "asked to end by Exit: enough", 1),
    "os._exit with 0 in the factory": Row(raising("leave"), (), "", 1),
    "os._exit with 0 in a thread": Row(raising("leave_in_a_thread"), (), "", 1),
    "out of memory": Row(raising("memory"), (), "MemoryError", 1),
    "a full disk": Row(raising("full"), (), "cannot be shared with the other tests: No space left", 1),
    "killed": Row(raising("kill")),
    "Ctrl-C": Row(raising("interrupt")),
    "-x": Row(gates(gate(TWO, "{broken: [exact]}")), ("-x",), "The sentence of exact."),
    "--maxfail": Row(gates(gate(TWO, "{broken: [exact, layers.kl]}")), ("--maxfail=2",), "The sentence of exact."),
    "--max-worker-restart": Row(raising("kill"), ("--max-worker-restart=0",)),
}
# An option exists only where its plugin does.
ONLY_IN = {"--max-worker-restart": ("workers",), "--lf that leaves the gate out": ("alone", "workers")}
CASES = [(name, way) for name in ROWS for way in ONLY_IN.get(name, WAYS)]


@pytest.mark.parametrize(("name", "way"), CASES, ids=[f"{name}, {way}" for name, way in CASES])
def test_it_does_not_pass(project: pytest.Pytester, pfa: Pfa, name: str, way: str) -> None:
    row = ROWS[name]
    project.makeini("[pytest]\nmarkers = nothing\n")
    row.prepare(project)
    result = pfa(*row.arguments, *WAYS[way])
    shown = f"{result.stdout.str()}\n{result.stderr.str()}"
    assert result.ret != 0
    assert row.says in shown
    if row.code is not None:
        assert result.ret in {row.code, *(() if way != "workers" else (1, 2, 5))}
    assert "INTERNALERROR" not in shown


@pytest.mark.parametrize("way", WAYS)
def test_it_passes_when_all_is_kept(project: pytest.Pytester, pfa: Pfa, way: str) -> None:
    gates(gate(TWO), gate(TWO, name="b"))(project)
    assert pfa(*WAYS[way]).ret == 0
    assert len(runs(project)) == 2


def test_rerunning_what_failed_passes_once_all_is_kept(project: pytest.Pytester, pfa: Pfa) -> None:
    gates(gate(TWO, "{broken: [layers.kl]}"))(project)
    assert pfa().ret == 1
    gates(gate(TWO))(project)
    result = pfa("--lf")
    result.assert_outcomes(passed=1)
    assert result.ret == 0, "one budget ran, and the record of the run says that all are kept"


def test_an_exit_behind_the_back_of_pytest_is_named(project: pytest.Pytester, pfa: Pfa) -> None:
    raising("leave")(project)
    pfa().stdout.fnmatch_lines(["*asked to end by SystemExit: os._exit(0) was called, which would have ended*"])


def test_forks_may_leave(project: pytest.Pytester, pfa: Pfa) -> None:
    """So do the children of multiprocessing, and so of torch's loaders."""
    project.makepyfile(test_one=FORKS)
    pfa().assert_outcomes(passed=3)


def test_without_a_terminal_the_reason_is_on_the_error_stream(project: pytest.Pytester, pfa: Pfa) -> None:
    conftest(MARKED.format(mark="skip"))(project)
    result = pfa("-p", "no:terminal")
    assert result.ret == 4
    assert "pfa.yaml::digits: not judged in this run" in result.stderr.str()


@pytest.mark.parametrize("arguments", [["--co"], ["--fixtures"], ["-k", "passes"]])
def test_looking_and_choosing_are_no_verdicts(project: pytest.Pytester, pfa: Pfa, arguments: list[str]) -> None:
    assert pfa(*arguments).ret == 0
