"""Which way of exact search is the fastest here: by processor, rows and queries.

Measured on two cores with VNNI and without AMX, 200,000 random rows of 512 (`python -m eval.bench.exact`), and with
the kernels of a processor that has AVX2 alone. "torch" on AMX was measured where AMX is; NumKong's there was not.
"""

from dataclasses import dataclass

SCANNED_FROM_ROWS = 1_000  # below this, NumPy has its answer before a scan in low precision has begun
# Queries put to the same rows, from which codes pay: rounding the rows takes half a second, and a batch of 32 takes
# 20 ms less then. So many at once wait for them; fewer are answered by halves while they are made beside.
CODES_FROM_ASKED, CODES_AT_ONCE = 1_000, 256
FEW = 8  # queries that each read all rows


@dataclass(frozen=True, slots=True)
class Here:
    """What is at hand: the processor (cpu.kind), is torch loaded, and is NumKong installed (kernels.can)."""

    kind: str
    loaded: bool
    kernels: bool = True


def choose(rows: int, queries: int, asked: int, here: Here) -> str:
    """ "numpy", "halves", "codes" or "torch".

    rows: of all segments. queries: at once. asked: those put to the same rows so far, these among them.
    """
    if rows < SCANNED_FROM_ROWS or not (here.kernels or here.loaded):
        return "numpy"
    if not here.kernels:
        return "torch"
    if here.kind == "amx" and here.loaded and queries > FEW:
        return "torch"
    return "codes" if asked >= CODES_FROM_ASKED else "halves"
