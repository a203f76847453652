"""Indexing on a cluster of this machine: the same index, to the last bit, whatever dies meanwhile."""

import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from indexes import Store
from retrieval import Retriever
from retrieval.cluster import connection, line
from retrieval.cluster.indexing import machines_of
from retrieval.cluster.staff import Staff
from retrieval.cluster.workers import Work
from retrieval.datatypes import Item
from retrieval.encoders.bulk import load_for_bulk
from retrieval.errors import BadRequest
from retrieval.indexing import update
from retrieval.sources.registry import open_items

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster():
    """A cluster of this machine, which all tests share: it takes seconds to come."""
    with connection.connected("local") as connected:
        yield connected


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A hundred drawn pictures, and one that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    for item in open_items("picturebook:100"):
        item.content().save(folder / Path(item.uri).name)
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def content(path):
    """What an index holds: (row, stamp, fields, vector) by id."""
    found = {}
    with Store.open(path) as store:
        for segment in store.segments:
            for rows, vectors in segment.blocks():
                for row, record, vector in zip(rows, store.records(rows), vectors, strict=True):
                    found[record.id] = int(row), record.stamp, record.text, vector.tobytes()
    return found


def alone(pictures, path, encoder):
    retriever, report = Retriever.build(str(pictures), path, encoder)
    retriever.close()
    return report


def test_the_index_is_that_of_one_process_to_the_last_bit(cluster, pictures, trained, tmp_path):
    encoder = load_for_bulk(str(trained), engine="torch")
    here = alone(pictures, tmp_path / "here", encoder)
    with machines_of("local") as machines:
        made = machines.line(encoder, "torch", items=open_items(str(pictures)))
        retriever, report = Retriever.build(str(pictures), tmp_path / "there", encoder, line=made)
    with retriever:
        assert retriever.search("a dog", 3)
    assert report == here
    assert [uri for uri, _ in report.skipped] == ["broken.jpg"]
    assert content(tmp_path / "there") == content(tmp_path / "here")


def test_what_is_there_already_is_not_made_again(cluster, pictures, trained, tmp_path):
    encoder = load_for_bulk(str(trained), engine="torch")
    alone(pictures, tmp_path / "index", encoder)
    before = content(tmp_path / "index")
    with machines_of("local") as machines:
        retriever, report = Retriever.build(
            str(pictures), tmp_path / "index", encoder, line=machines.line(encoder, "torch")
        )
        retriever.close()
    assert (report.added, report.unchanged) == (0, 100)
    assert content(tmp_path / "index") == before


def test_tars_are_listed_by_the_machines_and_come_in_their_order(cluster, pictures, tmp_path, monkeypatch):
    names = sorted(path.name for path in pictures.glob("*.png"))
    for number in range(5):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as tar:
            for name in names[number::5]:
                tar.add(pictures / name, name)
    (tmp_path / "5.tar").write_bytes(b"no tar")
    monkeypatch.chdir(tmp_path)
    for uri in ("webdataset:.", "webdataset:{0..5}.tar", "webdataset:{0..6}.tar"):
        here = list(open_items(uri))
        with machines_of("local") as machines:
            there = list(open_items(machines.reading(uri)))
        assert [(one.id, one.uri, one.stamp, one.within) for one in there] == [
            (one.id, one.uri, one.stamp, one.within) for one in here
        ]
        assert there[7].content() == here[7].content()
    assert len(here) == 102


def test_workers_that_are_killed_cost_their_blocks_and_nothing_else(cluster, pictures, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(line, "PICTURES", 8)
    monkeypatch.setattr(line, "DEATHS", 100)
    encoder = load_for_bulk(str(trained), engine="torch")
    alone(pictures, tmp_path / "here", encoder)
    killed = []

    def killing():
        while len(killed) < 3:
            killed.extend([True] * kill_workers())
            time.sleep(0.1)

    with machines_of("local") as machines:
        made = machines.line(encoder, "torch")
        killer = threading.Thread(target=killing)
        killer.start()
        retriever, report = Retriever.build(str(pictures), tmp_path / "there", encoder, line=made)
        retriever.close()
        killer.join()
    assert len(killed) >= 3
    assert report.added == 100
    assert content(tmp_path / "there") == content(tmp_path / "here")


def kill_workers():
    """Kill all workers of the cluster as the kernel does that has no memory left; how many there were."""
    found = 0
    for process in Path("/proc").iterdir():
        try:
            words = (process / "cmdline").read_bytes().decode()
            if process.name.isdigit() and words.startswith("ray::Worker"):
                os.kill(int(process.name), signal.SIGKILL)
                found += 1
        except (OSError, UnicodeDecodeError):
            continue
    return found


@pytest.mark.slow  # each death costs the seconds in which a worker comes; test_cluster_line.py has the halving
def test_a_picture_that_kills_every_worker_is_skipped_and_the_others_are_there(cluster, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(line, "DEATHS", 2)
    encoder = load_for_bulk(str(trained), engine="torch")
    items = [replace(item, stamp="s") for item in open_items("picturebook:3")]
    deadly = Item("deadly", "deadly.jpg", lambda: os.kill(os.getpid(), signal.SIGKILL), stamp="s")
    with Store.create(tmp_path / "index", encoder.dim) as store, machines_of("local") as machines:
        report = update.update(store, [*items[:1], deadly, *items[1:]], machines.line(encoder, "torch"))
        assert report.skipped == [("deadly.jpg", line.FATAL)]
        assert store.stamps().keys() == {item.id for item in items}


@pytest.mark.parametrize(
    "wrong, says",
    [
        ({"version": "0.0.1"}, r"has mmr-retrieval .*, not 0\.0\.1: run `pip install mmr-retrieval==0\.0\.1` there"),
        ({"fingerprint": "other"}, "has another encoder as .*: copy the run there"),
        ({"seen": Path("/nowhere/a.jpg")}, "cannot see /nowhere/a.jpg: put the pictures where all machines see them"),
        ({"encoder": "/nowhere/run"}, "on .*: .*/nowhere/run"),
    ],
)
def test_a_machine_that_cannot_help_is_named_on_one_line(cluster, trained, wrong, says):
    encoder = load_for_bulk(str(trained), engine="torch")
    work = {"encoder": str(trained), "fingerprint": encoder.fingerprint, "together": 8, "engine": "torch"}
    with pytest.raises(BadRequest, match=says) as told, Staff(cluster) as staff:
        staff.load(Work(**(work | wrong)))
    assert "\n" not in str(told.value)


def test_a_command_that_is_killed_goes_on_where_it_committed(pictures, trained, tmp_path):
    """In a cluster of its own, which dies with it."""
    encoder = load_for_bulk(str(trained), engine="torch")
    alone(pictures, tmp_path / "here", encoder)
    script = f"""
import os, signal
from retrieval import Retriever
from retrieval.cluster import line
from retrieval.encoders.bulk import load_for_bulk
from retrieval.cluster.indexing import machines_of
from retrieval.indexing import update
line.PICTURES, update.COMMIT_SECONDS = 8, -1.0
def progress(done, total):
    if done > 40:
        os.kill(os.getpid(), signal.SIGKILL)
encoder = load_for_bulk({str(trained)!r}, engine="torch")
with machines_of("local") as machines:
    made = machines.line(encoder, "torch")
    Retriever.build({str(pictures)!r}, {str(tmp_path / "there")!r}, encoder, on_progress=progress, line=made)
"""
    run = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[1], check=False)
    assert run.returncode == -signal.SIGKILL
    some = content(tmp_path / "there")
    assert 0 < len(some) < 100
    report = alone(pictures, tmp_path / "there", encoder)
    assert (report.unchanged, report.added) == (len(some), 100 - len(some))
    here = content(tmp_path / "here")
    assert {name: what[1:] for name, what in content(tmp_path / "there").items()} == {
        name: what[1:] for name, what in here.items()
    }
