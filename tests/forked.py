"""Python that has imported what most runs import: each command is a fork of one process, and starts in a hundredth.

`Interpreter(modules).path` stands for `sys.executable` in front of `-m` or `-c`, in xdist's workers too: a small client
hands its arguments, folder, environment and open files to the server, which forks, passes signals on, and ends as the
fork ends. What a test says of a fresh interpreter (what is imported when, what the environment sets before torch is
loaded, hash seeds) needs `sys.executable` itself.
"""

import array
import atexit
import contextlib
import gc
import importlib
import importlib.util
import io
import marshal
import os
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LIGHT = """
_pytest.faulthandler _pytest.helpconfig _pytest.junitxml _pytest.pastebin _pytest.pytester _pytest.setuponly
_pytest.setupplan _pytest.skipping _pytest.stepwise _pytest.terminal _pytest.threadexception _pytest.tracemalloc
_pytest.unittest _pytest.unraisableexception _pytest.warnings asyncio filelock jinja2 pdb pydantic rich.console
rich.table yaml
pfa_gate.cache.fingerprint pfa_gate.cli pfa_gate.github pfa_gate.plugin.session pfa_gate.record.baseline_source
pfa_gate.report.advice pfa_gate.report.command pfa_gate.report.files pfa_gate.report.ci
pfa_gate.report.terminal pfa_gate.report.html pfa_gate.plugin.xdist
""".split()
"""What `pytest --pfa` imports but for the measuring."""
MEASURING = """
torch.export._trace pfa_gate.artifacts.export pfa_gate.pipeline.run pfa_gate.pipeline.check_model
pfa_gate.distributed.merge_shards
""".split()
"""What a gate imports when it measures."""
EXTRAS = {"pfa_gate.github": "github", "pfa_gate.plugin.xdist": "execnet", "torch.export._trace": "onnxscript"}
"""What else is imported with a module where it is installed."""

CLIENT = """
import _signal, _socket, marshal, os, sys
address, python, *arguments = sys.argv[1:]
if arguments[:1] == ["-u"]:  # what is written to a pipe is buffered nowhere that matters to xdist, which asks for it
    del arguments[0]
if arguments[:1] not in (["-m"], ["-c"]):
    os.execv(python, [python, *arguments])
request = marshal.dumps((os.getcwd(), arguments, dict(os.environ)))
files = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2))
server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
server.connect(address)
server.sendmsg([b"f"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)])
server.sendall(len(request).to_bytes(8, "big") + request)
for number in (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM):
    _signal.signal(number, lambda number, _: server.send(bytes([number])))
status = int(server.recv(16))
if status < 0:
    _signal.signal(-status, _signal.SIG_DFL) if -status not in (_signal.SIGKILL, _signal.SIGSTOP) else None
    os.kill(os.getpid(), -status)
os._exit(status)
"""
Request = tuple[str, list[str], dict[str, str]]
"""Folder, arguments and environment of a run."""


class Interpreter:
    """A process that has imported `modules`, and ends when this one does.

    Attributes:
        path: stands for `sys.executable`.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="forked")
        folder = Path(self._folder.name)
        address, client, path = (str(folder / name) for name in ("s", "client.py", "python"))
        Path(client).write_text(CLIENT, "utf-8")
        call = shlex.join([sys.executable, "-IS", client, address, sys.executable])
        Path(path).write_text(f'#!/bin/sh\nexec {call} "$@"\n', "utf-8")
        Path(path).chmod(0o700)
        self.path = path
        # One thread: a fork has none of the others, and would wait for them.
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        command = [sys.executable, __file__, address, path, *modules]
        self._process = subprocess.Popen(
            command, env=os.environ | threads, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the process to be forked ended with {self._process.wait()}")

    def close(self) -> None:
        """End it; what still runs in forks goes on."""
        self._process.communicate()
        self._folder.cleanup()


def _served(address: str) -> Request:
    """Answer until standard input ends; in each fork, what it must do."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(address)
    server.listen(16)
    os.write(1, b"ready\n")
    while True:
        ready, _, _ = select.select([server, 0], [], [])
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if 0 in ready:
            sys.exit()
        connection, _ = server.accept()
        if not os.fork():
            server.close()
            return _supervised(connection)
        connection.close()


def _supervised(connection: socket.socket) -> Request:
    """Fork once more: the one does what is asked, the other says how that ended, or ends it when nobody listens."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    files = array.array("i", connection.recvmsg(1, socket.CMSG_SPACE(12))[1][0][2])
    with connection.makefile("rb") as stream:
        request: Request = marshal.loads(stream.read(int.from_bytes(stream.read(8), "big")))
    child = os.fork()
    if not child:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, file in enumerate(files):
            os.dup2(file, number)
        for file in (*files, woken, wake, connection.detach()):
            os.close(file)
        return request
    for file in (*files, 0):
        os.close(file)
    while woken not in select.select([connection, woken], [], [])[0]:
        os.kill(child, int.from_bytes(connection.recv(1), "big") or signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        connection.send(str(status).encode())
    os._exit(0)


def _begin(request: Request) -> None:
    """Set up what a new interpreter sets up: its folder, environment, path and streams."""
    folder, arguments, environment = request
    own = _path_of(os.environ)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[:] = arguments[:1] + arguments[2:]
    first = folder if arguments[0] == "-m" else ""
    sys.path[:] = [first, *_path_of(environment), *sys.path[1 + len(own) :]]
    importlib.invalidate_caches()
    _open_streams(environment)
    # A project's file may be changed twice in a second: what was compiled of the first state would pass for the second.
    sys.dont_write_bytecode = True
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    # Of the project, this process has imported nothing so far.
    imports = importlib.import_module("pfa_gate.cache.imports")
    imports._BEGAN, imports.IMPORTS.began = imports._process_began(), time.time_ns()


def _path_of(environment: Mapping[str, str]) -> list[str]:
    return [each for each in environment.get("PYTHONPATH", "").split(os.pathsep) if each]


def _open_streams(environment: dict[str, str]) -> None:
    encoding, _, errors = environment.get("PYTHONIOENCODING", "").partition(":")
    through = bool(environment.get("PYTHONUNBUFFERED"))
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        raw = io.FileIO(number, "w" if number else "r", closefd=False)
        way = "backslashreplace" if number == 2 else errors or None
        lines = number == 2 or os.isatty(number)
        binary: Any = io.BufferedReader(raw) if not number else raw if through else io.BufferedWriter(raw)
        stream = io.TextIOWrapper(binary, encoding or None, way, line_buffering=lines, write_through=through)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _export_once() -> None:
    """Fill the exporters' tables, which take a second; ONNX Runtime is not loaded, as its threads do not fork."""
    import torch  # noqa: PLC0415 - the light one has none

    from pfa_gate.artifacts.export import export_model  # noqa: PLC0415
    from pfa_gate.artifacts.onnx_model import _operators_kept  # noqa: PLC0415

    program = export_model(torch.nn.Linear(2, 2).eval(), (torch.zeros(2, 2),), {}).program
    stored = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), _operators_kept():
        torch.export.save(program, stored)
        torch.export.load(stored)
        if "onnxscript" in sys.modules:
            torch.onnx.export(program, (), dynamo=True, verbose=False)


def _run(way: str, what: str) -> None:
    if way == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(compile(what, "<string>", "exec"), vars(main))


def _ended(way: str, what: str) -> int:
    """The exit status of a run that has come to its end, as Python tells it."""
    try:
        _run(way, what)
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return (error.code or 0) & 0xFF
        print(error.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _main(address: str, path: str, *modules: str) -> None:
    leave = os._exit
    for module in modules:
        importlib.import_module(module)
        if module in EXTRAS and importlib.util.find_spec(EXTRAS[module]):
            importlib.import_module(EXTRAS[module])
    if "torch" in sys.modules:
        _export_once()
    gc.freeze()
    request = _served(address)
    sys.executable = path
    _begin(request)
    status = _ended(*request[1][:2])
    # All that Python does at its end but for taking all objects apart, which are the server's.
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    leave(status)


if __name__ == "__main__":
    _main(*sys.argv[1:])
