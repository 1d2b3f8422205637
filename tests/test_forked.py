"""A forked Python does what a new one does: arguments, folder, environment, path, streams and the way it ends."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="not run: this system has no forks")
SHOWS = """
import json, os, sys
print(json.dumps([sys.argv, os.getcwd(), os.environ["SOME"], sys.path[:2], sys.stdin.read(), __name__, os.getpid()]))
print("süß", file=sys.stderr)
"""


def ran(python: str, *arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    environment = os.environ | environment
    return subprocess.run(
        [python, *arguments], cwd=folder, env=environment, input=b"in", capture_output=True, check=False
    )


@pytest.mark.parametrize("way", ["-c", "-m"])
def test_it_sees_what_a_new_one_sees(light_python: str, tmp_path: Path, way: str) -> None:
    (tmp_path / "shows.py").write_text(SHOWS, "utf-8")
    arguments = (way, "shows" if way == "-m" else SHOWS, "one", "two three")
    environment = {"SOME": "thing", "PYTHONPATH": str(tmp_path / "more"), "PYTHONIOENCODING": "latin-1"}
    new, forked = (ran(each, *arguments, folder=tmp_path, **environment) for each in (sys.executable, light_python))
    assert (forked.returncode, forked.stderr) == (new.returncode, new.stderr) == (0, "süß\n".encode("latin-1"))
    *same, pid = json.loads(forked.stdout)
    *expected, other = json.loads(new.stdout)
    assert same == expected
    assert pid != other


@pytest.mark.parametrize(
    "code",
    [
        *("import sys; sys.exit(3)", "import sys; sys.exit('words')", "raise SystemExit", "raise SystemExit(256)"),
        *("import os; os._exit(7)", "import os; os.kill(os.getpid(), 9)", "import os; os.kill(os.getpid(), 15)"),
        "import atexit; atexit.register(print, 'bye'); print('hello', end='')",
        "import threading, time; threading.Thread(target=lambda: (time.sleep(0.1), print('late'))).start()",
    ],
)
def test_it_ends_as_a_new_one_ends(light_python: str, tmp_path: Path, code: str) -> None:
    new, forked = (ran(each, "-c", code, folder=tmp_path) for each in (sys.executable, light_python))
    assert (forked.returncode, forked.stdout, forked.stderr) == (new.returncode, new.stdout, new.stderr)


def test_an_exception_ends_it_with_its_traceback(light_python: str, tmp_path: Path) -> None:
    done = ran(light_python, "-c", "1 / 0", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.endswith(b"ZeroDivisionError: division by zero\n")


def test_what_is_killed_from_outside_does_not_go_on(light_python: str, tmp_path: Path) -> None:
    code = "import time; print(flush=True); time.sleep(60)"
    with subprocess.Popen([light_python, "-c", code], stdout=subprocess.PIPE, cwd=tmp_path) as client:
        assert client.stdout is not None
        client.stdout.readline()
        client.kill()
        assert client.stdout.read() == b""  # which returns when the last process that could write has ended
    assert client.returncode == -9


def test_a_signal_from_outside_is_passed_on(light_python: str, tmp_path: Path) -> None:
    code = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(9)); print(flush=True); time.sleep(60)"
    with subprocess.Popen([light_python, "-c", code], stdout=subprocess.PIPE, cwd=tmp_path) as client:
        assert client.stdout is not None
        client.stdout.readline()
        client.terminate()
    assert client.returncode == 9


def test_each_starts_from_the_same_state(light_python: str, tmp_path: Path) -> None:
    code = "import json, sys; known = hasattr(json, 'mine'); json.mine = 1; sys.exit(known)"
    assert [ran(light_python, "-c", code, folder=tmp_path).returncode for _ in range(2)] == [0, 0]
