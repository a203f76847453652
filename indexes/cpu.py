"""This processor: its cores, and its instructions for matrices of low precision (seen on Linux only)."""

import functools
import os
import platform
import re
from pathlib import Path

_TOLD = {"avx2", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8", "asimd", "i8mm"}


def cores() -> int:
    """Cores that this process may use; OMP_NUM_THREADS where it says fewer, as torch has it."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(there, int(said)) if said.isdecimal() and int(said) else there


@functools.cache
def flags() -> frozenset[str]:
    """The names of its instruction sets, as Linux says them; none elsewhere."""
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", _said(), re.MULTILINE)  # x86, ARM
    return frozenset(found[1].split()) if found else frozenset()


def has_fast_bf16() -> bool:
    """True where it has AMX or AVX512 instructions for bfloat16."""
    return bool({"amx_bf16", "avx512_bf16"} & flags())


def has_vnni() -> bool:
    """True where it adds products of eight bits in 32, so that none overflows."""
    return bool({"avx512_vnni", "avx_vnni", "amx_int8"} & flags())


def kind() -> str:
    """What decides how rows are scanned: "amx", "vnni" (exact products of eight bits), "bf16", or "plain"."""
    if "amx_bf16" in flags():
        return "amx"
    if has_vnni():
        return "vnni"
    return "bf16" if "avx512_bf16" in flags() else "plain"


def processor() -> str:
    """What it is called, with what is told of it here: "AMD EPYC (avx2 avx512_bf16 avx512_vnni)"."""
    found = re.search(r"^model name\s*:\s*(.+)$", _said(), re.MULTILINE)
    name = found[1].strip() if found else platform.processor() or platform.machine()
    return f"{name} ({' '.join(sorted(flags() & _TOLD))})"


@functools.cache
def _said() -> str:
    try:
        return Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return ""
