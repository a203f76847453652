"""An index split into shards, and indexes joined: what is made, what a kill leaves, what a person can get wrong."""

import json
import os
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from serving import served

from cli.main import app  # noqa: F401 - before a fork
from cli.serve.kept import Kept
from indexes import Locked, NotAnIndex, Record, Store, StoreError, claim, durable
from indexes.sharded import manifest
from indexes.sharded.opening import open_reader, open_sharded
from retrieval import Retriever
from retrieval.cluster import joining, splitting
from retrieval.indexing import approximate
from retrieval.indexing.catalog import root_of
from rows import numbered, unit_rows
from terminal import fails, lines, mmr
from toy import ToyEncoder, picture

COLOURS = 13


@pytest.fixture
def index(tmp_path, toy):
    """An index of thirteen pictures, the third of which was deleted; its folder."""
    for number in range(COLOURS + 1):
        picture(tmp_path / "photos" / f"{number:02d}.png", (20 * number, 255 - 17 * number, 7 * number))
    with Retriever.build(str(tmp_path / "photos"), tmp_path / "photos.mmr", toy)[0] as retriever:
        retriever.store.delete(["02.png"])
    return tmp_path / "photos.mmr"


@pytest.fixture
def out(index):
    return index.with_name("photos.mmr.shards")


def split(index, into, out, said=None):
    return splitting.split(index, into, out, said or splitting.Said(lambda store: ToyEncoder()))


def found(folder, *query, **asked):
    with Retriever.open(folder, ToyEncoder()) as retriever:
        return retriever.search(query or ["red"], **{"k": 50} | asked)


@pytest.mark.parametrize("into", [1, 2, 3, 7, 13])
def test_shards_are_indexes_of_consecutive_rows_that_answer_as_the_whole(index, out, into):
    told = []
    made = split(index, into, out, splitting.Said(lambda store: ToyEncoder(), lambda *now: told.append(now)))
    sizes = [part.rows for part in made.shards]
    assert (sum(sizes), max(sizes) - min(sizes) <= 1) == (COLOURS, True)
    assert [part.first for part in made.shards] == [sum(sizes[:number]) for number in range(into)]
    assert told[-1] == (COLOURS, COLOURS) and len(told) == into
    for query in (["red"], ["green", "+", "2:blue"], ["id:05.png"], [str(index.parent / "photos" / "07.png")]):
        assert found(out, *query) == found(index, *query)
        assert found(out, *query, k=3, exact=True) == found(index, *query, k=3, exact=True)
    assert found(out, min_confidence=0.3) == found(index, min_confidence=0.3)
    assert found(out, where="width >= 8") == found(index, where="width >= 8") != []
    ids = []
    for part in made.shards:  # each is an index of its own, which finds its pictures
        hits = found(out / part.folder)
        assert all(Path(hit.path).exists() for hit in hits)
        with Store.open(out / part.folder) as shard:
            ids += [record.id for record in shard.records(shard.rows())]
            assert shard.verify() == [] and len(shard) == part.rows
    with Store.open(index) as whole:
        assert ids == [record.id for record in whole.records(whole.rows())]


def test_vectors_and_records_are_copied_to_the_last_bit(index, out):
    split(index, 3, out)
    with Store.open(index) as whole, open_sharded(out) as sharded:
        assert (sharded.vectors(sharded.rows()) == whole.vectors(whole.rows())).all()
        assert sharded.records(sharded.rows()) == whole.records(whole.rows())
        assert sharded.stamps() == whole.stamps()
        assert root_of(sharded) == root_of(whole)


def test_shards_do_not_say_that_they_are_of_the_whole_folder(index, out):
    """A search in one would tell of new pictures, and bare `mmr index` would take them all into it."""
    split(index, 2, out)
    with Store.open(out / "000001" / "shard-000") as shard:
        assert "source" not in shard.manifest and shard.manifest["root"] == "../../photos"
    fails(mmr("index", "--index", out / "000001" / "shard-000"), 2, "does not say what it is of: name it")


def test_a_second_split_takes_over_in_one_step_and_those_who_read_go_on(index, out, toy):
    split(index, 3, out)
    reader = Retriever.open(out, toy)
    view = reader.store.view()
    with Store.open(index, write=True) as store:
        store.delete(["03.png"])
    assert (split(index, 2, out).generation, len(found(out))) == (2, COLOURS - 1)
    assert len(reader.search("red", 50)) == COLOURS  # of the split before
    assert sorted(child.name for child in out.iterdir()) == ["000001", "000002", "lock", "shards.json"]
    assert reader.store.refresh() and len(reader.search("red", 50)) == COLOURS - 1
    assert len(view.rows()) == COLOURS
    reader.close()
    split(index, 4, out)
    assert sorted(child.name for child in out.iterdir()) == ["000002", "000003", "lock", "shards.json"]


def test_a_split_that_is_killed_anywhere_leaves_what_was_there(index, out):
    """A child is ended at every point at which something becomes durable: the shards before answer, or the new ones."""
    before = split(index, 3, out)
    expected = found(index)
    points, ended_late = 0, False
    while not ended_late:
        child = os.fork()
        if child == 0:
            _die_at(points)
            code = 1
            try:
                split(index, 2, out)
                code = 0
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said = manifest.read(out)
        ended_late = code == 0
        assert said.shards == before.shards or len(said.shards) == 2
        assert code in (0, 9)
        assert found(out) == expected
        points += 1
        if said.generation != before.generation:
            before = split(index, 3, out)
    assert points > 10
    split(index, 2, out)
    assert len([child for child in out.iterdir() if child.is_dir()]) == 2  # nothing is left of those that were killed


def _die_at(point):
    sync, left = durable.sync_folder, [point]

    def dying(folder):
        if left[0] == 0:
            os._exit(9)
        left[0] -= 1
        sync(folder)

    durable.sync_folder = dying


def test_a_first_split_that_fails_leaves_nothing_and_one_that_was_killed_is_cleared_up(index, out):
    def full(done, total):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        split(index, 3, out, splitting.Said(lambda store: ToyEncoder(), full))
    assert not out.exists()
    (out / "000001" / "shard-000" / "segments").mkdir(parents=True)  # as a kill leaves it
    (out / "lock").touch()
    assert len(split(index, 3, out)) == COLOURS
    assert len(found(out)) == COLOURS


def test_two_splits_of_one_folder_wait_for_each_other(index, out):
    split(index, 2, out)
    held = claim.lock(out)
    with pytest.raises(Locked):
        split(index, 3, out)
    held.release()
    assert len(manifest.read(out).shards) == 2


def test_a_damaged_index_is_not_split(index, out):
    file = next((index / "segments").iterdir())
    content = bytearray(file.read_bytes())
    content[3] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match="vectors that are not what was written"):
        split(index, 2, out)
    assert not out.exists()


# ---------------------------------------------------------------- approximate search


class Words:
    """Texts as fixed random directions."""

    def encode_texts(self, texts):
        return numbered(*(zlib.crc32(text.encode()) for text in texts), dim=16)


def test_shards_of_an_index_with_approximate_search_have_it_at_the_same_recall(tmp_path, monkeypatch):
    monkeypatch.setattr(approximate, "LEAST_ROWS", 500)
    monkeypatch.setattr(approximate, "QUERIES", 240)
    words = Words()
    with Store.create(tmp_path / "i", 16, encoder={"name": "w", "fingerprint": "f"}) as store:
        rows = unit_rows(np.random.default_rng(4), 1100, 16)
        store.add(rows, [Record(str(n), fields={"caption": f"thing {n}"}) for n in range(1100)])
        approximate.keep(store, words, 0.9, 1e9)
    said = []
    split(tmp_path / "i", 2, tmp_path / "s", splitting.Said(lambda store: words, message=said.append))
    queries = words.encode_texts([f"another {n}" for n in range(200)])
    with Store.open(tmp_path / "i") as whole, open_sharded(tmp_path / "s") as sharded:
        assert sharded.approximate.asked == 0.9
        exact = sharded.search(queries, 10, recall=1)
        assert (exact.scores == whole.search(queries, 10, recall=1).scores).all()
        near = sharded.search(queries, 10)
        hits = [len(np.intersect1d(ones, twos)) for ones, twos in zip(exact.rows, near.rows, strict=True)]
        assert np.mean(hits) / 10 >= 0.85
    assert sum("recall@10" in line for line in said) == 2


# ---------------------------------------------------------------- shards that change, indexes that are joined


def test_a_shard_that_was_changed_is_taken_over_by_pin(index, out):
    split(index, 3, out)
    place = out / "000001" / "shard-001"
    with Store.open(place, write=True) as shard:
        gone = shard.records(shard.rows())[0].id
        shard.delete([gone])
    fails(mmr("search", "red", "--index", out), 3, "shard-001 of", "was changed", f"`mmr shards pin {out}`")
    listed = mmr("shards", "show", out)
    assert listed.exit_code == 3 and "was changed" in listed.stdout.splitlines()[1]
    result = mmr("shards", "pin", out)
    assert (result.exit_code, result.stdout) == (0, f"{out}: {COLOURS - 1} rows in 3 shards\n")
    assert gone not in {hit.id for hit in found(out)} and len(found(out)) == COLOURS - 1
    assert joining.pin(out) == manifest.read(out)  # nothing to do


def test_indexes_that_are_there_are_joined(tmp_path, toy):
    for name in "abc":
        for number in range(3):
            picture(tmp_path / "photos" / name / f"{number}.png", (80 * number, ord(name), 200 - 90 * number))
    for name in "abc":
        others = [other for other in "abc" if other != name]
        source = splitting_source(tmp_path / "photos", others)
        Retriever.build(source, tmp_path / f"{name}.mmr", toy)[0].close()
    Retriever.build(str(tmp_path / "photos"), tmp_path / "all.mmr", toy)[0].close()
    result = mmr("shards", "join", tmp_path / "all.shards", *(tmp_path / f"{name}.mmr" for name in "abc"))
    assert result.exit_code == 0, result.output
    assert found(tmp_path / "all.shards") == found(tmp_path / "all.mmr")
    listed = lines(mmr("shards", "show", tmp_path / "all.shards", "--json"))
    assert [(one["rows"], one["first"]) for one in listed] == [(3, 0), (3, 3), (3, 6)]


def splitting_source(folder, others):
    from retrieval.sources.registry import Options, parse_uri

    return parse_uri(str(folder), Options(exclude=tuple(others)))


def test_what_does_not_belong_together_is_not_joined(tmp_path, toy):
    picture(tmp_path / "one" / "a.png")
    picture(tmp_path / "two" / "a.png")
    for name, source, encoder in (
        ("a", "one", toy), ("b", "one", toy), ("c", "two", toy), ("d", "one", ToyEncoder("other")),
    ):  # fmt: skip
        Retriever.build(str(tmp_path / source), tmp_path / f"{name}.mmr", encoder)[0].close()
    a, b, c, d = (tmp_path / f"{name}.mmr" for name in "abcd")
    out = tmp_path / "out"
    fails(mmr("shards", "join", out, a, b), 2, "a.png is in", f"`mmr rm a.png --index {b}`")
    fails(mmr("shards", "join", out, a, a), 2, "given twice")
    fails(mmr("shards", "join", out, a, c), 2, "index parts of one folder", "--exclude OTHERS`")
    fails(mmr("shards", "join", out, a, d), 3, "is of encoder toy (other), the shards of toy", "--index")
    fails(mmr("shards", "join", out, a, tmp_path / "none"), 3, "no index at")
    assert not out.exists()


# ---------------------------------------------------------------- what a person can get wrong


def test_wrong_numbers_and_wrong_places_are_one_line_each(index, out, tmp_path):
    fails(mmr("shards", "split", index, "--into", 0), 2, "--into 0", "--into 4")
    fails(mmr("shards", "split", index, "--into", 14), 2, "--into 14 is more than 13 pictures", "--into 4")
    fails(mmr("shards", "split", tmp_path / "none", "--into", 2), 3, "no index at")
    fails(mmr("shards", "split", index, "--into", 2, "--out", tmp_path / "photos"), 3, "holds other things", "--out")
    fails(mmr("shards", "split", index, "--into", 2, "--out", index), 3, "lies inside the index itself", "--out")
    fails(mmr("shards", "split", index, "--into", 2, "--out", index / "x"), 2, "lies inside the index", "--out")
    (tmp_path / "file").touch()
    fails(mmr("shards", "split", index, "--into", 2, "--out", tmp_path / "file"), 3, "is a file", "--out")
    assert not out.exists() and len(list((tmp_path / "photos").iterdir())) == 14
    assert mmr("shards", "split", index, "--into", 2).exit_code == 0
    fails(mmr("shards", "split", out, "--into", 2), 2, "is shards already")
    fails(mmr("compact", "--index", out), 3, "is shards", f"`mmr shards show {out}`")
    for command in ("pin", "show"):
        fails(mmr("shards", command, tmp_path / "none"), 3, "no shards at", "`mmr shards split INDEX")
    assert not (tmp_path / "none").exists()


def test_folders_of_numbers_that_a_split_did_not_make_are_never_removed(index, tmp_path):
    kept = picture(tmp_path / "mine" / "000001" / "shard-000" / "a.png")
    with pytest.raises(NotAnIndex, match="holds other things than shards"):
        split(index, 2, tmp_path / "mine")
    (tmp_path / "mine" / "lock").touch()
    with pytest.raises(NotAnIndex, match="holds other things than shards"):
        split(index, 2, tmp_path / "mine")
    assert kept.exists()


def test_an_index_whose_encoder_is_not_known_yet_is_not_split(tmp_path):
    with Store.create(tmp_path / "i", 4, encoder={"name": "toy"}) as store:
        store.add(unit_rows(np.random.default_rng(0), 3, 4), [Record(str(n)) for n in range(3)])
    with pytest.raises(StoreError, match="`mmr search dog --index "):
        split(tmp_path / "i", 2, tmp_path / "s")


def test_commands_that_read_take_shards_as_an_index(index, out):
    assert mmr("shards", "split", index, "--into", 3).exit_code == 0
    for words in (["ls", "--json"], ["fields", "--json"], ["duplicates", "--json", "--threshold", "0.99"]):
        ones, twos = (mmr(*words, "--index", place) for place in (index, out))
        assert (twos.exit_code, twos.stdout) == (ones.exit_code, ones.stdout)
    said = json.loads(mmr("info", "--json", "--index", out).stdout)
    assert (said["rows"], said["encoder"], said["search"]) == (COLOURS, "toy", "exact")
    assert mmr("verify", "--index", out).stdout == f"{out}: 13 rows, all as they were written\n"


def test_a_reader_of_either_is_opened_by_what_lies_there(index, out):
    split(index, 2, out)
    with open_reader(index) as one, open_reader(out) as other:
        assert (type(one).__name__, type(other).__name__) == ("Store", "Sharded")


def test_a_server_of_shards_answers_as_one_of_the_index(index, out):
    split(index, 3, out)
    with served(index) as plain, served(out) as sharded:
        for question in (
            "/api/search?q=red&k=5", "/api/search?q=red&k=5&where=width%3E=8", "/api/facets", "/api/duplicates",
            "/api/search?q=id:05.png&k=3", "/api/map",
        ):  # fmt: skip
            ones, twos = plain.get(question), sharded.get(question)
            assert (twos.status_code, said(twos)) == (ones.status_code, said(ones)) and ones.status_code == 200, (
                question
            )
        assert sharded.get("/api/search?q=red").json()["shards"] == "3 of 3"
        split(index, 2, out)  # a new manifest is served without being asked to
        assert said(sharded.get("/api/search?q=red&k=5")) == said(plain.get("/api/search?q=red&k=5"))
        body = {"text": "red", "modality": "image", "num_images": 5, "indice_name": None}
        ones, twos = (client.post("/knn-service", json=body).json() for client in (plain, sharded))
        assert [one["similarity"] for one in twos] == [one["similarity"] for one in ones] and len(ones) == 5
        told = sharded.post("/metadata", json={"ids": [one["id"] for one in twos]}).json()
        assert [one["metadata"]["image_path"] for one in told] == [one["image_path"] for one in twos]


def said(answer):
    """What does not tell one index from another, nor one moment."""
    found = json.loads(re.sub(r'[?&](index|v)=[^"&]*', "", answer.text))
    return {name: value for name, value in found.items() if name not in ("index", "generation", "took_ms", "shards")}


def test_what_a_server_made_of_a_part_of_the_shards_is_not_kept():
    kept, made = Kept(10), iter(range(9))
    assert [kept.get("a", lambda: next(made), lambda: False) for _ in range(2)] == [0, 1]
    assert [kept.get("a", lambda: next(made)) for _ in range(2)] == [2, 2]
