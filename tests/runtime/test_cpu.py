"""The CPU as each system describes it."""

import pytest

from pfa_gate.budget import Machine
from pfa_gate.runtime.cpu import Cpu, from_cpuinfo, from_sysctl

EPYC = """\
processor\t: 0
vendor_id\t: AuthenticAMD
model\t\t: 1
model name\t: AMD EPYC 7R13
flags\t\t: fpu sse2 fma f16c avx avx2 avx2x

processor\t: 1
model name\t: another one
flags\t\t: avx512f
"""
XEON = (
    "model name\t: Intel(R) Xeon(R)\nflags\t\t: avx avx2 fma avx512f avx512bw avx512vl avx512_vnni amx_int8 amx_tile\n"
)
PI = """\
processor\t: 0
Features\t: fp asimd evtstrm crc32 asimdhp asimddp
CPU implementer\t: 0x41
CPU part\t: 0xd0b

Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""
GRAVITON = "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm bf16 sve\nCPU implementer\t: 0x41\nCPU part\t: 0xd40\n"


def test_linux_names_the_first_cpu_and_only_whole_words_are_flags() -> None:
    assert from_cpuinfo(EPYC) == Cpu("AMD EPYC 7R13", ("avx", "avx2", "fma", "f16c"))
    assert from_cpuinfo(PI) == Cpu("Raspberry Pi 5 Model B Rev 1.0", ("asimd", "asimdhp", "asimddp"))
    graviton = from_cpuinfo(GRAVITON)
    assert graviton.name.endswith("implementer 0x41 part 0xd40")
    assert graviton.flags == ("asimd", "asimddp", "i8mm", "bf16", "sve")


def test_macos_names_features_in_its_own_words() -> None:
    intel = {
        "machdep.cpu.brand_string": b"Intel(R) Core(TM) i7\0",
        "machdep.cpu.features": b"FPU FMA AVX1.0 F16C\0",
        "machdep.cpu.leaf7_features": b"AVX2 BMI2\0",
    }
    assert from_sysctl(lambda name: intel.get(name, b"")) == Cpu("Intel(R) Core(TM) i7", ("avx", "avx2", "fma", "f16c"))
    apple = {
        "machdep.cpu.brand_string": b"Apple M2\0",
        "hw.optional.arm.FEAT_I8MM": b"\1\0\0\0",
        "hw.optional.arm.FEAT_DotProd": b"\1\0\0\0",
        "hw.optional.arm.FEAT_SME": b"\0\0\0\0",
    }
    assert from_sysctl(lambda name: apple.get(name, b"")) == Cpu("Apple M2", ("asimddp", "i8mm"))
    assert from_sysctl(lambda name: b"").flags == ()


@pytest.mark.parametrize(("text", "saturates"), [(EPYC, True), (XEON, False), (PI, False), ("", False)])
def test_sums_of_bytes_overflow_where_avx2_has_no_vnni(text: str, saturates: bool) -> None:
    cpu = from_cpuinfo(text)
    assert Machine("ONNX Runtime", ("CPUExecutionProvider",), 1, cpu.name, cpu.flags).saturates is saturates
