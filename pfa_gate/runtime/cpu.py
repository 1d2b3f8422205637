"""Which CPU this is, and which of its instructions decide how a runtime computes."""

import ctypes
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# As Linux spells them; other systems' names are turned into these.
FLAGS = (
    "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "avx_vnni", "avx_vnni_int8", "amx_tile", "amx_int8", "amx_bf16",
    "neon", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2", "svei8mm", "sme",
)  # fmt: skip
"""The instructions that kernels are chosen by: widths of vectors, and products of eight bits."""
_OF_APPLE = {"AdvSIMD": "asimd", "DotProd": "asimddp", "I8MM": "i8mm", "BF16": "bf16", "FP16": "asimdhp", "SME": "sme"}


@dataclass(frozen=True)
class Cpu:
    """A CPU.

    Attributes:
        name: of its model.
        flags: of `FLAGS`, those that it has, in that order; empty where they are not known.
    """

    name: str
    flags: tuple[str, ...]


def this_cpu() -> Cpu:
    """The CPU of this machine; what the system does not tell is left out.

    Example:
        >>> set(this_cpu().flags) <= set(FLAGS)
        True
    """
    try:
        return from_cpuinfo(Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return from_sysctl(_sysctl) if sys.platform == "darwin" else Cpu(_unnamed(), ())


def from_cpuinfo(text: str) -> Cpu:
    r"""The CPU that Linux describes in /proc/cpuinfo.

    Args:
        text: of the file.

    Example:
        >>> from_cpuinfo("model name\t: AMD EPYC\nflags\t\t: fpu avx2 avx\n")
        Cpu(name='AMD EPYC', flags=('avx', 'avx2'))
    """
    lines = (line.partition(":") for line in text.splitlines())
    found: dict[str, str] = {}
    for key, _, value in lines:
        found.setdefault(key.strip().lower(), value.strip())
    held = set((found.get("flags") or found.get("features") or "").lower().split())
    return Cpu(_model(found), tuple(flag for flag in FLAGS if flag in held))


def _model(found: dict[str, str]) -> str:
    name = found.get("model name") or found.get("hardware") or found.get("model")
    if name and not name.isdecimal():
        return name
    parts = (f"{key[4:]} {found[key]}" for key in ("cpu implementer", "cpu part") if key in found)
    return " ".join([_unnamed(), *parts])


def _unnamed() -> str:
    return platform.processor() or platform.machine() or "unknown CPU"


def from_sysctl(value: Callable[[str], bytes]) -> Cpu:
    r"""The CPU that macOS describes.

    Args:
        value: of a name of sysctl; empty for an unknown one.

    Example:
        >>> answers = {"machdep.cpu.brand_string": b"Apple M2", "hw.optional.arm.FEAT_DotProd": b"\x01\0\0\0"}
        >>> from_sysctl(lambda name: answers.get(name, b""))
        Cpu(name='Apple M2', flags=('asimddp',))
    """
    name = value("machdep.cpu.brand_string").rstrip(b"\0").decode(errors="replace")
    leaves = ("machdep.cpu.features", "machdep.cpu.leaf7_features")
    held = {word.lower() for leaf in leaves for word in value(leaf).rstrip(b"\0").decode(errors="replace").split()}
    held = {"avx" if word == "avx1.0" else word for word in held}
    held |= {ours for theirs, ours in _OF_APPLE.items() if any(value(f"hw.optional.arm.FEAT_{theirs}"))}
    return Cpu(name or _unnamed(), tuple(flag for flag in FLAGS if flag in held))


def _sysctl(name: str) -> bytes:
    length = ctypes.c_size_t(1024)
    held = ctypes.create_string_buffer(length.value)
    failed = ctypes.CDLL(None).sysctlbyname(name.encode(), held, ctypes.byref(length), None, 0)
    return b"" if failed else held.raw[: length.value]
