"""Which instructions this processor has for matrices of low precision (seen on Linux only)."""

import functools
from pathlib import Path


@functools.cache
def flags() -> frozenset[str]:
    """The names of its instruction sets, as Linux says them; none elsewhere."""
    try:
        said = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return frozenset()
    return frozenset(next((line for line in said.splitlines() if line.startswith("flags")), "").split())


def has_fast_bf16() -> bool:
    """True where it has AMX or AVX512 instructions for bfloat16."""
    return bool({"amx_bf16", "avx512_bf16"} & flags())


def kind() -> str:
    """What decides how rows are scanned: "amx", "vnni" (exact products of eight bits), "bf16", or "plain"."""
    if "amx_bf16" in flags():
        return "amx"
    if {"avx512_vnni", "avx_vnni"} & flags():
        return "vnni"
    return "bf16" if "avx512_bf16" in flags() else "plain"
