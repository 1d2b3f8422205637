"""A gate that measures nothing: it finds what `model.arguments` says, and counts how often it ran.

Runs the gates in the processes of a test, in place of `run_gate`: `-p fakes` on the command line.
"""

import errno
import importlib.util
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pfa_gate.errors import FactoryError

if TYPE_CHECKING:
    from pfa_gate.record.manifest import Wait

MODULES_AT_END = "MODULES_AT_END"
FAKE_RECORDS = "FAKE_RECORDS"
"""In the environment: the fake leaves a record on disk, as the gate does."""
SILENCE = "SILENCE_OF_A_LOCK"


def run_fake(document: Any, gate: str, context: Any, output: Path | None, wait: "Wait") -> Any:
    with (document.path.parent / "runs.log").open("a") as log:
        log.write(f"{gate} {os.environ.get('PYTEST_XDIST_WORKER', 'main')} {output}\n")
    arguments = document.gate(gate).model.arguments
    if wait.progress is not None:
        for stage, done, total in [("loading", 0, 1), ("probing", 1, 4), ("probing", 4, 4), ("writing", 1, 1)]:
            wait.progress(stage, done, total)
            time.sleep(arguments.get("pause", 0))
    _import_from(document.path.parent / document.gate(gate).model.factory.rpartition(":")[0])
    time.sleep(arguments.get("seconds", 0))
    _raise(arguments.get("raises"))
    record = replace(_record(document, gate, arguments), run=context.run)
    if FAKE_RECORDS in os.environ:
        _write(record, (output or document.path.parent / ".pfa") / gate)
    return record


def _write(record: Any, folder: Path) -> None:
    from pfa_gate.record import dumps  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "record.json").write_text(dumps(record), "utf-8")


def _import_from(path: Path) -> None:
    """As the gate does with the factory's file, where there is one: what was imported is what a verdict is kept by."""
    name = f"_pfa_gate_{path.stem}"
    if path.is_file() and name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])


def _raise(kind: str | None) -> None:
    if kind is not None:
        _MISHAPS.get(kind, _bug)()


def _warning() -> None:
    warnings.warn("a deprecated thing", DeprecationWarning, stacklevel=1)
    warnings.warn("a strange thing", UserWarning, stacklevel=1)


def _mistake() -> None:
    remedy = "Correct the name."
    raise FactoryError("The module net does not import.", remedy=remedy, where=("pfa.yaml:5:16",))


def _command() -> None:
    raise FactoryError("The layer 'x\n::stop-commands::x\x1b[2J' is not there.", remedy="##[error]\u202eRename it.")


def _memory() -> None:
    raise MemoryError


def _bug() -> None:
    raise RuntimeError("boom")


def _leave_in_a_thread() -> None:
    thread = threading.Thread(target=lambda: os._exit(0))
    thread.start()
    thread.join()


def _disk_fills_up() -> None:
    os.replace = _full


def _full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _interrupt() -> None:
    # A run in the background of a shell may have been told to ignore the signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)


_MISHAPS: dict[str, Callable[[], object]] = {
    "warning": _warning,
    "mistake": _mistake,
    "command": _command,
    "memory": _memory,
    "full": _disk_fills_up,
    "skip": lambda: pytest.skip("no network"),
    "xfail": lambda: pytest.xfail("it never works"),
    "quit": lambda: pytest.exit("enough", returncode=0),
    "exit": lambda: sys.exit(0),
    "deleted": lambda: Path("pfa.yaml").unlink(),
    "leave": lambda: os._exit(0),
    "leave_in_a_thread": _leave_in_a_thread,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "interrupt": _interrupt,
}


def _record(document: Any, gate: str, arguments: dict[str, Any]) -> Any:
    from pfa_gate.budget import Finding  # noqa: PLC0415
    from pfa_gate.record import Probe, Record, Size  # noqa: PLC0415

    findings = []
    for declared in document.gate(gate).budgets_declared():
        broken, unknown = arguments.get("broken", []), arguments.get("unknown", [])
        outcome = "broken" if declared.name in broken else "not judged" if declared.name in unknown else "kept"
        alike = arguments.get("alike") and outcome == "not judged"
        sentence = "Nothing could be cut." if alike else f"The sentence of {declared.name}."
        line = document.line(*declared.keys)
        findings.append(Finding(declared.name, "0.7", "0.5", outcome, sentence, line))
    findings = [each for each in findings if each.id not in arguments.get("absent", [])]
    files = {"record": f".pfa/{gate}/record.json"}
    if arguments.get("reports"):
        files |= {"markdown": f".pfa/{gate}/report.md", "badge": f".pfa/{gate}/badge.json"}
    if arguments.get("model"):
        files |= {"recipe": f".pfa/{gate}/recipe.yaml", "weights": f".pfa/{gate}/weights.safetensors"}
        Path(files["weights"]).parent.mkdir(parents=True, exist_ok=True)
        Path(files["recipe"]).write_text(f"version: 1\ngate: {gate}\nstrategy: energy\n")
        Path(files["weights"]).write_text("weights")
    sizes, probe = Size(9, 36, 81), Probe(64, "ab")
    return Record(gate, "pfa.yaml", {}, {}, sizes, probe, (), budgets=tuple(findings), files=files)


if SILENCE in os.environ:
    from pfa_gate.cache import lock

    lock.SILENCE = float(os.environ[SILENCE])


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("pfa", False):
        from pfa_gate.plugin.run_plan import RUNNER  # noqa: PLC0415  a run without --pfa imports nothing of it

        config.stash[RUNNER] = run_fake


def pytest_unconfigure() -> None:
    if MODULES_AT_END in os.environ:
        Path(os.environ[MODULES_AT_END]).write_text("\n".join(sorted(sys.modules)))
