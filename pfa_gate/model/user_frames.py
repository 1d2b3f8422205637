"""Where in the user's own files an exception came from, in one line for error messages."""

import sys
import sysconfig
from pathlib import Path
from types import FrameType, TracebackType

from pfa_gate.files import display_path

_LONGEST = 400
_OURS = Path(__file__).resolve().parent.parent
_INSTALLED = tuple(
    Path(path).resolve()
    for name, path in sysconfig.get_paths().items()
    if name in {"stdlib", "platstdlib", "purelib", "platlib"}
)


def raised(error: BaseException) -> str:
    """Say what was raised and where: type, message, and the deepest line that is the user's.

    Args:
        error: an exception that was caught, with its traceback.

    Returns:
        One line, such as `ValueError: width must be positive (model.py:12)`.

    Example:
        >>> raised(KeyError("width"))
        "KeyError: 'width'"
    """
    message = " ".join(str(error.msg if isinstance(error, SyntaxError) else error).split())
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 1] + "…"
    line = origin(error)
    return f"{text} ({line})" if line else text


# What torch says where a device is not there, or where tensors lie on several.
_ABOUT_DEVICES = (
    "not compiled with CUDA",
    "not linked with support for",
    "no NVIDIA driver",
    "No CUDA GPUs are available",
    "no CUDA-capable device",
    "on the same device",
    "deserialize object on a CUDA device",
)


def about_devices(error: BaseException) -> str:
    """The remedy where user code chose a device that is not there, or not the model's; else nothing.

    Example:
        >>> about_devices(AssertionError("Torch not compiled with CUDA enabled"))[:36]
        'Leave out .cuda() and device="cuda":'
    """
    if not any(words in str(error) for words in _ABOUT_DEVICES):
        return ""
    return (
        'Leave out .cuda() and device="cuda": the gate moves model and data itself (model.device). Inside forward '
        'write device=x.device; load files with map_location="cpu".'
    )


def origin(error: BaseException) -> str | None:
    """Give `file:line` of the deepest frame in the user's files, or None where there is none.

    Example:
        >>> origin(ValueError("never raised")) is None
        True
    """
    if isinstance(error, SyntaxError) and error.filename:
        return f"{shown(Path(error.filename))}:{error.lineno}"
    lines = [(file, line) for file, line in _frames(error.__traceback__) if _is_users(file)]
    return f"{shown(lines[-1][0])}:{lines[-1][1]}" if lines else None


def running_line() -> str:
    """Give `file:line` of the user's innermost frame that is running; empty where there is none.

    Example:
        >>> running_line().rpartition(":")[2].isdigit() or running_line() == ""
        True
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        file = Path(frame.f_code.co_filename)
        if _is_users(file):
            return f"{shown(file)}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def shown(path: Path) -> str:
    """Write a path as the user would: from the current folder where it lies below it.

    Example:
        >>> shown(Path.cwd() / "model.py")
        'model.py'
    """
    return display_path(path.resolve())


def _frames(traceback: TracebackType | None) -> list[tuple[Path, int]]:
    frames = []
    while traceback is not None:
        frames.append((Path(traceback.tb_frame.f_code.co_filename), traceback.tb_lineno))
        traceback = traceback.tb_next
    return frames


def _is_users(file: Path) -> bool:
    # "<frozen importlib>" and "<string>" are no files.
    if str(file).startswith("<"):
        return False
    path = file.resolve()
    return not any(path.is_relative_to(root) for root in (_OURS, *_INSTALLED))
