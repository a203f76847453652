"""What the model is made of: machines and their prices, encoders and their speed, what was measured of this code.

Bytes are decimal: a GB is 10^9. Prices are in US dollars, those of the date in `source`; every one can be given anew.
"""

from dataclasses import dataclass

GB, TB = 10**9, 10**12
HOURS_A_MONTH, HOURS_A_WEEK = 730, 168
FULL = 0.8  # of a memory or a disk that is planned with: the rest is for all else


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine.

    Attributes:
        name: What it is called in the tables.
        cores: That compute; hyperthreads do not count.
        memory: Bytes.
        disk: Bytes of its fast disk.
        bandwidth: Bytes a second that all cores together read of memory.
        reads: Random reads of a few KB a second that its disk answers.
        price: Dollars an hour.
        source: Where its figures are from.
    """

    name: str
    cores: int
    memory: float
    disk: float
    bandwidth: float
    reads: float
    price: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """An encoder. dim: numbers in a vector; pictures: a second, on a machine of the kind `on`."""

    name: str
    dim: int
    pictures: float
    on: Machine
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What `python -m eval.bench.scale` prints, on one thread.

    Attributes:
        processor: Which, and what else ran.
        commits: Rows a second that Store.add commits among three million rows with names in no order.
        early: The same among one million.
        in_order: The same among one million with names in their order, as folders have them.
        record: Bytes of a record in mmr.db.
        item: Bytes of a listed item in the memory of who indexes.
        rewriting: Bytes that a compaction holds in memory at most, whatever the rows.
        rewritten: Rows a second that it writes, of few with names in their order.
        scan: Bytes a second of stored rows that one query is compared with.
        builtin: Pictures a second of one process of the encoder builtin.
    """

    processor: str
    commits: float
    early: float
    in_order: float
    record: float
    item: float
    rewriting: float
    rewritten: float
    scan: float
    builtin: float

    @property
    def written(self) -> float:
        """Rows a second that one process commits and, at the end of its work, rewrites."""
        return 1 / (1 / self.commits + 1 / self.rewritten)


MEASURED = Measured(
    processor="AMD EPYC, 2 cores that other work shared, 24 GB, one thread, 2026-11-29",
    commits=20_690, early=23_790, in_order=52_200, record=461, item=1_178, rewriting=16_980_000, rewritten=44_200,
    scan=17.3 * GB, builtin=52.5,
)  # fmt: skip

LAPTOP = Machine(
    name="laptop", cores=4, memory=16 * GB, disk=1 * TB, bandwidth=40 * GB, reads=200_000, price=0,
    source="an assumption; it is there already",
)  # fmt: skip
SERVER = Machine(
    name="server", cores=16, memory=262 * GB, disk=7.6 * TB, bandwidth=60 * GB, reads=1_600_000, price=2.608,
    source="AWS i3.8xlarge (244 GiB, four NVMe disks), list price of eu-north-1, 2019-06; bandwidth and reads assumed",
)  # fmt: skip
GPUS = Machine(
    name="node of 8 A100", cores=48, memory=1_237 * GB, disk=8 * TB, bandwidth=200 * GB, reads=1_600_000, price=32.77,
    source="AWS p4d.24xlarge, price as quoted by usage.ai, 2026-06-24; bandwidth and reads assumed",
)  # fmt: skip

BENCHMARKS = "clip-retrieval, docs/distributed_clip_inference.md"
ENCODERS = {
    each.name: each
    for each in (
        Encoder(
            name="builtin", dim=512, pictures=LAPTOP.cores * MEASURED.builtin, on=LAPTOP,
            source="one process measured, times the cores of the laptop",
        ),
        Encoder(name="ViT-B/32", dim=512, pictures=7_000, on=GPUS, source=f"{BENCHMARKS}: decoding is the limit"),
        Encoder(name="ViT-L/14", dim=768, pictures=2_500, on=GPUS, source=f"{BENCHMARKS}: the GPUs are"),
    )
}  # fmt: skip

PICTURE = 37_500  # bytes: 220 TB of LAION-5B at 384 pixels, by 5.86 billion (img2dataset, dataset_examples/laion5B.md)
STORAGE = (
    0.023  # dollars a GB and month of object storage: the first 50 TB of S3, as public price lists have it, undated
)
SLOW = 1.0  # seconds after which an answer is late
HOP = 2.9  # ms from a query to a shard and back: Ray's own figures, Serve's p50 of 2.2 and an actor's call of 0.7
LATE = 0.01  # of answers of one machine are its slowest hundredth

# An approximate index: text queries at a recall of 0.95, VIBE's FAISS IVF-PQ on 1,000,000 x 512, one core.
LISTS = 64 / 1024  # of the lists that are read: of a larger index it may be less, and is taken to be the same
STEADY = 0.958e-3  # seconds a query whatever is read: two of VIBE's three points, and the third is checked
CODES = 14.2 * GB  # bytes a second of codes
FETCHED = 113  # rows whose stored vectors are compared, of each index: more, and indexes.approximate takes wider codes


def codes(dim: int) -> float:
    """Bytes of a row in an approximate index, IVF and 4-bit product quantisation of all dimensions."""
    return dim / 4 + 8
