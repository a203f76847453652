"""Tables that somebody sends: whatever stands in them, they are read or refused in one line, in bounded memory."""

import contextlib
import json
import sqlite3
import tempfile
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from foreign import rclip_database
from indexes import StoreError
from retrieval.errors import ImageError, RetrievalError
from retrieval.exchange import import_into, open_collection
from retrieval.indexing.cards import record_of
from retrieval.sources.registry import open_items, open_pairs
from terminal import mmr

OURS = (RetrievalError, StoreError)
NAMES = ("image", "caption", "url", "id", "label", "mmr_record", "embedding", "", "a b", "stat\udcffus", "\0")
texts = st.one_of(
    st.sampled_from(NAMES), st.text(st.characters(), max_size=8), st.sampled_from(["p.png", "../x", "/", "~"])
)
scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), texts)
values = st.recursive(
    scalars, lambda some: st.one_of(st.lists(some, max_size=3), st.dictionaries(texts, some, max_size=3)), max_leaves=6
)
options = st.sampled_from(
    ["", "?caption=label", "?image=id", "?label=true", "?label==1", "?sep=;", "?quote=no", "?encoding=cp1252",
     "?encoding=utf-16", "?url=url", "?caption==x&a%20b=2", "?image=%00", "?%", "?=", "?stream=1&split=x"]
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("crafted")


def probes(count):
    """Many cheap ones with --soak: see the fixture `soak`."""
    return settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), database=None)


def try_out(source):
    """Read all of a source; its items must be such that an index can keep them."""
    with contextlib.suppress(*OURS):
        for item in open_items(source):
            record = record_of(item)
            json.dumps(record.fields, allow_nan=False)
            "".join(item.captions).encode()
            if callable(item.content):
                with contextlib.suppress(ImageError):
                    item.content()
    with contextlib.suppress(*OURS):
        open_pairs(source)


def damaged(content, cuts):
    """Some bytes in place of others, some left out."""
    for place, byte in cuts:
        at = place % (len(content) + 1)
        content = content[:at] + byte + content[at + (place % 3) :]
    return content


cuts = st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(max_size=2)), max_size=4)


def run_csv(folder):
    cells = st.one_of(texts, st.sampled_from(['"', '""', "\r", "\n", ",", ";", "\t", '"x']))

    @given(st.lists(st.lists(cells, max_size=4), max_size=5), st.sampled_from(",;\t|"), cuts, options)
    def probe(rows, separator, cuts, more):
        text = "\n".join(separator.join(row) for row in [["image", "caption"], *rows])
        for ending in ("csv", "tsv", "txt"):
            (folder / f"t.{ending}").write_bytes(damaged(text.encode("utf-8", "replace"), cuts))
            try_out(f"{folder}/t.{ending}{more}")

    return probe


def run_jsonl(folder):
    @given(st.lists(st.dictionaries(texts, values, max_size=4), max_size=4), cuts, options)
    def probe(rows, cuts, more):
        lines = [json.dumps({"image": "p.png", **row}) for row in rows]
        (folder / "t.jsonl").write_bytes(damaged("\n".join(lines).encode("utf-8", "replace"), cuts))
        try_out(f"{folder}/t.jsonl{more}")

    return probe


def run_parquet(folder):
    columns = st.sampled_from([name for name in NAMES if name.isprintable() and name.isascii()])
    kinds = st.sampled_from([
        pyarrow.string(), pyarrow.binary(), pyarrow.int64(), pyarrow.float32(), pyarrow.bool_(),
        pyarrow.timestamp("ns"),
        pyarrow.timestamp("s", "Mars/Olympus"), pyarrow.date32(), pyarrow.date64(), pyarrow.decimal128(9, 2),
        pyarrow.list_(pyarrow.int8()), pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())]),
        pyarrow.duration("us"), pyarrow.time64("ns"), pyarrow.map_(pyarrow.string(), pyarrow.int32()), pyarrow.null(),
        pyarrow.large_string(), pyarrow.float16(), pyarrow.binary(3),
    ])  # fmt: skip
    said = st.one_of(st.none(), values.map(lambda value: json.dumps({"info": {"features": {"label": value}}})), texts)

    @given(st.dictionaries(columns, kinds, min_size=1, max_size=4), st.binary(max_size=400), said, cuts, options)
    def probe(schema, content, said, cuts, more):
        rows = len(content) // 40
        arrays = []
        for kind in schema.values():
            try:
                arrays.append(_of_bytes(kind, content, rows))
            except (pyarrow.ArrowException, ValueError, TypeError):
                arrays.append(pyarrow.nulls(rows, kind))
        table = pyarrow.Table.from_arrays(arrays, list(schema))
        if said is not None:
            table = table.replace_schema_metadata({"huggingface": said.encode("utf-8", "replace"), "mmr": "[" * 99})
        try:
            pyarrow.parquet.write_table(table, folder / "t.parquet", row_group_size=3)
        except (pyarrow.ArrowException, ValueError):
            return
        whole = (folder / "t.parquet").read_bytes()
        (folder / "t.parquet").write_bytes(damaged(whole, cuts))
        try_out(f"{folder}/t.parquet{more}")
        move_in(folder, "parquet", folder / "t.parquet")

    return probe


def _of_bytes(kind, content, rows):
    """An array of a type, whose buffers are these bytes: any value that the type can hold, and some it cannot."""
    if pyarrow.types.is_nested(kind) or pyarrow.types.is_null(kind):
        return pyarrow.nulls(rows, kind)
    if kind.num_buffers == 3:  # validity, ends, bytes
        wide = pyarrow.types.is_large_string(kind)
        ends = np.minimum(np.arange(rows + 1), len(content)).astype(np.int64 if wide else np.int32)
        return pyarrow.Array.from_buffers(
            kind, rows, [None, pyarrow.py_buffer(ends.tobytes()), pyarrow.py_buffer(content)]
        )
    return pyarrow.Array.from_buffers(kind, rows, [None, pyarrow.py_buffer(content + bytes(16 * rows))])


def run_records(folder):
    names = st.sampled_from(["uri", "caption", "meta", "file", "labels", "kind", "inside", "key"])
    said = st.dictionaries(names, values, max_size=4)
    fields = st.fixed_dictionaries({"id": values, "stamp": values, "fields": said})
    footer = st.fixed_dictionaries({"root": values, "source": values, "encoder": values})

    @given(st.lists(st.one_of(fields, values), min_size=1, max_size=3), footer)
    def probe(records, footer):
        table = {"mmr_record": [json.dumps(record) for record in records], "embedding": [[1.0, 0.0]] * len(records)}
        made = pyarrow.table(table).replace_schema_metadata({"mmr": json.dumps(footer)})
        pyarrow.parquet.write_table(made, folder / "r.parquet")
        move_in(folder, "parquet", folder / "r.parquet")

    return probe


def run_rclip(folder):
    vectors = st.just(np.full(512, 0.5, "<f4").tobytes())
    numbers = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.floats())
    kinds = st.one_of(numbers, st.text(max_size=5), st.binary(max_size=9), vectors)

    @given(st.lists(st.tuples(kinds, kinds, kinds, kinds), max_size=3), cuts)
    def probe(rows, cuts):
        path = folder / "db.sqlite3"
        path.unlink(missing_ok=True)
        rclip_database(path, [])
        made = sqlite3.connect(path)
        made.executescript(
            "DROP TABLE images;"
            "CREATE TABLE images (id INTEGER PRIMARY KEY, deleted, filepath, modified_at, size, vector)"
        )
        made.executemany("INSERT INTO images(filepath, modified_at, size, vector) VALUES (?,?,?,?)", rows)
        made.commit()
        made.close()
        path.write_bytes(damaged(path.read_bytes(), cuts))
        move_in(folder, "rclip", path)

    return probe


def move_in(folder, kind, path):
    """Import with what is missing, into a folder of its own; nothing is left where it is refused."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        index = Path(place, "i.mmr")
        try:
            import_into(index, open_collection(kind, path), "small", root=None, keep_missing=True)
        except OURS:
            assert list(Path(place).iterdir()) == []


RUNS = {"csv": (run_csv, 80), "jsonl": (run_jsonl, 80), "parquet": (run_parquet, 60), "records": (run_records, 30),
        "rclip": (run_rclip, 15)}  # fmt: skip


@pytest.mark.parametrize("kind", RUNS)
def test_only_our_own_errors_come_of_a_crafted_table(folder, soak, kind):
    run, count = RUNS[kind]
    probes(50 * count if soak else count)(run(folder))()


def test_a_crafted_table_is_one_line_on_the_terminal(tmp_path, trained):
    cases = {
        "deep.jsonl": '{"image": "a.png", "x": ' + '{"x":' * 900 + "1" + "}" * 901,
        "open.csv": 'image,caption\na.png,"x\n' * 3,
        "cut.parquet": "PAR1 and nothing",
        "wide.csv": "image," + "c," * 200_000 + "\n",
        "number.jsonl": '{"image": "a.png", "n": ' + "9" * 5000 + "}",
    }
    for name, content in cases.items():
        (tmp_path / name).write_text(content, "utf-8")
        for command in (["index", tmp_path / name, "--index", tmp_path / "i.mmr", "--model", trained],
                        ["train", tmp_path / name, "--out", tmp_path / "run"],
                        ["eval", trained, tmp_path / name]):  # fmt: skip
            result = mmr(*command)
            assert (result.exit_code, result.stdout) == (2, ""), result.output
            assert len(result.stderr.strip().splitlines()) == 1, result.stderr
            assert len(result.stderr) < 1000
        assert not (tmp_path / "i.mmr").exists()
