"""Sessions of ONNX Runtime. Whoever names a number of threads imports neither torch nor ONNX."""

import importlib
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

from pfa_gate.budget.parity import Machine
from pfa_gate.budget.wording import listed
from pfa_gate.errors import CandidateError
from pfa_gate.runtime.cpu import this_cpu

_NEEDED = ("onnx", "onnxruntime")
_OTHER = "It lacks an operator of the file: update the runtime, or write the file for this version of it."
ON_CPU = ("CPUExecutionProvider",)


def require_runtime(name: str) -> None:
    """Refuse an ONNX file that cannot be run here.

    Raises:
        CandidateError: the extra `onnx` is not installed.
    """
    missing = [package for package in _NEEDED if find_spec(package) is None]
    if missing:
        fact = f"{name} is an ONNX file, which needs {listed(missing, len(_NEEDED))}."
        raise CandidateError(fact, remedy="Run pip install 'pfa-gate[onnx]'.")


def first_line(error: Exception) -> str:
    r"""The first line of an exception, without its full stop.

    Example:
        >>> first_line(ValueError("too large.\nAnd more."))
        'ValueError: too large'
    """
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line[:300]}".rstrip(". :")


def onnx_session(
    content: bytes | str, name: str, threads: int = 0, *, optimised: bool = True, providers: Sequence[str] = ON_CPU
) -> Any:
    """A session of ONNX Runtime, on the CPU unless other providers are named.

    Args:
        content: of the file, or its path where tensors of it lie in other files.
        name: of the file, for people.
        threads: of each operator; as many as torch uses unless given. With one, all work is done by the thread that
            calls, and none waits by keeping a core busy.
        optimised: whether the runtime may fuse and reorder operators.
        providers: of kernels, in the order in which they are asked.

    Raises:
        CandidateError: the runtime does not take it, or has no such provider.
    """
    runtime = importlib.import_module("onnxruntime")
    lacking = [each for each in providers if each not in runtime.get_available_providers()]
    if lacking:
        known = ", ".join(runtime.get_available_providers())
        raise CandidateError(f"{runtime_version()} has no provider '{lacking[0]}' here.", remedy=f"It has {known}.")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or _threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not optimised:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if threads == 1:
        for kind in ("intra_op", "inter_op"):
            options.add_session_config_entry(f"session.{kind}.allow_spinning", "0")
    return _made(lambda: runtime.InferenceSession(content, options, providers=list(providers)), name)


def _threads() -> int:
    from torch import get_num_threads  # noqa: PLC0415  not for those who name a number

    return get_num_threads()


def machine_of(session: Any, threads: int) -> Machine:
    """What a session runs on.

    Args:
        session: of ONNX Runtime, or one of another runtime, which knows its version.
        threads: of each operator.
    """
    cpu = this_cpu()
    version = getattr(session, "version", "") or runtime_version()
    return Machine(version, tuple(session.get_providers()), threads, cpu.name, cpu.flags)


def _made(make: Callable[[], Any], name: str) -> Any:
    try:
        return make()
    except Exception as error:  # the runtime refuses in exceptions of its own
        remedy = _OTHER if "NotImplemented" in type(error).__name__ or "is not a registered" in str(error) else ""
        fact = f"{runtime_version()} does not take {name}: {first_line(error)}."
        raise CandidateError(fact, remedy=remedy) from error


def runtime_version() -> str:
    """The runtime with its version, for people."""
    return f"ONNX Runtime {importlib.import_module('onnxruntime').__version__}"
