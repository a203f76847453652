"""The cost model: arithmetic by hand, what must grow, published figures, the page, and what is typed wrongly."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from eval.bench import scale as bench
from eval.scale import machines, tables
from eval.scale.__main__ import main, pictures
from eval.scale.machines import ENCODERS, GB, SERVER, Encoder, Machine, Measured
from eval.scale.plan import Plan, answer_seconds, broken, hours, limits, plan, rows_an_index
from eval.scale.published import ANCHORS, LAION, widest
from indexes import Store

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scale.md"
BOX = Machine(
    name="box", cores=2, memory=10 * GB, disk=100 * GB, bandwidth=10 * GB, reads=1000, price=2.0, source="by hand"
)
TEN = Encoder(name="ten", dim=8, pictures=10, on=BOX, source="by hand")
KNOWN = Measured(
    processor="by hand", commits=100, early=150, in_order=200, record=40, item=600, rewriting=2 * GB, rewritten=100,
    scan=20 * GB, builtin=1,
)  # fmt: skip


def box(count, **changed):
    return Plan(pictures=count, **{"encoder": TEN, "serving": BOX, "measured": KNOWN} | changed)


# ---------------------------------------------------------------- by hand


def test_a_million_pictures_by_hand():
    one = box(1_000_000)
    assert one.encode_hours == pytest.approx(1_000_000 / 10 / 3600)
    assert (one.vectors, one.records, one.approximate) == (16_000_000, 40_000_000, 10_000_000)  # 16, 40 and 10 bytes
    assert (one.disk, one.memory) == (66_000_000, 10_000_000)
    assert (one.indexes, one.drivers, one.servers) == (1, 1, 1)
    assert one.write_hours == pytest.approx(1_000_000 / 50 / 3600)  # 100 rows/s committed, then 100 rewritten
    assert one.encode_dollars == pytest.approx(one.encode_hours * 2 + one.encode_hours * 2)  # box encodes, box commits
    assert one.month_dollars == 2 * 730
    assert one.reading == 10 * machines.PICTURE


def test_one_index_takes_what_its_list_and_its_rewriting_leave():
    assert rows_an_index(BOX, KNOWN) == 10_000_000  # four fifths of 10 GB, 2 of them once, 600 bytes a row
    assert (box(10_000_000).indexes, box(10_000_001).indexes) == (1, 2)


def test_servers_by_memory_and_by_disk():
    assert box(800_000_000).servers == 1  # 8 GB of codes fill four fifths of 10 GB; 52.8 GB of 80 on disk
    assert box(800_000_001).servers == 2
    assert box(800_000_000, exact=True).servers == 2  # 12.8 GB of rows
    small = dataclasses.replace(BOX, disk=10 * GB)
    assert box(800_000_000, serving=small).servers == 7  # 52.8 of 8 GB each
    assert box(800_000_000, serving=small, replicas=3).servers == 21


def test_an_exact_query_is_bytes_by_bandwidth():
    assert answer_seconds(BOX, 8, 1_000_000_000, exact=True) == pytest.approx(1.6)  # 16 GB, 10 GB/s
    slow = dataclasses.replace(KNOWN, scan=2 * GB)  # two cores read less than the memory gives
    assert answer_seconds(BOX, 8, 1_000_000_000, exact=True, measured=slow) == pytest.approx(4.0)


def test_an_approximate_query_is_a_sixteenth_of_the_codes():
    expected = machines.STEADY + 1e9 * 10 / 16 / (10 * GB) + 113 / 1000
    assert answer_seconds(BOX, 8, 1_000_000_000, exact=False) == pytest.approx(expected)


def test_a_query_over_shards_hops_and_merges():
    one = box(20_000_000)
    assert one.indexes == 2
    inside = answer_seconds(BOX, 8, 20_000_000, exact=False, indexes=2)
    assert one.query_ms == pytest.approx(1000 * inside + 2.9 + 2 * 0.01)


def test_the_slowest_hundredth_of_servers():
    assert box(1).late == pytest.approx(0.01)
    assert box(1_600_000_000).late == pytest.approx(1 - 0.99**2)
    assert box(1, replicas=5).late == pytest.approx(0.01)  # one of each shard is asked


def test_more_indexes_at_once_where_encoders_are_faster_than_one_process_writes():
    fast = dataclasses.replace(TEN, pictures=101)
    assert box(30_000_000, encoder=fast).drivers == 3  # 50 rows/s each
    assert box(1_000_000, encoder=fast).drivers == 1  # there is one index only


def test_a_layout_that_encodes_within_a_week():
    encoder = ENCODERS["ViT-B/32"]
    week = 7_000 * 168 * 3600
    assert [plan(count, encoder).encoders for count in (week, week + 1, 3 * week)] == [1, 2, 3]
    assert plan(1_000_000).serving.name == "laptop"
    assert plan(10_000_000).serving.name == "laptop"
    assert plan(11_000_000).serving.name == "server"


# ---------------------------------------------------------------- what must grow with what


SIZES = [10**power for power in range(13)]


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    "name",
    ["encode_hours", "write_hours", "indexes", "vectors", "records", "approximate", "disk", "memory", "servers", "late",
     "encode_dollars", "month_dollars", "pictures_dollars"],
)  # fmt: skip
def test_nothing_falls_as_pictures_grow(name, exact):
    encoder = ENCODERS["ViT-L/14"]
    said = [getattr(Plan(pictures=count, encoder=encoder, exact=exact), name) for count in SIZES]
    assert said == sorted(said)


def test_more_machines_encode_sooner_and_cost_as_much():
    one, two = (Plan(pictures=10**9, encoder=ENCODERS["ViT-L/14"], encoders=count) for count in (1, 2))
    assert two.encode_hours == one.encode_hours / 2
    alone = [each.encode_hours * each.encoders for each in (one, two)]
    assert alone[0] == alone[1]


def test_replicas_change_the_price_and_no_answer():
    one, three = (plan(10**9, replicas=count) for count in (1, 3))
    assert three.servers == 3 * one.servers
    assert three.month_dollars == pytest.approx(3 * one.month_dollars)
    assert (three.query_ms, three.disk, three.encode_dollars) == (one.query_ms, one.disk, one.encode_dollars)


def test_more_memory_takes_larger_indexes_and_never_more_servers():
    larger = dataclasses.replace(SERVER, memory=2 * SERVER.memory)
    once = machines.MEASURED.rewriting / machines.MEASURED.item  # rows in place of which a compaction has its memory
    assert rows_an_index(larger) == pytest.approx(2 * rows_an_index(SERVER) + once, abs=2)
    for count in SIZES:
        assert plan(count, serving=larger).servers <= plan(count, serving=SERVER).servers


def test_limits_stand_in_their_order_and_each_is_where_it_says():
    found = {limit.what: limit.pictures for limit in limits(SERVER, ENCODERS["ViT-B/32"])}
    assert list(found.values()) == sorted(found.values())
    within = found["exact answers within a second"]
    assert answer_seconds(SERVER, 512, within, exact=True) == pytest.approx(1.0)
    assert answer_seconds(SERVER, 512, found["approximate answers within a second"], exact=False) == pytest.approx(1.0)
    assert found["encoding within a week"] == pytest.approx(7_000 * 604_800)
    assert found["one index"] == rows_an_index(SERVER)


def test_what_breaks_is_told_once():
    encoder, sizes = ENCODERS["ViT-B/32"], [0, *SIZES]
    told = [
        limit.what
        for before, now in zip(sizes, sizes[1:], strict=False)
        for limit in broken(now, before, SERVER, encoder)
    ]
    assert told == [limit.what for limit in limits(SERVER, encoder)]


# ---------------------------------------------------------------- published figures


@pytest.mark.parametrize("anchor", ANCHORS, ids=lambda anchor: anchor.what)
def test_the_model_says_what_was_published(anchor):
    assert abs(anchor.off) <= anchor.within, (anchor.model(), anchor.published)


def test_the_published_index_of_laion_is_of_128_bytes():
    assert widest(LAION, 800 * GB) == 128
    assert (widest(LAION, 800 * GB) + 8) * LAION <= 800 * GB < (256 + 8) * LAION
    assert widest(1e9, 20 * GB) == 8


# ---------------------------------------------------------------- the page


def test_every_figure_of_the_page_is_of_the_model():
    """Between its tables, names and commands, the page has no digit of its own."""
    text = PAGE.read_text()
    assert set(re.findall(r"<!-- made: (\w+) -->", text)) == set(tables.MADE)
    text = re.sub(r"<!-- made: \w+ -->.*?<!-- end -->", "", text, flags=re.DOTALL)
    text = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)|\*\*(1|10|100)[MB]:", "", text, flags=re.DOTALL)
    assert re.findall(r".*\d.*", text) == []


def test_the_tables_have_a_cell_for_every_column():
    for name, made in tables.MADE.items():
        lines = [line for line in made().splitlines() if line.startswith("|")]
        assert len({line.count("|") for line in lines}) <= 1, name


@pytest.mark.parametrize(
    ("value", "shown"), [(12_300_000, "12M"), (123_456_000, "123M"), (10**10, "10B"), (999, "999"), (2_500, "2.5k")]
)
def test_counts_are_read_back(value, shown):
    assert tables.count(value) == shown
    assert pictures(shown) == pytest.approx(value, rel=0.05)


# ---------------------------------------------------------------- the command


def test_one_size_as_json(capsys):
    main(["--pictures", "1B", "--encoder", "ViT-L/14", "--replicas", "2", "--json"])
    (line,) = capsys.readouterr().out.splitlines()
    said = json.loads(line)
    assert (said["pictures"], said["encoder"], said["replicas"]) == (10**9, "ViT-L/14", 2)
    assert said["vectors"] == 10**9 * 768 * 2
    assert said["first_limit"] == "exact answers within a second"


def test_all_tables_without_a_size(capsys):
    main([])
    assert capsys.readouterr().out == "\n".join(made() for made in tables.MADE.values())


def test_prices_and_memory_of_ones_own(capsys):
    main(["--pictures", "100M", "--server-price", "1", "--server-memory", "100", "--encoding-price", "10", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["month_dollars"] == 730
    assert said["indexes"] == 2
    assert said["encode_dollars"] == pytest.approx(said["encode_hours"] * 11)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--pictures", "0"], "`0` is no number of pictures: give one such as 100M"),
        (["--pictures=-5"], "`-5` is no number of pictures"),
        (["--pictures", "many"], "`many` is no number of pictures"),
        (["--pictures", "9" * 400], "is no number of pictures"),
        (["--pictures", "1M", "--replicas", "0"], "`0` is no number of replicas: give one from 1 to 1000"),
        (["--server-price", "nan"], "`nan` is no number above 0"),
        (["--server-memory", "1e-7"], "100 bytes of memory takes no index: give --server-memory more GB"),
        (["--server-memory", "-1"], "`-1` is no number above 0"),
        (["--encoder", "none"], "invalid choice: 'none'"),
        (["--shards"], "unrecognized arguments: --shards"),
    ],
)
def test_what_is_typed_wrongly_is_one_line(words, part, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr()
    assert ended.value.code == 2 and said.out == ""
    (line,) = said.err.splitlines()
    assert part in line and line.endswith("see `python -m eval.scale --help`")


@pytest.mark.parametrize("name", ["pictures", "encoders", "replicas"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_plan_of_nothing_is_none(name, value):
    with pytest.raises(ValueError, match=f"{value} {name} are no plan: give --{name} a number from 1 on"):
        Plan(**{"pictures": 1, "encoder": TEN, name: value})


def test_a_server_too_small_for_one_picture():
    with pytest.raises(ValueError, match="takes no index"):
        plan(10, serving=dataclasses.replace(SERVER, memory=1000))


def test_hours():
    assert hours(7_200_000, 1000) == 2


# ---------------------------------------------------------------- what is measured


def test_the_benchmark_measures_what_the_model_takes(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, "COMMIT", 50)
    monkeypatch.setattr(bench, "WARM", 6)
    monkeypatch.setattr(bench, "LISTED", 100)
    monkeypatch.setattr(bench, "COMPACTED", 100)
    with Store.create(tmp_path / "index", bench.DIM) as store:
        bench.commit(store, 120)
        assert len(store) == 120
        bench.scan(store, 120)
    with Store.create(tmp_path / "scattered", bench.DIM) as store:
        bench.commit(store, 120, bench.hashed)
    bench.compact(tmp_path)
    bench.listed(tmp_path)
    said = {line["name"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert said["vector_bytes"]["value"] == 1024
    assert {"commit_last", "commit_scattered_last", "record_bytes", "scan_speed", "compact", "compact_memory"} <= set(
        said
    )
    assert 200 < said["listed_item"]["value"] < 20_000
