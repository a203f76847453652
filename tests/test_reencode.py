"""Another encoder for an index that is there: made beside it, put in its place in one commit, whenever it is killed."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from foreign import Wide
from indexes import Locked, Store, WrongEncoder
from retrieval import Retriever
from retrieval.errors import BadRequest
from retrieval.indexing import approximate
from retrieval.sources.registry import Options, parse_uri
from toy import ToyEncoder

COUNT = 20


class Seven(Wide):
    """The same answers in rows of seven."""

    name, dim = "wide", 7


@pytest.fixture
def photos(tmp_path):
    root = tmp_path / "photos"
    root.mkdir()
    for number in range(COUNT):
        Image.new("RGB", (8, 8), (255, 10 * number, 0)).save(root / f"{number:02d}.png")
    build(root, ToyEncoder())
    return root


def build(root, encoder, said=None, **how):
    """The report, and what the index answers."""
    retriever, report = Retriever.build(
        str(root), root / ".mmr", encoder, on_message=(said if said is not None else []).append, **how
    )
    with retriever:
        assert retriever.store.verify() == []
        return report, [hit.uri for hit in retriever.search("red", 3)]


def answers(root, encoder):
    with Retriever.open(root / ".mmr", encoder) as retriever:
        return [hit.uri for hit in retriever.search("red", 3)]


RED = ["00.png", "01.png", "02.png"]


def test_another_encoder_takes_the_place_of_the_first(photos):
    said, wide = [], Seven()
    report, found = build(photos, wide, said, another_encoder=True)
    assert (report.changed, report.added, report.removed, wide.images_seen) == (COUNT, 0, 0, COUNT)
    assert found == answers(photos, wide) == RED
    assert len(said) == 1
    assert "was made with toy: its 20 pictures are encoded again with wide" in said[0]
    assert sorted(path.name for path in photos.iterdir() if path.suffix != ".png") == [".mmr"]
    with Store.open(photos / ".mmr") as store:
        assert (store.dim, store.manifest["encoder"]["name"], len(store)) == (7, "wide", COUNT)
    with pytest.raises(WrongEncoder, match="made with encoder wide"):
        answers(photos, ToyEncoder())
    again = Seven()
    assert build(photos, again)[0].unchanged == COUNT
    assert again.images_seen == 0


def test_the_same_encoder_is_no_other(photos):
    toy = ToyEncoder()
    report, found = build(photos, toy, another_encoder=True)
    assert (toy.images_seen, report.unchanged) == (0, COUNT)


def test_not_unless_it_is_asked_for(photos):
    with pytest.raises(WrongEncoder, match="mmr index --model"):
        build(photos, Seven())
    assert answers(photos, ToyEncoder()) == RED


def test_what_changed_meanwhile_is_counted(photos):
    (photos / "00.png").unlink()
    Image.new("RGB", (8, 8), (255, 5, 0)).save(photos / "new.png")
    (photos / "19.png").write_bytes(b"no picture")
    report, found = build(photos, Seven(), another_encoder=True)
    assert (report.added, report.changed, report.removed, len(report.skipped)) == (1, COUNT - 2, 2, 1)
    assert found == ["new.png", "01.png", "02.png"]


def test_who_reads_meanwhile_reads_on(photos):
    with Retriever.open(photos / ".mmr", ToyEncoder()) as before:
        during = []

        def progress(done, total):
            during.append(answers(photos, ToyEncoder()))

        build(photos, Seven(), another_encoder=True, on_progress=progress)
        assert during
        assert set(map(tuple, during)) == {tuple(RED)}
        assert [hit.uri for hit in before.search("red", 3)] == RED
        assert before.store.dim == 4
    assert answers(photos, Seven()) == RED


def test_where_nothing_can_be_used_all_stays(photos):
    for path in photos.glob("*.png"):
        path.write_bytes(b"no picture")
    with pytest.raises(BadRequest, match="no picture could be used, so .* stays as it was"):
        build(photos, Seven(), another_encoder=True)
    assert answers(photos, ToyEncoder()) == RED


def test_what_the_folders_and_the_search_were_is_kept(photos, tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "other.png")
    source = parse_uri([str(photos), str(photos)], Options(exclude=("0*.png",)))
    Retriever.build(source, photos / ".mmr", ToyEncoder())[0].close()
    Retriever.build(source, photos / ".mmr", Seven(), another_encoder=True)[0].close()
    with Store.open(photos / ".mmr") as store:
        assert store.manifest["walk"] == {"exclude": ["0*.png"]}
        assert store.manifest["walked"] > 0
        assert len(store) == 10


def test_the_approximate_index_is_made_again_as_it_was_asked_for(photos, monkeypatch):
    monkeypatch.setattr(approximate, "LEAST_ROWS", 3)
    monkeypatch.setattr("indexes.approximate.tune.candidates", lambda *asked: [SimpleNamespace(spec="IVF1,Flat")])
    build(photos, ToyEncoder(), recall=0.8)
    build(photos, Seven(), another_encoder=True)
    with Store.open(photos / ".mmr") as store:
        assert (store.derived.recorded.asked, store.dim, store.verify()) == (0.8, 7, [])


# ---------------------------------------------------------------- killed

KILLED = {
    "half way": "hold(Store, 'add', after=2)",
    "before the commit": "hold(Store, 'replace', after=0)",
    "after the commit": "hold(reencode.shutil, 'rmtree', after=0)",
}


def kill(photos, point):
    """Rebuild in a process that is killed there."""
    script = f"""
    import os, signal, sys
    sys.path.insert(0, {str(Path(__file__).parent)!r})
    from indexes import Store
    from retrieval import Retriever
    from retrieval.indexing import reencode, update
    from test_reencode import Seven

    Seven.bulk, update.COMMIT_SECONDS = 5, -1.0

    def hold(owner, name, after):
        real, calls = getattr(owner, name), []
        def counted(*given, **named):
            calls.append(1)
            if len(calls) > after:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*given, **named)
        setattr(owner, name, counted)

    {KILLED[point]}
    Retriever.build({str(photos)!r}, {str(photos / ".mmr")!r}, Seven(), another_encoder=True)
    """
    run = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=Path(__file__).parents[1], check=False)
    assert run.returncode == -signal.SIGKILL


@pytest.mark.parametrize(("point", "left_to_do"), [("half way", 10), ("before the commit", 0)])
def test_killed_before_the_commit_it_answers_as_before_and_goes_on(photos, point, left_to_do):
    kill(photos, point)
    assert answers(photos, ToyEncoder()) == RED
    said, toy = [], ToyEncoder()
    assert build(photos, toy, said)[0].unchanged == COUNT
    assert [line.partition("is half")[2] for line in said] == [" of a rebuild: go on with --model wide, or remove it"]
    wide = Seven()
    assert build(photos, wide, another_encoder=True)[1] == RED
    assert wide.images_seen == left_to_do
    assert not (photos / ".rebuilding-.mmr").exists()


def test_killed_after_the_commit_it_is_done(photos):
    kill(photos, "after the commit")
    assert (photos / ".rebuilding-.mmr").exists()
    assert answers(photos, Seven()) == RED
    wide = Seven()
    assert build(photos, wide)[0].unchanged == COUNT
    assert wide.images_seen == 0
    assert not (photos / ".rebuilding-.mmr").exists()


def test_a_third_encoder_begins_anew(photos):
    kill(photos, "half way")
    third = Seven()
    third.name, third.fingerprint = "third", "third-fingerprint"
    assert build(photos, third, another_encoder=True)[1] == RED
    assert third.images_seen == COUNT
    assert not (photos / ".rebuilding-.mmr").exists()


def test_half_of_nothing_is_removed(photos):
    place = photos / ".rebuilding-.mmr"
    (place / "segments").mkdir(parents=True)
    build(photos, ToyEncoder())
    assert not place.exists()


def test_one_rebuilds_at_a_time(photos):
    with Store.open(photos / ".mmr", write=True), pytest.raises(Locked):
        build(photos, Seven(), another_encoder=True)
    assert answers(photos, ToyEncoder()) == RED
