"""Code of the project forces the exit status of a broken gate to 0: what can be held in the process is, and
`pfa-gate verify` tells the rest from what the run has written.

All attacks run in forks of one process that has imported pytest already, each in a folder of its own.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from projects import ONE_TEST, config, gate

TWO = "layers: [{match: '*', kl: 0.7, inactive: 0}], model: {parameters: 9 k}"
BROKEN = gate(TWO, "{broken: [layers.kl]}")

DRIVER = """
import gc, json, os, sys
from pathlib import Path
import filelock, pydantic, pytest, rich.table, yaml
import fakes, pfa_gate.report.command, pfa_gate.report.files, pfa_gate.cli, pfa_gate.config, pfa_gate.github
import pfa_gate.cache.fingerprint, pfa_gate.plugin.session, pfa_gate.record.baseline_source, pfa_gate.report.ci
import pfa_gate.report.terminal, pfa_gate.report.advice

def run(folder, arguments):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.chdir(folder)
    file = os.open("said.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    (Path(folder) / "early.py").exists() and arguments.insert(0, "-pearly")
    sys.path.insert(0, folder)
    sys.exit(pytest.main(["-pfakes", "--pfa", "--pfa-no-cache", *arguments]))

def verify(folder):
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os.chdir(folder)
    file = os.open("verified.txt", os.O_CREAT | os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.exit(pfa_gate.cli.main(["verify"]))

pytest.main(["--version", "--version"])  # imports the plugins of pytest itself
gc.freeze()
todo = json.loads(Path(sys.argv[1]).read_text())
ended = {}
for folder, arguments in todo.items():
    ended[folder] = [run(folder, arguments), verify(folder)]
Path(sys.argv[1]).write_text(json.dumps(ended))
"""


@dataclass(frozen=True)
class Attack:
    """A way to end with 0.

    Args:
        conftest: source of it.
        code: the exit status that the run must have; 0 where that cannot be held in the process.
        says: what the output must hold.
        verified: what `pfa-gate verify` must say.
        gates: of the config.
        ini: lines of pytest.ini.
        arguments: of the command line.
        early: source of a plugin that is loaded before pfa_gate's.
        test: source of the test file.
    """

    conftest: str = ""
    code: int = 1
    says: str = ""
    verified: str = "ERROR: pfa.yaml::digits: broken in this run: layers.kl."
    gates: tuple[str, ...] = (BROKEN,)
    ini: str = ""
    arguments: tuple[str, ...] = ()
    early: str = ""
    test: str = ONE_TEST


STAYS = "ERROR: --pfa: a hook set the exit status to 0; it stays 1."
UNJUDGED = "ERROR: --pfa: something ended the run with 0 before it was judged, so the run does not pass."
UNENDED = "ERROR: The run did not finish, whatever exit status its process had."
NOTHING = ".pfa holds no pfa_gate.run.json: no run says what it judged."
OTHER = "import pytest, sys, os, atexit\n"
HELD = {
    "pytest.exit in sessionfinish": Attack(
        OTHER + "def pytest_sessionfinish():\n    pytest.exit('done', returncode=0)", says=STAYS
    ),
    "sys.exit in sessionfinish": Attack(OTHER + "def pytest_sessionfinish():\n    sys.exit(0)", says=STAYS),
    "a multiple of 256 in sessionfinish": Attack(
        OTHER + "def pytest_sessionfinish(session):\n    session.exitstatus = 512", says=STAYS
    ),
    "pytest.exit in the summary": Attack(
        OTHER + "def pytest_terminal_summary():\n    pytest.exit('done', returncode=0)", says=STAYS
    ),
    "the session's status in unconfigure": Attack(
        "def pytest_sessionstart(session):\n    session.config.it = session\n"
        "def pytest_unconfigure(config):\n    config.it.exitstatus = 0",
        says=STAYS,
    ),
    "sys.exit in unconfigure": Attack(OTHER + "def pytest_unconfigure():\n    sys.exit(0)", says=STAYS),
    "sys.exit in a cleanup": Attack(
        OTHER + "def pytest_configure(config):\n    config.add_cleanup(lambda: sys.exit(256))", says=STAYS
    ),
    "a wrapper of the run": Attack(
        OTHER + "@pytest.hookimpl(wrapper=True, tryfirst=True)\ndef pytest_cmdline_main():\n    yield\n    return 0",
        says=STAYS,
    ),
    "instead of the run": Attack(
        OTHER + "@pytest.hookimpl(tryfirst=True)\ndef pytest_cmdline_main():\n    return 0",
        4,
        UNJUDGED,
        NOTHING,
    ),
    "pytest.exit at the start": Attack(
        OTHER + "def pytest_sessionstart():\n    pytest.exit('done', returncode=0)", 4, UNJUDGED, UNENDED
    ),
    "pytest.exit in configure": Attack(
        OTHER + "def pytest_configure():\n    pytest.exit('done', returncode=0)", 4, UNJUDGED, NOTHING
    ),
    "sys.exit in a conftest": Attack(
        "raise SystemExit", 4, "--pfa: a conftest or plugin asked to end by SystemExit(None)", NOTHING
    ),
    "os._exit in a conftest": Attack(OTHER + "os._exit(0)", 1, "os._exit(0) was called", NOTHING),
    "os._exit at the exit": Attack(OTHER + "atexit.register(lambda: os._exit(0))"),
    "a test by the other name": Attack(
        test="def test_leave():\n    import os, sys\n    sys.modules[os.name]._exit(0)\n", says="os._exit(0) was called"
    ),
}
NOT_HELD = {
    "C's _exit in a test": Attack(
        code=0, verified=UNENDED, test="import ctypes\ndef test_leave():\n    ctypes.CDLL(None)._exit(0)\n"
    ),
    "_exit from before at the exit": Attack(
        "import atexit\nfrom early import _exit\natexit.register(lambda: _exit(0))", 0, early="from os import _exit"
    ),
    "another program instead": Attack(
        code=0, verified=UNENDED, test="import os\ndef test_leave():\n    os.execv('/bin/true', ['true'])\n"
    ),
}
SKIPS = (
    OTHER + "def pytest_collection_modifyitems(items):\n    for item in items:\n"
    "        if not item.get_closest_marker('slow'):\n            item.add_marker(pytest.mark.skip)\n"
)
DROPS = "def pytest_collection_modifyitems(items):\n    items[:] = [i for i in items if 'layers.kl' not in i.nodeid]\n"
REPORTS = (
    OTHER + "@pytest.hookimpl(wrapper=True)\ndef pytest_runtest_makereport():\n"
    "    report = yield\n    report.outcome = 'passed'\n    return report\n"
)
SLOW = '[pytest]\nmarkers = slow\naddopts = -m "not slow"\n'
UNJUDGED_GATE = "pfa.yaml::digits: not judged in this run: exact, layers.kl, layers.inactive and 1 more."
BROKEN_GATE = "pfa.yaml::digits: broken in this run: layers.kl."
NO_CHOICE = "-m 'not slow' was not chosen for this run: only the command line of a run leaves budgets out."
LEFT = {
    "an ini's -m, and skips": Attack(SKIPS, 4, UNJUDGED_GATE, f"ERROR: {UNJUDGED_GATE[:17]}", ini=SLOW),
    "an ini's -m, and drops": Attack(DROPS, 4, BROKEN_GATE, ini=SLOW),
    "an ini's -m, and reports": Attack(REPORTS, 4, BROKEN_GATE, ini=SLOW),
    "an ini's -m that takes the budget": Attack(
        OTHER + "def pytest_collection_modifyitems(items):\n    for item in items:\n"
        "        'layers.kl' in item.nodeid and item.add_marker(pytest.mark.slow)\n",
        4,
        NO_CHOICE,
        ini=SLOW,
    ),
    "an ini that only looks": Attack(
        code=4, says=UNJUDGED_GATE, verified="ERROR: pfa.yaml::digits: not judged", ini="[pytest]\naddopts = --co\n"
    ),
    "an ini's id": Attack(
        code=1, says="The sentence of layers.kl.", ini="[pytest]\naddopts = test_one.py::test_passes\n"
    ),
    "an id of another test": Attack(DROPS, 4, BROKEN_GATE, arguments=(".", "test_one.py::test_passes")),
    "an id of another gate": Attack(
        SKIPS,
        4,
        "pfa.yaml::digits: not judged in this run: exact.",
        "ERROR: pfa.yaml::digits: not judged in this run: ",
        arguments=("pfa.yaml::digits::exact",),
    ),
    "-m, and skips": Attack(
        SKIPS, 4, UNJUDGED_GATE, "ERROR: pfa.yaml::digits: not judged", ini="[pytest]\nmarkers = slow\n",
        arguments=("-m", "not slow"),
    ),
    "-k, and drops": Attack(DROPS, 4, BROKEN_GATE, arguments=("-k", "digits")),
}  # fmt: skip
KEPT = (gate(TWO),)
LEAVES = "pfa.yaml::digits: left out by the command line of the run: layers.kl, layers.inactive, model.parameters."
RUN = "judged and kept 4 budgets of 1 gate."
FREE = {
    "all kept": Attack(code=0, verified=RUN, gates=KEPT),
    "all kept, and an exit": Attack(
        OTHER + "atexit.register(lambda: os._exit(0))", 0, verified=RUN, gates=KEPT
    ),
    "-k": Attack(code=0, verified=LEAVES, arguments=("-k", "exact")),
    "an id": Attack(code=0, verified=LEAVES, arguments=("pfa.yaml::digits::exact",)),
    "two gates, an id": Attack(
        code=0, verified="pfa.yaml::digits: left out by the command line of the run: exact, layers.kl, layers.inactive",
        gates=(BROKEN, gate(TWO, name="b")), arguments=("pfa.yaml::b",),
    ),
    "a mark of this run": Attack(
        OTHER + "def pytest_collection_modifyitems(items):\n    for item in items:\n"
        "        'layers.kl' in item.nodeid and item.add_marker(pytest.mark.slow)\n",
        0,
        verified="pfa.yaml::digits: left out by the command line of the run: layers.kl.",
        ini="[pytest]\nmarkers = slow\n",
        arguments=("-m", "not slow"),
    ),
}  # fmt: skip
ABSENT = ("hypothesispytest", "pytest_cov", "anyio", "xdist", "unraisableexception")
ALL = {**HELD, **NOT_HELD, **LEFT, **FREE}


@dataclass
class Ended:
    """How a run ended, and what it and `pfa-gate verify` said."""

    code: int
    verify: int
    said: str = field(repr=False)
    verified: str = field(repr=False)


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    if not hasattr(os, "fork"):
        pytest.skip("not run: this system has no forks")
    place = tmp_path_factory.mktemp("attacks")
    folders = {name: place / str(number) for number, name in enumerate(ALL)}
    for name, folder in folders.items():
        attack = ALL[name]
        folder.mkdir()
        files = {"conftest.py": attack.conftest, "test_one.py": attack.test, "early.py": attack.early}
        files |= {"pfa.yaml": config(*attack.gates), "pytest.ini": attack.ini or "[pytest]\n"}
        for file, text in files.items():
            if text:
                (folder / file).write_text(text, "utf-8")
    todo = place / "todo.json"
    todo.write_text(json.dumps({str(folder): ALL[name].arguments for name, folder in folders.items()}))
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "GITHUB_"))}
    environment |= {
        "PYTHONPATH": str(Path(__file__).parent),
        "PYTHONIOENCODING": "utf-8",
        "FAKE_RECORDS": "1",
        "PYTEST_ADDOPTS": " ".join(f"-p no:{name}" for name in ABSENT) + " -q",
    }
    subprocess.run([sys.executable, "-c", DRIVER, str(todo)], env=environment, check=True, timeout=240)
    codes = json.loads(todo.read_text())
    said = {name: [_text(folder / file) for file in ("said.txt", "verified.txt")] for name, folder in folders.items()}
    return {name: Ended(*codes[str(folder)], *said[name]) for name, folder in folders.items()}


def _text(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


@pytest.mark.parametrize("name", [*HELD, *LEFT])
def test_it_is_held_and_verify_says_no_too(ended: dict[str, Ended], name: str) -> None:
    attack, found = ALL[name], ended[name]
    assert found.code == attack.code, found.said
    assert attack.says in found.said
    assert found.verify in {1, 2}
    assert attack.verified in found.verified
    assert "INTERNALERROR" not in found.said


@pytest.mark.parametrize("name", NOT_HELD)
def test_what_no_process_can_hold_verify_tells(ended: dict[str, Ended], name: str) -> None:
    attack, found = ALL[name], ended[name]
    assert found.code == 0, "held after all: move it to the others"
    assert found.verify == 1
    assert attack.verified in found.verified


@pytest.mark.parametrize("name", FREE)
def test_what_is_kept_or_chosen_away_passes(ended: dict[str, Ended], name: str) -> None:
    attack, found = ALL[name], ended[name]
    assert (found.code, found.verify) == (0, 0), found.said + found.verified
    assert attack.verified in found.verified
