"""The tables of docs/scale.md, and of a terminal: Markdown, every figure from the model."""

from collections.abc import Callable, Sequence
from dataclasses import asdict

from eval.scale import machines
from eval.scale.machines import ENCODERS, GPUS, LAPTOP, MEASURED, SERVER
from eval.scale.plan import Limit, Plan, broken, hours, limits, plan, rows_an_index
from eval.scale.published import ANCHORS, LAION

SIZES = (10**6, 10**8, 10**9, 10**10)
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_ROWS: tuple[tuple[str, Callable[[Plan], str]], ...] = (
    ("encoded by", lambda p: f"{p.encoders} x {p.encoder.on.name}, {p.encoder.name}"),
    ("hours of encoding", lambda p: figure(p.encode_hours)),
    ("pictures read", lambda p: f"{size(p.reading)}/s"),
    ("indexes (shards), each listed in one memory", lambda p: f"{p.indexes:,}"),
    ("... filled at once", lambda p: f"{p.drivers:,}"),
    ("hours of commits and rewriting", lambda p: figure(p.write_hours)),
    ("vectors + records + codes on disk", lambda p: " + ".join(map(size, (p.vectors, p.records, p.approximate)))),
    ("in memory to answer: approximate, exact", lambda p: f"{size(p.memory)}, {size(p.vectors)}"),
    ("answered by: approximate, exact", lambda p: f"{_served(p)}, {_served(_exactly(p))}"),
    ("ms of one query: approximate, exact", lambda p: f"{figure(p.query_ms)}, {figure(_exactly(p).query_ms)}"),
    ("queries that meet a server's slowest 1 %", lambda p: f"{100 * p.late:.0f} %"),
    ("dollars, once: encoding and indexing", lambda p: dollars(p.encode_dollars)),
    ("dollars a month: answering, one replica", lambda p: dollars(p.month_dollars)),
    ("... exactly", lambda p: dollars(_exactly(p).month_dollars)),
    ("... the pictures in object storage", lambda p: dollars(p.pictures_dollars)),
)


def figure(value: float) -> str:
    """A number to two digits at least, and to whole ones where it has more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def size(value: float) -> str:
    """Bytes in decimal units."""
    return next((f"{figure(value / unit)} {name}B" for unit, name in _UNITS if value >= unit), f"{value:.0f} B")


def count(value: float) -> str:
    """So many pictures, in words that `--pictures` takes."""
    named = ((1e9, "B"), (1e6, "M"), (1e3, "k"))
    return next((f"{figure(value / unit)}{name}" for unit, name in named if value >= unit), f"{value:.0f}")


def dollars(value: float) -> str:
    """Dollars, whole ones."""
    return f"${value:,.0f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows as Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _exactly(plan: Plan) -> Plan:
    said = {name: getattr(plan, name) for name in plan.__dataclass_fields__}
    return Plan(**said | {"exact": True})


def _served(plan: Plan) -> str:
    return f"{plan.servers} x {plan.serving.name}"


# ---------------------------------------------------------------- the tables


def sizes(plans: Sequence[Plan] = ()) -> str:
    """What each size takes."""
    plans = plans or [plan(pictures) for pictures in SIZES]
    rows = [(name, *(shown(each) for each in plans)) for name, shown in _ROWS]
    return table(["pictures", *(count(each.pictures) for each in plans)], [*rows, ("breaks first", *_first(plans))])


def _first(plans: Sequence[Plan]) -> list[str]:
    """What of one machine each size passes first, that the one before did not."""
    told, before = [], 0
    for each in plans:
        passed = broken(each.pictures, before, each.serving, each.encoder)
        told.append(_passed(passed[0]) if passed else f"nothing; next {_passed(limits(each.serving, each.encoder)[0])}")
        before = each.pictures
    return told


def _passed(limit: Limit) -> str:
    return f"{limit.what} ({count(limit.pictures)})"


def one_machine() -> str:
    """What one laptop, and one server, with one index holds to."""
    at_home = {limit.what: limit.pictures for limit in limits(LAPTOP, ENCODERS["builtin"])}
    rows = [
        (limit.what, count(at_home[limit.what]), count(limit.pictures), limit.why, limit.remedy)
        for limit in limits(SERVER, ENCODERS["ViT-B/32"])
    ]
    return table(["what gives way", LAPTOP.name, SERVER.name, "why", "what helps"], rows)


def published() -> str:
    """Published figures beside the model's."""
    rows = [
        (each.what, each.source, f"{each.published:,g} {each.unit}", f"{each.model():,.4g} {each.unit}",
         f"{100 * each.off:+.1f} %", each.inputs)
        for each in ANCHORS
    ]  # fmt: skip
    return table(["what", "source", "published", "model", "off by", "taken from the source"], rows)


def laion() -> str:
    """What the model says of encoding LAION-5B, of which no total was found to compare it with."""
    encoder = ENCODERS["ViT-L/14"]
    taken = hours(LAION, encoder.pictures)
    return (
        f"Encoding all of LAION-5B with {encoder.name} is {figure(taken)} hours of one {encoder.on.name} by this model,"
        f" {figure(8 * taken)} of one GPU, {dollars(taken * encoder.on.price)}; no published total was found.\n"
    )


def measured() -> str:
    """What was measured of this code."""
    said = {name: value for name, value in asdict(MEASURED).items() if name != "processor"}
    told = {
        "commits": "rows/s committed at the end of 3,000,000, names in no order", "early": "... of 1,000,000",
        "in_order": "... of 1,000,000, names in their order",
        "record": "bytes of a record in `mmr.db`", "item": "bytes of a listed picture, in memory",
        "rewriting": "a compaction in memory, whatever the rows",
        "rewritten": "rows/s of a compaction, 100,000 in their order",
        "scan": "bytes/s of rows that one query is compared with", "builtin": "pictures/s of `builtin`, one process",
    }  # fmt: skip
    bytes_ = ("rewriting", "scan")
    rows = [(told[name], size(value) if name in bytes_ else f"{value:,g}") for name, value in said.items()]
    index = [(f"so one index takes, in {size(each.memory)} of memory", f"{count(rows_an_index(each))} pictures")
             for each in (LAPTOP, SERVER)]  # fmt: skip
    return table([MEASURED.processor, ""], [*rows, *index])


def prices() -> str:
    """The machines, their prices, and where those are from."""
    rows = [
        (each.name, f"{each.cores}", size(each.memory), size(each.disk), f"{size(each.bandwidth)}/s",
         f"${each.price:g}", each.source)
        for each in (LAPTOP, SERVER, GPUS)
    ]  # fmt: skip
    return table(["machine", "cores", "memory", "disk", "memory read", "an hour", "source"], rows)


def assumptions() -> str:
    """What else the model takes for given."""
    rows = [
        ("a stored picture", size(machines.PICTURE), "LAION-5B at 384 pixels: 220 TB of 5.86 billion"),
        ("object storage, GB and month", f"${machines.STORAGE:g}", "S3, its first 50 TB: a price list, undated"),
        ("memory and disk that are planned with", f"{machines.FULL:.0%}", "the rest is for all else"),
        ("a query to a shard and back", f"{machines.HOP:g} ms", "Ray's own figures: Serve's p50 and an actor's call"),
        ("lists that an approximate search reads", f"{machines.LISTS:.2%}", "VIBE: recall 0.95 on text, 1M rows"),
        ("codes of a row, 512 numbers", size(machines.codes(512)), "IVF and PQ of all dimensions"),
        *((f"{one.name}, one {one.on.name}", f"{one.pictures:,g} pictures/s", one.source) for one in ENCODERS.values()),
    ]  # fmt: skip
    return table(["what", "taken as", "source"], rows)


MADE: dict[str, Callable[[], str]] = {
    "sizes": sizes, "one_machine": one_machine, "published": published, "laion": laion, "measured": measured,
    "prices": prices, "assumptions": assumptions,
}  # fmt: skip
