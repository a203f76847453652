"""Which way of exact search is the fastest here: by processor, rows and queries.

Measured on two cores with VNNI and without AMX, 200,000 random rows of 512 (`python -m eval.bench.exact`). What stands
here of other processors is what their instructions let expect.
"""

from dataclasses import dataclass

FAISS_FROM_ROWS = 50_000  # below this, importing FAISS (about 0.1 s) costs more than it saves
TORCH_FROM_ROWS = 2_000  # where torch is loaded anyway: NumPy's threads and its own get in each other's way
TORCH_FROM_SCORES = 30_000_000  # below this, importing torch (about 1 s) costs more than it saves
# Queries put to the same rows, from which codes pay: rounding the rows takes about a second, which a batch of 32 gains
# at once, and single queries 3.5 ms each.
CODES_FROM_ASKED, CODES_FROM_SINGLES = 32, 300
FEW = 8  # queries that each read all rows

# By processor: how more than FEW queries are scanned where torch is loaded, and where it is not. With VNNI codes take
# .6 of the processor time of torch's bfloat16 for 32 and 128 queries, .5 for 1,000. A "plain" processor multiplies
# sixteen bits at a time: with torch loaded float32 took 102 ms for 32 queries and 433 for 128.
MANY = {"amx": ("torch", "torch"), "vnni": ("codes", "codes"), "bf16": ("torch", "codes"), "plain": ("torch", "codes")}


@dataclass(frozen=True, slots=True)
class Here:
    """What is at hand: the processor (cpu.kind), is torch loaded, is it installed, is ONNX Runtime (products)."""

    kind: str
    loaded: bool
    installed: bool
    products: bool


def choose(rows: int, queries: int, asked: int, here: Here) -> str:
    """ "numpy", "faiss", "codes" or "torch".

    rows: of all segments. queries: at once. asked: those put to the same rows so far, these among them.
    """
    if rows < FAISS_FROM_ROWS:
        many = rows * queries >= TORCH_FROM_SCORES and here.installed
        return "torch" if many or (here.loaded and rows >= TORCH_FROM_ROWS) else "numpy"
    if queries <= FEW:
        return "codes" if asked >= CODES_FROM_SINGLES else "faiss"
    way = MANY[here.kind][0 if here.loaded else 1]
    pays = here.loaded or (here.installed and rows * queries >= TORCH_FROM_SCORES)
    if way == "torch" and not pays:
        way = "codes"
    if way == "codes" and not here.products:
        way = "torch" if pays else "faiss"
    return "faiss" if way == "codes" and asked < CODES_FROM_ASKED else way
