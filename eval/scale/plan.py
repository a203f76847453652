"""From a number of pictures to machines, hours, bytes and money; and what gives way first as they grow more."""

import math
from dataclasses import dataclass, field
from typing import Any

from eval.scale import machines
from eval.scale.machines import ENCODERS, FULL, LAPTOP, MEASURED, SERVER, SLOW, Encoder, Machine, Measured


@dataclass(frozen=True, slots=True)
class Limit:
    """What one machine with one index holds to: `pictures`, beyond which `what` gives way. why: the arithmetic."""

    what: str
    pictures: float
    why: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A layout for so many pictures.

    Attributes:
        pictures: How many.
        encoder: What encodes them.
        encoders: How many of its machines.
        serving: Which machine indexes and answers.
        replicas: How often each shard is held.
        exact: Answers come from all stored rows, and not from an approximate index.
        picture: Bytes of a stored picture.
        measured: What is known of this code.
    """

    pictures: int
    encoder: Encoder
    encoders: int = 1
    serving: Machine = SERVER
    replicas: int = 1
    exact: bool = False
    picture: float = machines.PICTURE
    measured: Measured = field(default=MEASURED, repr=False)

    def __post_init__(self) -> None:
        for name in ("pictures", "encoders", "replicas"):
            if getattr(self, name) < 1:
                raise ValueError(f"{getattr(self, name)} {name} are no plan: give --{name} a number from 1 on")
        if rows_an_index(self.serving, self.measured) < 1:
            raise ValueError(f"{self.serving.memory:g} bytes of memory takes no index: give --server-memory more GB")

    # ---------------------------------------------------------------- making it

    @property
    def encode_hours(self) -> float:
        """Hours of encoding."""
        return hours(self.pictures, self.encoders * self.encoder.pictures)

    @property
    def drivers(self) -> int:
        """How many indexes must be filled at once, for one process commits and rewrites only so many rows a second."""
        return min(self.indexes, math.ceil(self.encoders * self.encoder.pictures / self.measured.written))

    @property
    def reading(self) -> float:
        """Bytes of pictures a second that the encoding machines read together."""
        return self.encoders * self.encoder.pictures * self.picture

    @property
    def indexes(self) -> int:
        """How many indexes the source is divided into: the list of each is in the memory of one machine."""
        return math.ceil(self.pictures / rows_an_index(self.serving, self.measured))

    @property
    def write_hours(self) -> float:
        """Hours of commits and of rewriting, by all drivers."""
        return hours(self.pictures, self.drivers * self.measured.written)

    # ---------------------------------------------------------------- holding it

    @property
    def vectors(self) -> float:
        """Bytes of stored rows, float16."""
        return self.pictures * 2 * self.encoder.dim

    @property
    def records(self) -> float:
        """Bytes of records."""
        return self.pictures * self.measured.record

    @property
    def approximate(self) -> float:
        """Bytes of approximate indexes."""
        return 0.0 if self.exact else self.pictures * machines.codes(self.encoder.dim)

    @property
    def disk(self) -> float:
        """Bytes on disk of one replica."""
        return self.vectors + self.records + self.approximate

    @property
    def memory(self) -> float:
        """Bytes in memory of one replica, for quick answers."""
        return self.vectors if self.exact else self.approximate

    @property
    def servers(self) -> int:
        """Machines that answer, replicas included."""
        a_replica = max(self.memory / (FULL * self.serving.memory), self.disk / (FULL * self.serving.disk))
        return self.replicas * math.ceil(a_replica)

    # ---------------------------------------------------------------- asking it

    @property
    def query_ms(self) -> float:
        """Milliseconds of one query alone, its words already encoded: all servers of a replica at once, and merged."""
        a_replica = self.servers // self.replicas
        hop = machines.HOP if self.indexes > 1 else 0.0
        merge = self.indexes * 10 * 1e-3  # a microsecond for each of ten answers
        return 1e3 * self._answer_seconds(self.pictures / a_replica, self.indexes / a_replica) + hop + merge

    def _answer_seconds(self, rows: float, indexes: float) -> float:
        return answer_seconds(self.serving, self.encoder.dim, rows, self.exact, indexes, self.measured)

    @property
    def late(self) -> float:
        """The share of queries that meet the slowest hundredth of one server at least."""
        return 1 - (1 - machines.LATE) ** (self.servers // self.replicas)

    # ---------------------------------------------------------------- paying it

    @property
    def encode_dollars(self) -> float:
        """Dollars for encoding, and for the machines that commit and rewrite."""
        making = max(self.encode_hours, self.write_hours)
        return self.encode_hours * self.encoders * self.encoder.on.price + making * self.drivers * self.serving.price

    @property
    def month_dollars(self) -> float:
        """Dollars a month for machines that answer."""
        return self.servers * self.serving.price * machines.HOURS_A_MONTH

    @property
    def pictures_dollars(self) -> float:
        """Dollars a month for keeping the pictures in object storage; 0 on a machine that costs nothing."""
        return self.pictures * self.picture / machines.GB * machines.STORAGE if self.serving.price else 0.0

    def to_json(self) -> dict[str, Any]:
        """All that it says, by name."""
        said = {
            "pictures": self.pictures, "encoder": self.encoder.name, "encoding_machine": self.encoder.on.name,
            "serving_machine": self.serving.name, "exact": self.exact, "replicas": self.replicas,
        }  # fmt: skip
        names = (
            "encoders", "encode_hours", "reading", "write_hours", "drivers", "indexes", "vectors", "records",
            "approximate", "disk", "memory", "servers", "query_ms", "late", "encode_dollars", "month_dollars",
            "pictures_dollars",
        )  # fmt: skip
        first = limits(self.serving, self.encoder, self.measured)[0]
        return said | {name: getattr(self, name) for name in names} | {"first_limit": first.what}


def hours(pictures: float, speed: float) -> float:
    """Hours for so many pictures at so many a second."""
    return pictures / speed / 3600


def rows_an_index(machine: Machine, measured: Measured = MEASURED) -> int:
    """How many pictures one index takes on that machine: listed, and rewritten at the end, with the list in memory."""
    return max(0, int((FULL * machine.memory - measured.rewriting) / measured.item))


def answer_seconds(
    machine: Machine, dim: int, rows: float, exact: bool, indexes: float = 1, measured: Measured = MEASURED
) -> float:
    """Seconds that one query takes on a machine with so many rows in so many indexes."""
    if exact:
        return rows * 2 * dim / min(machine.bandwidth, machine.cores * measured.scan)
    read = rows * machines.codes(dim) * machines.LISTS
    steady = machines.STEADY * max(1.0, indexes / machine.cores)
    return steady + read / min(machine.bandwidth, machine.cores * machines.CODES) + _fetch(machine, indexes)


def _fetch(machine: Machine, indexes: float) -> float:
    return indexes * machines.FETCHED / machine.reads


def limits(machine: Machine, encoder: Encoder, measured: Measured = MEASURED) -> list[Limit]:
    """What one machine with one index holds to, the first to give way first."""
    dim, week = encoder.dim, machines.HOURS_A_WEEK * 3600
    row = 2 * dim + measured.record + machines.codes(dim)
    memory, disk = FULL * machine.memory, FULL * machine.disk
    apart = answer_seconds(machine, dim, 0, exact=False)
    found = [
        Limit("one index", rows_an_index(machine, measured),
              "the list of its source, in the memory of one machine",
              "parts of the source, an index each, joined as shards"),
        Limit("exact answers within a second", SLOW / answer_seconds(machine, dim, 1, exact=True, measured=measured),
              "every query reads all rows", "the approximate index, or more servers"),
        Limit("rows in memory", memory / (2 * dim), "exact search beyond that reads the disk",
              "the approximate index, or more servers"),
        Limit("codes in memory", memory / machines.codes(dim), "the approximate index is kept whole in memory",
              "more servers"),
        Limit("approximate answers within a second",
              (SLOW - apart) / (answer_seconds(machine, dim, 1, exact=False) - apart),
              "every query reads some of the codes", "more servers"),
        Limit("disk", disk / row, "vectors, records and codes", "more servers"),
        Limit("encoding within a week", encoder.pictures * week, "one machine encodes so many", "more of them"),
        Limit("commits within a week", measured.written * week, "one process commits and rewrites an index",
              "indexes filled side by side"),
    ]  # fmt: skip
    return sorted(found, key=lambda limit: limit.pictures)


def broken(pictures: int, before: int, machine: Machine, encoder: Encoder) -> list[Limit]:
    """The limits of one machine that so many pictures pass and `before` did not, the first to give way first."""
    return [limit for limit in limits(machine, encoder) if before <= limit.pictures < pictures]


def plan(
    pictures: int,
    encoder: Encoder | None = None,
    replicas: int = 1,
    exact: bool = False,
    serving: Machine | None = None,
) -> Plan:
    """The smallest layout that encodes within a week: the laptop with builtin where one index there takes them all."""
    at_home = pictures <= rows_an_index(LAPTOP)
    serving = serving or (LAPTOP if at_home else SERVER)
    encoder = encoder or ENCODERS["builtin" if serving is LAPTOP else "ViT-B/32"]
    needed = hours(max(pictures, 1), encoder.pictures) / machines.HOURS_A_WEEK
    return Plan(
        pictures=pictures, encoder=encoder, encoders=max(1, math.ceil(needed)), serving=serving, replicas=replicas,
        exact=exact,
    )  # fmt: skip
