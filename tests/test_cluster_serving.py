"""Shards that a cluster holds: the answers of one index, replicas that die, shards that are away, a new commit."""

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from sharding import MADE, filled

from indexes import Record, Store, StoreError
from indexes.sharded import manifest
from retrieval import Retriever, cluster
from retrieval.cluster import connection
from retrieval.errors import BadRequest
from rows import unit
from toy import ToyEncoder

ray = pytest.importorskip("ray")

ROWS, SHARDS = 60, 3


@pytest.fixture(scope="module")
def connected():
    with connection.connected("local") as found:
        yield found


@pytest.fixture
def whole(tmp_path):
    vectors = unit(np.random.default_rng(0).normal(size=(ROWS, 4)))
    records = [
        Record(f"{number:02d}.jpg", "s", {"uri": f"{number:02d}.jpg", "kind": "picture"}) for number in range(ROWS)
    ]
    with filled(tmp_path / "whole", vectors, records) as store:
        store.set_manifest(encoder=MADE)
        cut(store, tmp_path / "shards", 1, SHARDS)
    with Retriever.open(tmp_path / "whole", ToyEncoder()) as found:
        yield found


def cut(store, folder, generation, into):
    """Shards of a store, in folders of that generation."""
    rows = store.rows()
    parts = []
    for number, some in enumerate(np.array_split(rows, into)):
        name = f"{generation}/shard-{number:03d}"
        filled(folder / name, store.vectors(some), store.records(some)).close()
        parts.append((name, 1, len(some)))
    manifest.write(folder, manifest.Manifest(1, generation, 4, manifest.Made(**MADE), manifest.parts(parts)))


def told(hits):
    return [(hit.id, hit.score) for hit in hits]


QUERIES = ["red", "green blue", "blue", ["red", "-", "green"]]


def test_the_answers_are_those_of_one_index(connected, whole, tmp_path):
    with cluster.open(tmp_path / "shards", encoder=ToyEncoder()) as retriever:
        for query in QUERIES:
            assert told(retriever.search(query, 7)) == told(whole.search(query, 7))
        some = retriever.search("red", 5, where="uri >= '30.jpg'")
        assert told(some) == told(whole.search("red", 5, where="uri >= '30.jpg'"))
        many = retriever.search_many(QUERIES)
        assert [told(hits) for hits in many] == [told(hits) for hits in whole.search_many(QUERIES)]


def test_a_replica_that_dies_is_answered_for_by_another(connected, whole, tmp_path):
    expected = told(whole.search("red", 7))
    with cluster.open(tmp_path / "shards", replicas=2, encoder=ToyEncoder()) as retriever:
        said = []
        alive = lambda: sum(asked_of(retriever).alive(number) for number in range(SHARDS))  # noqa: E731
        for _ in range(2):
            wait_for(lambda: alive() == 2 * SHARDS)
            os.kill(replicas()[0], signal.SIGKILL)
            for _ in range(10):
                assert told(retriever.search("red", 7, on_message=said.append)) == expected
            wait_for(lambda: alive() < 2 * SHARDS)
        assert said == []


def test_a_shard_without_a_replica_is_told(connected, whole, tmp_path, monkeypatch):
    with cluster.open(tmp_path / "shards", encoder=ToyEncoder()) as retriever:
        with monkeypatch.context() as without:
            without.setattr(asked_of(retriever), "alive", lambda number: int(number != 1))
            said = []
            assert len(retriever.search("red", 60, on_message=said.append)) == 40
            assert said == [f"answered by 2 of {SHARDS} shards: what the others hold is not among the answers"]
        os.kill(replicas()[0], signal.SIGKILL)
        wait_for(lambda: len(retriever.search("red", 60)) == 60)


def test_a_new_commit_is_served_without_a_failed_request(connected, whole, tmp_path):
    with cluster.open(tmp_path / "shards", encoder=ToyEncoder()) as retriever:
        counts, errors, ended = [], [], threading.Event()

        def ask():
            while not ended.is_set():
                try:
                    counts.append(len(retriever.search("red", 1000)))
                except Exception as error:
                    errors.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        for generation in (2, 3, 4):
            with Store.open(tmp_path / "whole", write=True) as store:
                store.add(unit(np.ones((10, 4))), [Record(f"{generation}-{number}") for number in range(10)])
                cut(store, tmp_path / "shards", generation, SHARDS + generation - 2)
            assert retriever.store.refresh()
            assert len(retriever.search("red", 1000)) == ROWS + 10 * (generation - 1)
        ended.set()
        asking.join()
        assert errors == []
        assert set(counts) <= {60, 70, 80, 90} and counts == sorted(counts)


def test_what_is_missing_is_told_before_anything_is_served(connected, whole, tmp_path):
    with pytest.raises(BadRequest, match="--replicas 0 .*: give 1 or more$"), cluster.open(tmp_path, replicas=0):
        pass
    with pytest.raises(StoreError, match=r"no shards at .*: make them with `mmr shards split"), cluster.open(tmp_path):
        pass
    (tmp_path / "shards" / "1" / "shard-001").rename(tmp_path / "away")
    says = "shard-001 of .* is missing"
    with pytest.raises(StoreError, match=says), cluster.open(tmp_path / "shards", encoder=ToyEncoder()):
        pass


def asked_of(retriever):
    """Who holds the shards that a retriever asks."""
    return retriever.store._connect


def replicas():
    """The processes of replicas, by their ids."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and b"ServeReplica" in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return sorted(found)


def wait_for(true, seconds=120):
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.2)
