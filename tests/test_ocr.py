"""The text in pictures: read once and kept, asked for once and remembered, and no picture's fault is another's."""

import io
import shutil
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from indexes import Store
from retrieval import Retriever, load_encoder
from retrieval.cluster import workers
from retrieval.datatypes import Item
from retrieval.errors import BadRequest, ImageError, MissingModel
from retrieval.images import guard, load, reading
from retrieval.indexing import build, catalog, ocr
from retrieval.indexing.line import Here
from retrieval.sources.registry import parse_uri
from terminal import fails, lines, mmr
from toy import ToyEncoder, picture

real = pytest.mark.skipif(find_spec("rapidocr") is None, reason="reading text needs the extra `ocr`")


class Fake:
    """Says which picture it is, by its color; counts; fails where it is told to."""

    def __init__(self):
        self.asked, self.fails, self.lock = [], set(), threading.Lock()

    def __call__(self, item):
        with self.lock:
            self.asked.append(item.uri)
        if item.uri in self.fails:
            raise ImageError("took longer than 60 s")
        red, green, blue = np.asarray(load.load(item).convert("RGB")).reshape(-1, 3).mean(0)
        return "STOP\nhere" if red > 200 else "Straße 7" if green > 200 else ""

    def taken(self):
        asked, self.asked = sorted(self.asked), []
        return asked


@pytest.fixture
def fake(monkeypatch):
    reader = Fake()
    monkeypatch.setattr(load, "text", reader)
    monkeypatch.setattr(load, "require_reader", lambda: None)
    return reader


def made(root, encoder=None, **how):
    """What was done, and how many pictures the encoder saw."""
    encoder = encoder or ToyEncoder()
    before = encoder.images_seen
    retriever, report = Retriever.build(str(root), root / ".mmr", encoder, **how)
    with retriever:
        assert retriever.store.verify() == []
    return report, encoder.images_seen - before


def texts(root, where=None, encoder=None):
    with Retriever.open(root / ".mmr", encoder or ToyEncoder()) as retriever:
        return {hit.uri: hit.meta.get("text") for hit in retriever.search("red", 10, where)}


ALL = {"red.png": "STOP\nhere", "more/green.jpg": "Straße 7", "blue é.png": None}
NAMES = ["blue é.png", "more/green.jpg", "red.png"]


# ---------------------------------------------------------------- an index of pictures with text


def test_text_is_a_field_that_filters_find(photos, fake):
    report, _ = made(photos, ocr=True)
    assert (report.added, report.read, report.unread) == (3, 0, [])
    assert fake.taken() == NAMES
    assert texts(photos) == ALL
    assert texts(photos, "text contains 'STRASSE 7'") == {"more/green.jpg": "Straße 7"}
    assert texts(photos, "text is not null") == {name: text for name, text in ALL.items() if text}


def test_that_it_was_asked_for_is_remembered_until_it_is_ended(photos, fake):
    made(photos, ocr=True)
    fake.taken()
    picture(photos / "new.png")
    assert made(photos)[0].added == 1
    assert fake.taken() == ["new.png"]
    made(photos, ocr=False)
    picture(photos / "newer.png")
    made(photos)
    assert fake.taken() == []
    assert texts(photos) == ALL | {"new.png": "STOP\nhere", "newer.png": None}  # what was read stays
    report, seen = made(photos, ocr=True)
    assert (report.read, seen, fake.taken()) == (1, 0, ["newer.png"])


def test_an_index_made_without_it_is_read_and_not_encoded(photos, fake):
    made(photos)
    with Store.open(photos / ".mmr") as store:
        before = store.vectors(store.rows())
        ids = [record.id for record in store.records(store.rows())]
    report, seen = made(photos, ocr=True)
    assert (report.unchanged, report.read, report.added, seen) == (3, 3, 0, 0)
    assert texts(photos) == ALL
    with Store.open(photos / ".mmr") as store:
        after = dict(zip([r.id for r in store.records(store.rows())], store.vectors(store.rows()), strict=True))
    for name, row in zip(ids, before, strict=True):
        assert np.allclose(after[name], row, atol=1e-3)
    fake.taken()
    assert made(photos)[0].read == 0
    assert fake.taken() == []  # one without text too is read once


def test_nothing_is_to_be_done_only_when_all_was_read(photos, fake, monkeypatch):
    made(photos)
    monkeypatch.setattr(build.query_encoder, "is_exported", lambda fingerprint: True)
    uri = parse_uri(str(photos))
    assert build.unchanged(uri, photos / ".mmr").unchanged == 3
    with Store.open(photos / ".mmr", write=True) as store:  # killed after it was asked for
        store.set_manifest(**catalog.reading_text(True))
    assert build.unchanged(uri, photos / ".mmr") is None
    made(photos)
    assert build.unchanged(uri, photos / ".mmr").unchanged == 3


def test_other_captions_and_other_names_keep_what_was_read(photos, fake):
    made(photos, ocr=True)
    fake.taken()
    (photos / "more" / "green.txt").write_text("a meadow", "utf-8")
    (photos / "red.png").rename(photos / "stop.png")
    report, seen = made(photos)
    assert (report.renewed, report.moved, seen, fake.taken()) == (1, 1, 0, [])
    assert texts(photos) == {"stop.png": "STOP\nhere", "more/green.jpg": "Straße 7", "blue é.png": None}


def test_what_has_moved_when_it_is_first_asked_for_is_read(photos, fake):
    made(photos)
    (photos / "red.png").rename(photos / "stop.png")
    report, seen = made(photos, ocr=True)
    assert (report.moved, report.read, seen) == (1, 3, 0)
    assert texts(photos)["stop.png"] == "STOP\nhere"


def test_another_content_is_read_again(photos, fake):
    made(photos, ocr=True)
    fake.taken()
    picture(photos / "red.png", (0, 255, 0))
    assert (made(photos)[0].changed, fake.taken()) == (1, ["red.png"])
    assert texts(photos)["red.png"] == "Straße 7"


def test_another_encoder_keeps_what_was_read(photos, fake):
    made(photos, ocr=True)
    fake.taken()
    picture(photos / "new.png")
    other = ToyEncoder("another")
    report, seen = made(photos, other, another_encoder=True)
    assert (seen, report.read, fake.taken()) == (4, 1, ["new.png"])
    assert texts(photos, encoder=other) == ALL | {"new.png": "STOP\nhere"}


def test_what_cannot_be_read_is_indexed_listed_and_tried_again(photos, fake):
    fake.fails = {"red.png"}
    for _ in range(2):
        report, _ = made(photos, ocr=True)
        assert report.skipped == []
        assert report.unread == [("red.png", "its text cannot be read: took longer than 60 s")]
        assert report.listed == report.unread
        assert texts(photos) == ALL | {"red.png": None}
    fake.fails = set()
    assert made(photos)[0].unread == []
    assert texts(photos) == ALL


def test_what_does_not_decode_is_skipped_once(photos, fake):
    (photos / "bad.png").write_bytes(b"\x89PNG no")
    report, _ = made(photos, ocr=True)
    assert [uri for uri, _ in report.listed] == ["bad.png"]
    assert "bad.png" not in fake.taken()


def test_texts_are_committed_while_others_are_read(photos, fake, monkeypatch):
    made(photos)
    monkeypatch.setattr(ocr, "_COMMIT_SECONDS", 0)
    told = []

    def progress(done, total):
        told.append((done, total))
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        made(photos, ocr=True, on_progress=progress)
    assert told == [(1, 3), (2, 3), (3, 3)]
    fake.taken()
    report, _ = made(photos)
    assert (report.read, len(fake.taken())) == (1, 1)


def test_the_tower_is_a_few_batches_ahead_and_no_more(tmp_path, fake, monkeypatch):
    """Vectors wait for what is read; what is read does not pile up."""
    encoder, gate = ToyEncoder(), threading.Event()
    encoder.bulk = 1
    monkeypatch.setattr(load, "text", lambda item: gate.wait(10) and "")
    items = [Item(f"{n}", f"{n}", picture(tmp_path / f"{n}.png")) for n in range(20)]
    rows = Here(encoder, readers=2)(items, True)
    thread = threading.Thread(target=lambda: next(rows))
    thread.start()
    patience = time.monotonic() + 5
    while encoder.images_seen < 4 and time.monotonic() < patience:
        time.sleep(0.01)
    time.sleep(0.1)
    assert 4 <= encoder.images_seen <= 6
    gate.set()
    thread.join()
    assert sum(len(made.ids) for made in rows) == 19


def test_a_folder_that_is_watched_goes_on(photos, fake):
    encoder = ToyEncoder()
    made(photos, encoder, ocr=True)
    fake.taken()
    new = picture(photos / "new.png")
    report = build.renew(parse_uri(str(photos)), photos / ".mmr", encoder, [new], Here(encoder))
    assert (report.added, fake.taken()) == (1, ["new.png"])
    assert texts(photos)["new.png"] == "STOP\nhere"


def test_a_worker_of_a_cluster_reads_and_says_where_it_cannot(photos, trained, fake, monkeypatch):
    name, items = str(trained), [Item("a", "a", photos / "red.png"), Item("b", "b", photos / "blue é.png")]
    fake.fails = {"b"}
    worker = workers.Worker()
    work = workers.Work(encoder=name, fingerprint=load_encoder(name).fingerprint, together=2, engine="torch", ocr=True)
    worker.load(work, "cpu")
    done = worker.make(items, True)
    assert [record.fields["file"].get("text") for record in done.records] == ["STOP\nhere", None]
    assert list(done.unread) == [("b", "its text cannot be read: took longer than 60 s")]
    assert fake.taken() == ["a", "b"]
    worker.make(items)
    assert fake.taken() == []

    def missing():
        raise MissingModel("no reader: pip install it")

    monkeypatch.setattr(load, "require_reader", missing)
    with pytest.raises(BadRequest, match="^on .*: no reader: pip install it"):
        worker.load(work, "cpu")


def test_of_clips_no_text_is_read(fake):
    kept, reason = ocr.record(Item("a.mp4", "a.mp4", lambda: b"", kind="clip"), "float32")
    assert (reason, kept.fields.get("read"), fake.taken()) == ("", None, [])


def test_a_column_of_the_same_name_counts_more(tmp_path, fake):
    picture(tmp_path / "a.png")
    (tmp_path / "t.csv").write_text("image,caption,text\na.png,x,from the table\n", "utf-8")
    retriever, _ = Retriever.build(f"csv:{tmp_path}/t.csv", tmp_path / ".mmr", ToyEncoder(), ocr=True)
    with retriever:
        assert retriever.search("red")[0].meta["text"] == "from the table"


# ---------------------------------------------------------------- the command


def test_the_command_says_what_it_did(book, trained, tmp_path, fake):
    root = tmp_path / "book"
    root.mkdir()
    for name in ("000.png", "001.png"):
        shutil.copy(book / name, root / name)
    fake.fails = {"001.png"}
    asked = ("index", root, "--model", trained)
    assert mmr(*asked).exit_code == 0
    result = mmr(*asked, "--ocr")
    assert result.exit_code == 4, result.output
    assert "(0 new, 0 changed, 1 read, 0 moved, 0 removed, 2 as before, 0 skipped, 1 unread)" in result.stdout
    assert "001.png: its text cannot be read: took longer than 60 s" in result.stderr
    assert "001.png" in (root / ".mmr" / "skipped.txt").read_text("utf-8")
    fake.fails = set()
    assert "1 read" in mmr(*asked).stdout
    assert "0 new, 0 changed, 0 moved, 0 removed, 2 as before, 0 skipped)" in mmr("index", root).stdout
    assert "read in pictures (--ocr)" in mmr("info", "--index", root / ".mmr").stdout
    hits = lines(mmr("search", "a circle", "--index", root / ".mmr", "--json"))
    assert {hit["uri"] for hit in hits} == {"000.png", "001.png"}
    assert mmr("index", root, "--no-ocr").exit_code == 0
    with Store.open(root / ".mmr") as store:
        assert not catalog.reads_text(store)


def test_without_the_library_one_line_says_how_it_is_had(photos, trained, monkeypatch):
    gone = reading.Package(
        name="ocr", distribution="rapidocr", version="3.10.0", module="no_such_module", license="", megabytes=0,
        extra="ocr", files=reading.PACKAGE.files,
    )  # fmt: skip
    monkeypatch.setattr(reading, "PACKAGE", gone)
    fails(mmr("index", photos, "--model", trained, "--ocr"), 3, "rapidocr", "pip install 'mmr-retrieval[ocr]'")
    assert not (photos / ".mmr").exists()
    with pytest.raises(MissingModel):
        made(photos, ocr=True)


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_models_that_are_not_what_they_should_be_are_not_read(tmp_path, monkeypatch, damage):
    """As the package would fetch others itself."""
    folder = tmp_path / "altered_reader" / "models"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    for name in reading.PACKAGE.files:
        (folder.parent / name).write_bytes(b"not a model")
    if damage == "missing":
        next(folder.iterdir()).unlink()
    monkeypatch.syspath_prepend(tmp_path)
    other = {**{name: getattr(reading.PACKAGE, name) for name in reading.PACKAGE.__slots__}, "module": "altered_reader"}
    monkeypatch.setattr(reading, "PACKAGE", reading.Package(**other))
    with pytest.raises(MissingModel, match=r"is not what rapidocr 3\.10\.0 holds: pip install --force-reinstall"):
        load.require_reader()


# ---------------------------------------------------------------- what is read


def test_boxes_are_told_as_a_person_reads_them():
    boxes = [
        reading.Box("right", 8, 300, 20), reading.Box("below", 50, 10, 20), reading.Box("left", 12, 10, 20),
        reading.Box("third", 71, 40, 20),
    ]  # fmt: skip
    assert reading.in_order(boxes) == "left right\nbelow\nthird"
    assert reading.in_order([]) == ""


def test_a_page_of_text_is_cut_at_the_end_of_a_line(monkeypatch):
    monkeypatch.setattr(reading, "MOST", 12)
    assert reading.in_order([reading.Box("12345", 30 * n, 0, 20) for n in range(4)]) == "12345\n12345"
    assert reading.in_order([reading.Box("x" * 40, 0, 0, 20)]) == "x" * 12


def sign(*texts, size=(700, 300), height=32, gap=80):
    """A white picture with lines of text."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for number, text in enumerate(texts):
        draw.text((30, 30 + gap * number), text, fill="black", font=ImageFont.load_default(height))
    return image


@pytest.fixture(scope="module")
def none_left():
    yield
    guard.end_all()


def read(path_or_image):
    content = path_or_image if isinstance(path_or_image, Path) or callable(path_or_image) else lambda: path_or_image
    return load.text(Item("a", "a", content))


@real
def test_words_and_numbers_are_read_upright_whatever_the_file_is(tmp_path, none_left):
    image = sign("Invoice 2026-1187", "Total 94.20 EUR")
    expected = "Invoice 2026-1187\nTotal 94.20 EUR"
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "a.tif")
    turned = Image.Exif()
    turned[274] = 6  # to be turned by 90 degrees clockwise
    image.rotate(90, expand=True).save(tmp_path / "a.jpg", exif=turned, quality=95)
    for name in ("a.png", "a.tif", "a.jpg"):
        assert read(tmp_path / name) == expected, name
    assert load.text(Item("a", "a", lambda: (tmp_path / "a.jpg").read_bytes())) == expected
    assert read(image) == expected
    assert read(np.asarray(image)) == expected
    sign("Invoice 2026-1187", "Total 94.20 EUR", size=(4200, 1800), height=192, gap=480).save(tmp_path / "large.jpg")
    assert read(tmp_path / "large.jpg") == expected


@real
def test_a_picture_without_text_has_none_and_one_that_is_none_says_so(tmp_path, none_left):
    assert read(Image.new("RGB", (300, 200), "gray")) == ""
    assert read(Image.new("RGB", (1, 1))) == ""
    assert read(Image.effect_noise((200, 200), 60).convert("RGB")) == ""
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff" + b"x" * 100)
    for content, reason in ((tmp_path / "bad.jpg", "not a picture"), (tmp_path / "none.jpg", "no such file")):
        with pytest.raises(ImageError, match=reason):
            read(content)
    with pytest.raises(ImageError, match="three colors"):
        read(np.zeros((8, 8, 5), np.uint8))
    assert read(sign("Still there")) == "Still there"


@real
def test_a_fault_while_one_is_read_costs_that_one(monkeypatch, none_left):
    read(sign("One"))
    send = guard.Worker.send

    def dies(self, *args):
        self.process.kill()
        self.process.wait()
        return send(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(guard.Worker, "send", dies)
        with pytest.raises(ImageError, match="crashes"):
            read(sign("Two"))
    assert guard.readers.idle == []
    assert read(sign("Three")) == "Three"


@real
def test_what_takes_too_long_or_too_much_is_ended(monkeypatch, none_left):
    guard.end_all()  # a new one is told how long it may take
    monkeypatch.setattr(guard, "SECONDS_TO_READ", 0.5)
    with monkeypatch.context() as patch, pytest.raises(ImageError, match="took longer than 0.5 s"):
        patch.setattr(guard.Worker, "send", lambda *args: None)  # the worker waits, as one that hangs would
        read(sign("Two"))
    monkeypatch.setattr(guard, "SECONDS_TO_READ", 60)
    with pytest.raises(ImageError, match="pixels|memory|decompression bomb"):
        read(bomb)
    assert read(sign("Three")) == "Three"


def bomb():
    """A small file of more pixels than memory has room for."""
    buffer = io.BytesIO()
    Image.new("L", (14_000, 14_000)).save(buffer, "PNG")
    return buffer.getvalue()


@real
def test_nothing_is_fetched_while_it_reads(tmp_path, none_left, monkeypatch):
    """Every way to the network ends at a port where nobody listens, and the models are there."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.lower(), "http://127.0.0.1:9")
    guard.end_all()
    assert read(sign("Offline")) == "Offline"


@real
def test_text_is_found_by_the_command(tmp_path, trained, none_left):
    sign("Invoice 2026-1187").save(tmp_path / "bill.png")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "plain.png")
    assert mmr("index", tmp_path, "--model", trained, "--ocr").exit_code == 0
    (hit,) = lines(mmr("search", "x", "--index", tmp_path / ".mmr", "--where", "text contains 'invoice'", "--json"))
    assert hit["uri"] == "bill.png"
    assert hit["text"] == "Invoice 2026-1187"
