"""Which instructions this processor has for matrices of low precision."""

import functools
import platform
import re
from pathlib import Path


def has_fast_bf16() -> bool:
    """True where the processor has AMX or AVX512 instructions for bfloat16 (seen on Linux only)."""
    return not features().isdisjoint(("amx_bf16", "avx512_bf16"))


def has_vnni() -> bool:
    """True where the processor adds products of 8 bits in 32, so that none overflows (seen on Linux only)."""
    return not features().isdisjoint(("avx512_vnni", "avx_vnni", "amx_int8"))


def processor() -> str:
    """What this processor is called, with what is told of it here: "AMD EPYC (avx2 avx512_bf16 avx512_vnni)"."""
    found = re.search(r"^model name\s*:\s*(.+)$", _said(), re.MULTILINE)
    name = found[1].strip() if found else platform.processor() or platform.machine()
    return f"{name} ({' '.join(sorted(features() & _TOLD))})"


_TOLD = {"avx2", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8", "asimd", "i8mm"}


@functools.cache
def features() -> frozenset[str]:
    """The instructions that Linux says it has; none elsewhere."""
    return frozenset(re.findall(r"\w+", _said()))


@functools.cache
def _said() -> str:
    try:
        return Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return ""
