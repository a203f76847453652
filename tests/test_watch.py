"""Folders that are watched: what happens in them comes into the index once it is at rest, and nothing else goes out."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from indexes import Locked, Store, StoreError
from live import ROOT, got, serving
from retrieval.encoders import bulk
from retrieval.indexing import early, events, watching
from retrieval.indexing.build import build
from retrieval.sources.registry import parse_uri
from retrieval.sources.uri import stamp_of
from retrieval.sources.walk import Walk
from terminal import fails, mmr
from toy import picture


class Looks:
    """Signatures that a test sets; a clock that it moves."""

    def __init__(self):
        self.of = {}

    def __call__(self, path):
        return self.of.get(path)


class Works:
    """Work that writes down what it was asked for, and fails as it is told."""

    def __init__(self, *errors):
        self.asked, self.errors, self.early = [], list(errors), set()

    def whole(self):
        return self._did("whole")

    def part(self, paths):
        return self._did(sorted(path.name for path in paths))

    def _did(self, what):
        self.asked.append(what)
        if self.errors and (error := self.errors.pop(0)):
            raise error
        return watching.IndexReport()


def watcher(work, looks, said=None, sweep=900.0):
    settling = watching.Settling(0.4, looks)
    say = said.append if said is not None else lambda line: None
    return watching.Watcher(work, lambda path: True, settling, sweep, lambda report, seconds: None, say, lambda: 0.0)


A, B = Path("/x/a.png"), Path("/x/b.png")


# ---------------------------------------------------------------- when


def test_a_file_is_taken_once_it_is_at_rest():
    work, looks = Works(), Looks()
    watched = watcher(work, looks)
    watched.step([], 0.0)
    looks.of[A] = (1, 1)
    watched.step([A], 10.0)
    watched.step([], 10.3)
    assert work.asked == ["whole"]
    watched.step([], 10.4)
    watched.step([], 10.5)
    assert work.asked == ["whole", ["a.png"]]


def test_a_file_that_grows_waits_and_holds_up_others_for_half_a_second():
    work, looks = Works(), Looks()
    watched = watcher(work, looks)
    watched.step([], 0.0)
    looks.of |= {A: (1, 1), B: (1, 1)}
    watched.step([A, B], 10.0)
    for tenth in range(1, 21):  # B grows for two seconds
        looks.of[B] = (tenth, 1)
        watched.step([], 10.0 + tenth / 10)
        assert work.asked == (["whole"] if tenth < 9 else ["whole", ["a.png"]])
    watched.step([], 12.3)
    assert work.asked[2:] == []
    watched.step([], 12.5)
    assert work.asked[2:] == [["b.png"]]


def test_a_burst_is_one_update():
    work, looks = Works(), Looks()
    watched = watcher(work, looks)
    watched.step([], 0.0)
    for number in range(50):
        path = Path(f"/x/{number:02d}.png")
        looks.of[path] = (1, 1)
        watched.step([path], 10 + number / 100)
    watched.step([], 10.89)
    watched.step([], 10.91)
    assert len(work.asked) == 2
    assert len(work.asked[1]) == 50


def test_everything_is_looked_through_every_so_often():
    work, looks = Works(), Looks()
    watched = watcher(work, looks, sweep=60)
    for now in (0.0, 59.0, 60.0, 61.0, 119.0, 120.0):
        watched.step([], now)
    assert work.asked == ["whole"] * 3


def test_an_index_that_another_writes_to_is_waited_for_and_said_once():
    locked = Locked("another process is writing to x: wait for it, then try again")
    work, looks, said = Works(None, locked, locked), Looks(), []
    watched = watcher(work, looks, said)
    watched.step([], 0.0)
    watched.step([A], 10.0)
    for now in (10.4, 10.6, 10.9, 11.4, 12.0):
        watched.step([], now)
    assert work.asked == ["whole", ["a.png"], ["a.png"], ["a.png"]]
    assert said == ["another process is writing to x: waiting for it"]


def test_what_was_read_too_early_is_looked_at_again_and_holds_up_nothing():
    work, looks = Works(), Looks()
    watched = watcher(work, looks)
    watched.step([], 0.0)
    work.early = {A}
    watched.step([A], 10.0)
    watched.step([], 10.5)  # it was read in vain
    work.early = set()
    watched.step([B], 11.0)
    watched.step([], 11.4)
    watched.step([], 15.4)
    assert work.asked == ["whole", ["a.png"], ["b.png"]]
    watched.step([], 15.5)
    watched.step([], 30.0)
    assert work.asked[3:] == [["a.png"]]


def test_an_update_that_did_nothing_says_nothing():
    assert watching.told(watching.IndexReport(unchanged=9), 0.1) == ""
    assert watching.told(watching.IndexReport(added=3, removed=1), 0.84) == "3 new, 1 removed, 0.8 s"


# ---------------------------------------------------------------- what


@pytest.fixture
def work(photos, toy):
    """The work on an index of the three pictures; `said` is what it said."""
    said = []
    made = watching.Folders(parse_uri(str(photos)), photos / ".mmr", toy, say=said.append)
    made.whole()
    toy.images_seen, made.said = 0, said
    return made


def held(index):
    with Store.open(index) as store:
        return store.stamps()


def there(root):
    """What an index of a folder holds: id -> stamp."""
    walk = Walk(parse_uri(str(root)).options)
    return {
        (folder / name).relative_to(root).as_posix(): stamp_of(folder / name) for folder, name, _ in walk.below(root)
    }


def test_only_what_was_touched_is_looked_at_and_it_is_one_commit(work, photos, toy):
    untold = picture(photos / "untold.png")
    new = [picture(photos / "new" / f"{number}.png", (number, 0, 9)) for number in range(5)]
    with Store.open(work.path) as store:
        before = store.generation
    report = work.part(new)
    assert (report.added, report.removed, report.skipped) == (5, 0, [])
    with Store.open(work.path) as store:
        assert store.generation == before + 1
    assert toy.images_seen == 5
    untold.unlink()
    assert held(work.path) == there(photos)


def test_a_folder_that_came_or_went_is_all_that_is_in_it(work, photos, tmp_path):
    picture(tmp_path / "made" / "deep" / "x.png")
    (tmp_path / "made").rename(photos / "came")
    (photos / "came" / "deep" / "broken.png").write_bytes(b"no picture")
    _rested(photos / "came" / "deep" / "broken.png")
    report = work.part([photos / "came"])
    assert (report.added, [uri for uri, _ in report.skipped]) == (1, ["came/deep/broken.png"])
    assert work.part([photos / "came"]).skipped == []  # it was said
    shutil.rmtree(photos / "came")
    shutil.rmtree(photos / "more")
    report = work.part([photos / "came", photos / "more"])
    assert report.removed == 2
    assert sorted(held(work.path)) == ["blue é.png", "red.png"]


def _rested(path, seconds=2 * early.PATIENCE):
    """The same file, last written to so long ago."""
    os.utime(path, (time.time() - seconds,) * 2)


@pytest.mark.parametrize("look", ["part", "whole"])
def test_a_file_that_may_be_growing_stays_and_is_not_said_to_be_skipped(work, photos, look):
    before, grows = held(work.path), photos / "red.png"
    grows.write_bytes(grows.read_bytes()[:40])
    (photos / "begun.png").write_bytes(b"")
    paths = [grows, photos / "begun.png"]
    for path in paths:
        _rested(path, 0)
    update = work.whole if look == "whole" else lambda: work.part(paths)
    report = update()
    assert (report.removed, report.skipped, work.early) == (0, [], set(paths))
    assert held(work.path) == before
    for path in paths:
        _rested(path)
    assert sorted(uri for uri, _ in update().skipped) == ["begun.png", "red.png"]
    assert work.early == set()
    assert sorted(held(work.path)) == ["blue é.png", "more/green.jpg"]


def test_a_rename_keeps_the_vector(work, photos, toy):
    (photos / "red.png").rename(photos / "more" / "crimson.png")
    report = work.part([photos / "red.png", photos / "more" / "crimson.png"])
    assert (report.moved, report.added, report.removed, toy.images_seen) == (1, 0, 0, 0)
    assert held(work.path) == there(photos)


def test_a_text_beside_a_picture_is_its_caption(work, photos, toy):
    (photos / "more" / "green.txt").write_text("a meadow\n")
    assert work.part([photos / "more" / "green.txt"]).renewed == 1
    assert toy.images_seen == 0


def test_what_is_left_out_is_not_taken(work, photos):
    (photos / "more" / ".mmrignore").write_text("no*\n")
    assert work.part([photos / "more" / ".mmrignore"]).unchanged == 3  # everything is looked at
    assert work.part([picture(photos / "more" / "not.png")]).added == 0
    for path in (".mmr/mmr.db", ".hidden.png", "notes.pdf", "@eaDir/x.png", "x.mmr/y.png"):
        (photos / path).parent.mkdir(exist_ok=True)
        (photos / path).touch()
        assert not work.wanted(photos / path), path
    for path in ("x.png", "gone/x.jpg", "gone", ".mmrignore", "x.txt", ""):
        assert work.wanted(photos / path), path


def test_a_root_that_vanished_loses_nothing_and_is_found_again(toy, tmp_path):
    index, said = tmp_path / "both.mmr", []
    for name in ("one", "two"):
        picture(tmp_path / name / f"{name}.png")
    uri = parse_uri([str(tmp_path / "one"), str(tmp_path / "two")])
    work = watching.Folders(uri, index, toy, say=said.append)
    work.whole()
    (tmp_path / "two").rename(tmp_path / "away")
    for _ in range(2):
        work.part([tmp_path / "two"])
        work.part([tmp_path / "two" / "two.png"])
    assert [line.partition(",")[0] for line in said] == [f"{tmp_path}/two has no pictures now"]
    more = picture(tmp_path / "one" / "more.png")
    assert work.part([more]).added == 1
    assert sorted(held(index)) == ["one/more.png", "one/one.png", "two/two.png"]
    (tmp_path / "two").mkdir()  # where the disk was mounted
    work.part([tmp_path / "two"])
    assert len(held(index)) == 3
    (tmp_path / "two").rmdir()
    (tmp_path / "away").rename(tmp_path / "two")
    picture(tmp_path / "two" / "new.png")
    assert work.part([tmp_path / "two"]).added == 1
    assert said[-1] == f"{tmp_path}/two is there again"


def test_the_only_root_that_vanished_loses_nothing(toy, photos, tmp_path):
    said = []
    work = watching.Folders(parse_uri(str(photos)), tmp_path / "photos.mmr", toy, say=said.append)
    work.whole()
    photos.rename(tmp_path / "away")
    for path in (photos, photos / "red.png"):
        assert work.part([path]) is None
    photos.mkdir()
    assert work.part([photos / "red.png"]) is None
    assert len(held(work.path)) == 3
    assert [line.count("holds 3 of it, which are kept") for line in said] == [1]


def test_a_mount_that_went_loses_nothing(toy, photos, monkeypatch):
    mount, is_mount = photos / "more", Path.is_mount
    monkeypatch.setattr(Path, "is_mount", lambda path: path == mount or is_mount(path))
    work = watching.Folders(parse_uri(str(photos)), photos / ".mmr", toy)
    work.whole()
    monkeypatch.setattr(Path, "is_mount", is_mount)
    (mount / "green.jpg").unlink()
    assert work.part([mount / "green.jpg"]).unseen == 1
    assert work.part([mount]).unseen == 1
    assert "more/green.jpg" in held(work.path)


def test_stopped_it_ends_between_batches(work, photos):
    work.stopped = lambda: True
    with pytest.raises(watching.Stopped):
        work.part([picture(photos / "new.png")])
    assert len(held(work.path)) == 3


# ---------------------------------------------------------------- events


WATCHES = OSError('OS file watch limit reached. about ["/x"] (Error { kind: MaxFilesWatch, paths: ["/x"] })')
INSTANCES = RuntimeError("Error creating recommended watcher: Too many open files (os error 24)")


@pytest.mark.parametrize(
    ("error", "name", "what", "more"),
    [
        (WATCHES, "max_user_watches", "2 folders are", 12),
        (INSTANCES, "max_user_instances", "1 watching program is", 10),
    ],
)
def test_where_the_system_watches_no_more_it_polls_and_says_what_to_type(photos, monkeypatch, error, name, what, more):
    import watchfiles

    asked, said, stop = [], [], threading.Event()

    def watch(*roots, force_polling, **given):
        asked.append(force_polling)
        if not force_polling:
            raise error
        yield set()

    monkeypatch.setattr(watchfiles, "watch", watch)
    monkeypatch.setattr(events, "_LIMITS", photos)
    (photos / name).write_text("8\n")
    assert next(events.batches([photos], stop, None, said.append)) == frozenset()
    assert asked == [False, True]
    assert said == [
        f"{what} more than the system watches (8 for all programs of a user): every file is looked at each 10 s, until "
        f"you type `sudo sysctl fs.inotify.{name}={more}` and start again"
    ]


def test_an_error_that_is_no_limit_is_one(photos, monkeypatch):
    import watchfiles

    def watch(*roots, **given):
        raise OSError("the disk is on fire")
        yield

    monkeypatch.setattr(watchfiles, "watch", watch)
    with pytest.raises(OSError, match="on fire"):
        next(events.batches([photos], threading.Event(), None, print))


@pytest.mark.skipif(not shutil.which("unshare"), reason="Linux has it")
def test_the_true_limit_of_a_system_is_told(photos):
    code = (
        "import sys, threading, pathlib\n"
        "from retrieval.indexing import events\n"
        "next(events.batches([pathlib.Path(sys.argv[1])], threading.Event(), None, print))"
    )
    two = 'echo 1 > /proc/sys/user/max_inotify_watches && exec "$@"'
    made = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", two, "sh", sys.executable, "-c", code, str(photos)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "unshare" in made.stderr or "cannot create" in made.stderr:
        pytest.skip("no namespace of our own is to be had here")
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("2 folders are more than the system watches")


@pytest.mark.parametrize("poll", [None, 0.1])
def test_what_happens_is_told_and_a_root_that_comes_is_found(tmp_path, poll):
    one, two, stop = tmp_path / "one", tmp_path / "two", threading.Event()
    one.mkdir()
    told = events.batches([one, two], stop, poll, print)
    next(told)
    new = picture(one / "new.png")
    assert new in until(told, new)
    two.mkdir()
    assert two in until(told, two)
    later = picture(two / "later.png")
    assert later in until(told, later)
    stop.set()
    assert list(told) == []


def until(told, path):
    """Batches until one has that path: it is given."""
    for _ in range(100):
        if path in (batch := next(told)):
            return batch
    raise AssertionError(f"{path} was not told of")


# ---------------------------------------------------------------- the command


def test_bad_input_is_one_line(photos, tmp_path, trained, monkeypatch):
    (tmp_path / "t.csv").write_text(f"image\n{photos}/red.png\n")
    assert mmr("index", tmp_path / "t.csv", "--index", tmp_path / "t.mmr", "--model", trained).exit_code == 0
    fails(mmr("watch", tmp_path / "none"), 2, "no such file or folder", "check the path")
    fails(mmr("watch", photos, "--poll", "0"), 2, "--poll 0 is no time to wait", "--poll 10")
    fails(mmr("watch", photos, "--sweep", "nan"), 2, "--sweep nan is no time to wait", "--sweep 15")
    fails(mmr("watch", "--index", tmp_path / "t.mmr"), 2, "is no folder", "mmr index --index")
    fails(mmr("watch", photos / "red.png"), 2, "only folders are watched", "name their folder")
    fails(mmr("serve", tmp_path / "t.mmr", "--watch", "--port", "0"), 2, "nothing to watch", "leave --watch out")
    fails(mmr("watch", "--index", tmp_path / "none.mmr"), 3, "no index at", "mmr watch FOLDER --index")
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    fails(mmr("watch", photos), 2, "needs watchfiles", "pip install 'mmr-retrieval[watch]'")


def test_another_folder_than_the_index_is_of_is_told_before_an_encoder_is_loaded(photos, tmp_path, toy, monkeypatch):
    build(str(photos), tmp_path / "photos.mmr", toy)[0].close()
    picture(tmp_path / "other" / "x.png")
    monkeypatch.setattr(bulk, "load_for_bulk", lambda *given: pytest.fail("an encoder was asked for"))
    result = mmr("watch", tmp_path / "other", "--index", tmp_path / "photos.mmr")
    fails(result, 2, "is the index of", "name them all", "add --only to `mmr index`")


class Life:
    """`mmr watch` in a process of its own."""

    def __init__(self, root, index, trained, log):
        self.log = log
        model = ["--model", str(trained)] if trained else []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "watch", str(root), "--index", str(index), *model],
            cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=log, stderr=log,
        )  # fmt: skip

    def until(self, is_so, seconds=60):
        """Wait until something is so, while it lives."""
        end = time.monotonic() + seconds
        while not is_so():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < end, self.said()
            time.sleep(0.1)

    def said(self):
        return os.pread(self.log.fileno(), 1 << 20, 0).decode()

    def end(self, number):
        self.process.send_signal(number)
        return self.process.wait(60)


def as_it_is(index, root):
    def is_so():
        try:
            return held(index) == there(root)
        except (StoreError, OSError):  # it is being made, or what is there changes as it is looked at
            return False

    return is_so


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_it_goes_on_until_it_is_told_to_end(photos, trained, tmp_path, number, code):
    index = tmp_path / "photos.mmr"
    with (tmp_path / "log").open("w+") as log:
        life = Life(photos, index, trained, log)
        try:
            life.until(as_it_is(index, photos))
            with Store.open(index, write=True, wait=60) as store:  # others write between
                store.set_manifest(note=1)
                picture(photos / "new.png", (1, 2, 3))
                life.until(lambda: "waiting for it" in life.said())
            life.until(as_it_is(index, photos))
            life.until(lambda: "1 new, " in life.said())
            assert life.end(number) == code, life.said()
            assert life.said().count("waiting for it") == 1
            assert "Traceback" not in life.said()
        finally:
            life.process.kill()


def test_a_folder_of_the_index_that_is_away_at_the_start_is_waited_for(photos, trained, tmp_path):
    index = tmp_path / "photos.mmr"
    assert mmr("index", photos, "--index", index, "--model", trained).exit_code == 0
    photos.rename(tmp_path / "away")
    with (tmp_path / "log").open("w+") as log:
        life = Life(photos, index, None, log)
        try:
            life.until(lambda: "it is looked for" in life.said())
            assert len(held(index)) == 3
            picture(tmp_path / "away" / "new.png")
            (tmp_path / "away").rename(photos)
            life.until(as_it_is(index, photos))
        finally:
            life.process.kill()


@pytest.fixture
def other_run(tmp_path):
    """A run of another encoder."""
    from retrieval.encoders.build import small_encoder

    small_encoder(["a dog"], dim=8, image_size=32).save(tmp_path / "other")
    return tmp_path / "other"


def encode_again(index, run):
    """By another encoder, once no one else writes to the index."""
    end = time.monotonic() + 60
    while (result := mmr("index", "--index", index, "--model", run)).exit_code == 3 and time.monotonic() < end:
        time.sleep(0.1)
    assert result.exit_code == 0, result.output


def test_another_encoder_that_the_index_was_given_is_taken(photos, trained, other_run, tmp_path):
    index = tmp_path / "photos.mmr"
    assert mmr("index", photos, "--index", index, "--model", trained).exit_code == 0
    with (tmp_path / "log").open("w+") as log:
        life = Life(photos, index, None, log)
        try:
            life.until(lambda: "watching " in life.said())
            encode_again(index, other_run)
            picture(photos / "new.png", (1, 2, 3))
            life.until(as_it_is(index, photos))
            life.until(lambda: f"has another encoder now: {other_run}" in life.said())
        finally:
            life.process.kill()


def test_a_server_takes_another_encoder_that_an_index_was_given(photos, trained, other_run, tmp_path):
    index, is_so = tmp_path / "photos.mmr", as_it_is(tmp_path / "photos.mmr", photos)
    assert mmr("index", photos, "--index", index, "--model", trained).exit_code == 0
    with serving(index, "--watch") as (_, process):
        end = time.monotonic() + 50
        while "watching" not in process.told() and time.monotonic() < end:
            time.sleep(0.1)
        encode_again(index, other_run)
        picture(photos / "new.png", (1, 2, 3))
        while not is_so() and time.monotonic() < end:
            time.sleep(0.1)
        assert is_so(), process.told()


def test_a_server_watches_the_folders_of_its_indexes(photos, trained, tmp_path):
    index = tmp_path / "photos.mmr"
    assert mmr("index", photos, "--index", index, "--model", trained).exit_code == 0
    with serving(index, "--watch") as (address, process):
        end = time.monotonic() + 60
        while "watching" not in process.told() and time.monotonic() < end:
            time.sleep(0.1)
        picture(photos / "new.png", (1, 2, 3))
        while (seen := got(f"{address}api/info")[1]) and time.monotonic() < end:
            if '"rows": 4' in json.dumps(seen) or '"items": 4' in json.dumps(seen):
                break
            time.sleep(0.2)
        assert held(index) == there(photos), process.told()
        assert process.poll() is None


# ---------------------------------------------------------------- the storm


def blow(root, draw, count):
    """So many random creates, edits, renames and deletes of files and folders."""
    for _ in range(count):
        files = sorted(path for path in root.rglob("*.png") if path.name != "keep.png")
        what = draw.choice(["new", "new", "edit", "rename", "delete", "folder", "slow"])
        place = root / draw.choice(["", "a", "b/c", f"d{draw.randrange(3)}"]) / f"{draw.randrange(10**6)}.png"
        colour = tuple(draw.randrange(256) for _ in range(3))
        if what == "new" or not files:
            picture(place, colour)
        elif what == "edit":
            picture(draw.choice(files), colour)
        elif what == "rename":
            place.parent.mkdir(parents=True, exist_ok=True)
            draw.choice(files).rename(place)
        elif what == "delete":
            draw.choice(files).unlink()
        elif what == "folder" and draw.random() < 0.5:
            shutil.rmtree(root / "b", ignore_errors=True)
        elif what == "folder" and (root / "a").is_dir():
            (root / "a").rename(root / f"d{draw.randrange(10**6)}")
        elif what == "slow":
            whole = picture(root / "slow.tmp.png", colour).read_bytes()
            (root / "slow.tmp.png").unlink()
            with place.open("wb") if place.parent.is_dir() else (root / "slow.png").open("wb") as file:
                for at in range(0, len(whole), 30):
                    file.write(whole[at : at + 30])
                    file.flush()
                    time.sleep(0.02)
        time.sleep(draw.uniform(0, 0.05))


def storm(tmp_path, trained, kills):
    root, index, draw = tmp_path / "photos", tmp_path / "photos.mmr", random.Random(7)
    picture(root / "keep.png")
    with (tmp_path / "log").open("w+") as log:
        for _ in range(kills):
            life = Life(root, index, trained, log)
            began = life.said().count("watching ")
            while life.said().count("watching ") == began and draw.random() < 0.98:
                blow(root, draw, 3)
            blow(root, draw, draw.randrange(40))
            assert life.process.poll() is None, life.said()
            assert life.end(signal.SIGKILL) == -signal.SIGKILL
        life = Life(root, index, trained, log)
        try:
            life.until(as_it_is(index, root), 120)
            blow(root, draw, 60)  # and while it lives: no update at its start does this
            life.until(as_it_is(index, root), 120)
            time.sleep(2)
            assert held(index) == there(root), life.said()
            assert life.end(signal.SIGTERM) == 0, life.said()
        finally:
            life.process.kill()
        assert "Traceback" not in life.said()
    assert mmr("verify", "--index", index).exit_code == 0
    _as_made_at_once(index, root, tmp_path / "fresh.mmr", trained)


def _as_made_at_once(index, root, fresh, trained):
    """The vectors are those of an index that is made of the folder now."""
    assert mmr("index", root, "--index", fresh, "--model", trained).exit_code == 0
    with Store.open(index) as store, Store.open(fresh) as other:
        assert store.stamps() == other.stamps()
        ours, theirs = (
            {r.id: v for r, v in zip(one.records(rows), one.vectors(rows), strict=True)}
            for one in (store, other)
            for rows in [one.rows()]
        )
    for name, vector in theirs.items():
        assert np.allclose(ours[name], vector, atol=2e-3), name


def test_killed_again_and_again_in_a_storm_the_index_is_the_folder(tmp_path, trained):
    storm(tmp_path, trained, 2)


@pytest.mark.slow
def test_killed_twenty_times_in_a_storm_the_index_is_the_folder(tmp_path, trained):
    storm(tmp_path, trained, 20)
