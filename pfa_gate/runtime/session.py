"""Sessions of ONNX Runtime on the CPU."""

import importlib
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch

from pfa_gate.budget.wording import listed
from pfa_gate.errors import CandidateError

_NEEDED = ("onnx", "onnxruntime")


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


def onnx_session(content: bytes | str, name: str, threads: int = 0, *, optimised: bool = True) -> Any:
    """A session of ONNX Runtime on the CPU.

    Args:
        content: of the file, or its path where tensors of it lie in other files.
        name: of the file, for people.
        threads: of each operator; as many as torch uses unless given.
        optimised: whether the runtime may fuse and reorder operators.

    Raises:
        CandidateError: the runtime does not take it.
    """
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if not optimised:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return _made(lambda: runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"]), name)


def _made(make: Callable[[], Any], name: str) -> Any:
    try:
        return make()
    except Exception as error:  # the runtime refuses in exceptions of its own
        raise CandidateError(f"ONNX Runtime does not take {name}: {first_line(error)}.") from error


def runtime_version() -> str:
    """The runtime with its version, for people."""
    return f"ONNX Runtime {importlib.import_module('onnxruntime').__version__}"
