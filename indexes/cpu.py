"""Which instructions this processor has for matrices of low precision."""

import functools
from pathlib import Path


@functools.cache
def has_fast_bf16() -> bool:
    """True where the processor has AMX or AVX512 instructions for bfloat16 (seen on Linux only)."""
    try:
        flags = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return False
    return "amx_bf16" in flags or "avx512_bf16" in flags
