"""The HTTP face of an index: what it answers, what it refuses, and that it stays on the newest state."""

import base64
import io
import json
import os
import re
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from cli.serve import app, gather, guards, parts, searching, sent, shown, tables
from cli.serve.guards import Doors
from cli.serve.parts import Parts
from cli.serve.shelf import Shelf, Shelves
from indexes import Store
from retrieval import Retriever
from retrieval.search import confidence
from toy import ToyEncoder, picture

HERE, ANYONE = "http://127.0.0.1:8750", Doors()


def served(*paths, doors=ANYONE, toy=None, **told):
    """A client of a server of these indexes."""
    shelves = Shelves(Shelf(path, "cpu", (), toy or ToyEncoder()) for path in paths)
    return TestClient(app.make(Parts(shelves, **told), doors), HERE, raise_server_exceptions=False)


@pytest.fixture
def index(photos, toy):
    Retriever.build(str(photos), photos / ".mmr", toy)[0].close()
    return photos / ".mmr"


@pytest.fixture
def client(index):
    with served(index) as made:
        yield made


def bytes_of(colour, size=(8, 8), form="PNG"):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, form)
    return file.getvalue()


def uris(answer):
    assert answer.status_code == 200, answer.text
    return [hit["uri"] for hit in answer.json()["hits"]]


# ---------------------------------------------------------------- search


def test_words_find_pictures_with_all_that_a_page_shows(client, photos):
    answer = client.get("/api/search", params={"q": "a green field", "k": 2}).json()
    assert (answer["index"], answer["total"], answer["next"], answer["fits"]) == (photos.name, 3, 2, True)
    assert answer["deepest"] == searching.DEEPEST  # the page holds no number of its own
    best = answer["hits"][0]
    assert (best["uri"], best["caption"], best["kind"]) == ("more/green.jpg", "a green field", "picture")
    assert best["score"] == pytest.approx(1, abs=0.01)
    assert (best["width"], best["height"]) == (10, 20)
    assert client.get(best["thumb"]).status_code == 200


def test_pages_follow_each_other(client):
    whole = uris(client.get("/api/search", params={"q": "red", "k": 3}))
    parts, offset = [], 0
    while offset is not None:
        answer = client.get("/api/search", params={"q": "red", "k": 1, "offset": offset})
        parts, offset = parts + uris(answer), answer.json()["next"]
    assert parts == whole
    assert len(whole) == 3


def test_a_sum_an_item_and_what_is_taken_away(client):
    assert uris(client.get("/api/search", params={"q": ["red", "-", "green"], "k": 1})) == ["red.png"]
    assert uris(client.get("/api/search", params={"q": "id:red.png", "k": 3}))[:1] != ["red.png"]
    assert uris(client.get("/api/search", params={"q": ["2:red", "+", "green"], "k": 1})) == ["red.png"]


def test_nothing_on_this_machine_is_a_file_of_a_query(client, photos):
    """Whether a file is there cannot be asked: its name is words."""
    there = client.get("/api/search", params={"q": str(photos / "red.png"), "k": 1})
    missing = client.get("/api/search", params={"q": str(photos / "none.png"), "k": 1})
    assert there.status_code == missing.status_code == 200
    assert uris(there) == ["red.png"]  # by the word in it
    address = client.get("/api/search", params={"q": "https://example.org/a.png"})
    assert (address.status_code, address.json()["error"]) == (
        400, "https://example.org/a.png is an address, and none is fetched: send the picture itself",
    )  # fmt: skip


def test_a_picture_is_asked_with_and_named_for_the_next_question(client):
    answer = client.post("/api/search", content=bytes_of((0, 255, 0)), params={"k": 1})
    assert uris(answer) == ["more/green.jpg"]
    name = answer.json()["picture"]
    assert uris(client.get("/api/search", params={"q": name, "k": 1})) == ["more/green.jpg"]
    both = client.post("/api/search", content=bytes_of((0, 255, 0)), params={"q": "5:red", "k": 1})
    assert uris(both) == ["red.png"]
    gone = client.get("/api/search", params={"q": "picture:0123"})
    assert (gone.status_code, gone.json()["error"]) == (400, "no picture 0123 is kept any more: send it again")


def test_a_crop_is_what_is_asked_with(client):
    image = Image.new("RGB", (100, 40), (255, 0, 0))
    image.paste((0, 0, 255), (50, 0, 100, 40))
    file = io.BytesIO()
    image.save(file, "PNG")
    for crop, found in (("0,0,0.5,1", "red.png"), ("0.5,0,0.5,1", "blue é.png")):
        assert uris(client.post("/api/search", content=file.getvalue(), params={"k": 1, "crop": crop})) == [found]
    for crop in ("1,0,1,1", "0,0,2,1", "0,0,x,1", "0,0", "nan,0,1,1", "0,0,0.01,0.01"):
        answer = client.post("/api/search", content=file.getvalue(), params={"crop": crop})
        assert answer.status_code == 400, crop


def test_without_a_query_all_come_the_newest_first(client, photos, index, toy):
    for number, name in enumerate(["more/green.jpg", "red.png", "blue é.png"]):
        os.utime(photos / name, (1_600_000_000 + number, 1_600_000_000 + number))
    Retriever.build(str(photos), index, toy)[0].close()
    next(iter(client.app._app._app.state.parts.shelves)).look()
    assert uris(client.get("/api/search")) == ["blue é.png", "red.png", "more/green.jpg"]
    assert client.get("/api/search").json()["deepest"] is None
    assert client.get("/api/search", params={"q": "red"}).json()["deepest"] == searching.DEEPEST
    assert uris(client.get("/api/search", params={"sort": "date", "k": 2, "offset": 1})) == ["red.png", "blue é.png"]
    by_date = client.get("/api/search", params={"q": "green", "sort": "-date"})
    assert uris(by_date) == ["blue é.png", "red.png", "more/green.jpg"]


def test_where_no_item_has_a_caption_there_are_none_and_that_is_no_error(tmp_path, toy):
    picture(tmp_path / "p" / "red.png")
    Retriever.build(str(tmp_path / "p"), tmp_path / "p" / ".mmr", toy)[0].close()
    with served(tmp_path / "p" / ".mmr") as client:
        assert client.get("/api/captions", params={"q": "red"}).json() == {"captions": [], "any": False}


def test_near_duplicates_are_folded(photos, toy):
    for number in range(3):
        picture(photos / f"again{number}.png", (255, number, 0))
    Retriever.build(str(photos), photos / ".mmr", toy)[0].close()
    with served(photos / ".mmr") as client:
        answer = client.get("/api/search", params={"q": "red", "fold": 1}).json()
        assert [hit["folded"] for hit in answer["hits"]] == [3, 0, 0]
        nothing = client.get("/api/search", params={"q": "red", "fold": 1, "in": "nowhere"}).json()
        assert (nothing["hits"], nothing["total"], nothing["next"]) == ([], 0, None)
        groups = client.get("/api/duplicates").json()
        assert (groups["count"], groups["groups"][0]["count"]) == (1, 4)
        assert client.get("/api/duplicates", params={"in": "more"}).json()["count"] == 0


def test_what_is_folded_is_like_the_one_that_is_shown(photos, toy):
    """Of a row of pictures, each like the next and the first unlike the last, none is lost."""
    for number, blue in enumerate((0, 40, 80, 120, 160, 200)):
        picture(photos / "row" / f"{number}.png", (200, 0, blue))
    Retriever.build(str(photos / "row"), photos / ".mmr", toy)[0].close()
    with served(photos / ".mmr") as client:
        hits = client.get("/api/search", params={"q": "red", "fold": 1}).json()["hits"]
        # The angles to red: 0, 11, 22, 31, 39 and 45 degrees; alike are those that are at most 14 apart.
        assert [(hit["uri"], hit["folded"]) for hit in hits] == [("0.png", 1), ("2.png", 1), ("4.png", 1)]


def test_what_does_not_fit_is_said(client):
    assert client.get("/api/search", params={"q": "red", "min_score": 0.999999}).json()["hits"] == []
    sure = client.get("/api/search", params={"q": "zebra", "min_confidence": 1}).json()
    assert (sure["fits"], sure["hits"]) == (False, [])
    measured = client.get("/api/search", params={"q": "red", "min_confidence": 0}).json()
    assert all(0 <= hit["confidence"] <= 1 for hit in measured["hits"])


def test_captions_of_words_and_pictures(client):
    said = client.get("/api/captions", params={"q": "green"}).json()["captions"]
    assert said[0]["caption"] == "a green field"
    posted = client.post("/api/captions", content=bytes_of((0, 255, 0)), params={"k": 1}).json()["captions"]
    assert posted[0]["caption"] == "a green field"


@pytest.mark.parametrize(
    ("params", "status", "said"),
    [
        ({"q": "red", "where": "nothing == 3"}, 400, "no item has a field `nothing`"),
        ({"q": "red", "where": "width >"}, 400, "where"),
        ({"q": "red", "in": "nowhere"}, 200, ""),
        ({"q": "red", "in": "x" * 500}, 200, ""),
        ({"q": "red", "in": "a\0b"}, 200, ""),
        ({"q": "red", "in": "../.."}, 400, "is not below"),
        ({"q": "red", "k": 0}, 422, "k: input should be greater than or equal to 1"),
        ({"q": "red", "k": 1001}, 422, "k: "),
        ({"q": "red", "offset": 10_000}, 400, "ask more narrowly"),
        ({"q": "red", "index": "other"}, 400, "no index other is served"),
        ({"q": ["red", "-", "red"]}, 400, "cancel out"),
        ({"q": ["-"]}, 400, "nothing follows"),
        ({"q": "x" * 20_000}, 400, "letters"),
        ({"q": "red", "min_score": "nan"}, 422, "min_score"),
        ({"q": "id:none.png"}, 400, "holds no `none.png`"),
    ],
)
def test_bad_requests_are_a_line(client, params, status, said):
    answer = client.get("/api/search", params=params)
    assert answer.status_code == status, answer.text
    if status != 200:
        assert said in answer.json()["error"]


# ---------------------------------------------------------------- items


def test_an_item_says_all_of_itself_and_why_it_answers(client, photos):
    name = shown.name_of("more/green.jpg")
    told = client.get(f"/api/items/{name}", params={"q": ["2:green", "-", "red"]}).json()
    assert (told["path"], told["captions"]) == (str(photos / "more/green.jpg"), ["a green field"])
    why = told["why"]
    assert [(term["term"], term["weight"]) for term in why["terms"]] == [("green", 2.0), ("red", -1.0)]
    assert why["terms"][0]["score"] == pytest.approx(1, abs=0.01)
    assert why["terms"][1]["score"] == pytest.approx(0, abs=0.02)
    assert why["score"] == pytest.approx(2 / 5**0.5, abs=0.01)
    assert [one["caption"] for one in why["captions"]] == ["a green field"]


def test_ids_of_any_letters_are_addresses(client):
    assert shown.id_of(shown.name_of("blue é.png\udcff/")) == "blue é.png\udcff/"
    assert client.get(f"/api/items/{shown.name_of('blue é.png')}").status_code == 200
    for bad in ("AAAA", shown.name_of("none"), "%2e%2e", "x" * 500):
        answer = client.get(f"/api/items/{bad}")
        assert answer.status_code in (400, 404), bad
        assert answer.json()["error"]


def test_a_thumbnail_is_small_kept_and_asked_for_again(photos, toy):
    Image.new("RGB", (900, 300), (255, 0, 0)).save(photos / "wide.png")
    Retriever.build(str(photos), photos / ".mmr", toy)[0].close()
    with served(photos / ".mmr") as client:
        address = next(
            hit["thumb"] for hit in client.get("/api/search").json()["hits"] if hit["uri"] == "wide.png"
        )  # fmt: skip
        answer = client.get(address)
        assert answer.headers["content-type"] == "image/webp"
        assert Image.open(io.BytesIO(answer.content)).size == (256, 85)
        assert "immutable" in answer.headers["cache-control"]
        tag = answer.headers["etag"]
        assert client.get(address, headers={"If-None-Match": tag}).status_code == 304
        assert Image.open(io.BytesIO(client.get(address.replace("s=256", "s=1")).content)).width == 128


def test_a_file_comes_whole_and_in_parts(client, photos):
    address = f"/api/items/{shown.name_of('red.png')}/file"
    content = (photos / "red.png").read_bytes()
    answer = client.get(address)
    assert (answer.content, answer.headers["content-type"]) == (content, "image/png")
    assert answer.headers["content-disposition"].startswith("inline")
    part = client.get(address, headers={"Range": "bytes=1-3"})
    assert (part.status_code, part.content) == (206, content[1:4])


def test_only_pictures_below_a_named_folder_are_handed_out(photos, toy, tmp_path):
    """Not what a link leads to outside, not what is no picture any more, not below a root that only the index names."""
    secret = picture(tmp_path / "elsewhere" / "secret.png", (1, 2, 3))
    picture(photos / "link.png", (9, 9, 9))
    Retriever.build(str(photos), photos / ".mmr", toy)[0].close()
    (photos / "link.png").unlink()
    (photos / "link.png").symlink_to(secret)
    (photos / "red.png").write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>")
    (photos / "more" / "green.jpg").unlink()
    with served(photos / ".mmr") as client:
        for name, status in (("link.png", 415), ("red.png", 415), ("more/green.jpg", 410), ("blue é.png", 200)):
            for part in ("thumb", "file"):
                answer = client.get(f"/api/items/{shown.name_of(name)}/{part}")
                assert answer.status_code == status, (name, part, answer.text)
    shutil.move(photos / ".mmr", tmp_path / "moved.mmr")
    shelf = Shelf(tmp_path / "moved.mmr", "cpu", (), toy)
    assert shelf.allowed.folders == ()
    shelf.retriever.close()


def test_a_file_that_a_browser_would_run_is_sent_as_bytes(photos, toy):
    (photos / "red.png").rename(photos / "red.jpg")
    os.rename(photos / "red.jpg", photos / "page.tif")  # noqa: PTH104
    Image.new("RGB", (8, 8), (255, 0, 0)).save(photos / "page.tif")
    Retriever.build(str(photos), photos / ".mmr", toy)[0].close()
    with served(photos / ".mmr") as client:
        answer = client.get(f"/api/items/{shown.name_of('page.tif')}/file")
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["x-content-type-options"] == "nosniff"


# ---------------------------------------------------------------- the index as a whole


def test_info_and_facets(client, photos):
    (told,) = client.get("/api/info").json()["indexes"]
    assert (told["name"], told["rows"], told["dim"], told["encoder"]) == (photos.name, 3, 4, "toy")
    said = client.get("/api/facets").json()
    assert said["total"] == 3
    fields = {field["name"]: field for field in said["fields"]}
    assert (fields["width"]["type"], fields["width"]["min"], fields["width"]["count"]) == ("number", 10.0, 3)
    assert sum(one["count"] for one in fields["modified"]["bins"]) == 3
    assert said["folders"] == [{"value": "more", "count": 1}]
    assert client.get("/api/facets", params={"in": "more"}).json()["total"] == 1


def test_values_are_counted_by_their_kind():
    one = tables._Field()
    for value in (1, 2, 2.5, "3", True):
        one.add(value)
    told = one.told("n")
    assert (told["type"], told["min"], told["max"], told["count"]) == ("number", 1.0, 3.0, 5)
    dates = tables._Field()
    for value in ("2020-01-01", "2020-01-03T00:00:00"):
        dates.add(value)
    assert (dates.told("d")["min"], dates.told("d")["max"]) == ("2020-01-01T00:00:00", "2020-01-03T00:00:00")


def test_a_new_state_is_served_without_a_failed_request(client, photos, index, toy):
    shelf = next(iter(client.app._app._app.state.parts.shelves))
    before = client.get("/api/info").json()["indexes"][0]
    picture(photos / "another.png", (250, 0, 0))
    Retriever.build(str(photos), index, toy)[0].close()
    shelf.look()
    after = client.get("/api/info").json()["indexes"][0]
    assert (before["rows"], after["rows"]) == (3, 4)
    assert after["generation"] > before["generation"]
    assert "another.png" in uris(client.get("/api/search", params={"q": "red", "k": 2}))


def test_an_index_that_went_away_is_said_and_taken_up_again(client, index, tmp_path):
    shelf = next(iter(client.app._app._app.state.parts.shelves))
    shutil.move(index, tmp_path / "away")
    shelf.look()
    answer = client.get("/api/search", params={"q": "red"})
    assert (answer.status_code, "no index at" in answer.json()["error"]) == (503, True)
    assert answer.headers["retry-after"] == "1"
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
    shutil.move(tmp_path / "away", index)
    shelf.look()
    assert client.get("/api/search", params={"q": "red"}).status_code == 200


def test_several_indexes_have_names_of_their_own(photos, toy, tmp_path):
    Retriever.build(str(photos), photos / ".mmr", toy)[0].close()
    Retriever.build(str(photos / "more"), tmp_path / "green.mmr", toy)[0].close()
    shutil.copytree(photos / ".mmr", tmp_path / "x" / photos.name / ".mmr")
    with served(photos / ".mmr", tmp_path / "green.mmr", tmp_path / "x" / photos.name / ".mmr") as client:
        names = [told["name"] for told in client.get("/api/info").json()["indexes"]]
        assert names == [photos.name, "green", f"{photos.name}-2"]
        assert len(uris(client.get("/api/search", params={"index": "green"}))) == 1
        assert client.get("/indices-list").json() == names


def test_a_picture_that_was_sent_to_one_index_says_nothing_to_another_encoder(photos, toy, tmp_path):
    class Wider(ToyEncoder):
        dim = 5

        def encode_images(self, images):
            return np.pad(super().encode_images(images), ((0, 0), (0, 1)))

        def encode_texts(self, texts):
            return np.pad(super().encode_texts(texts), ((0, 0), (0, 1)))

    wider = Wider("wider")
    Retriever.build(str(photos), photos / ".mmr", toy)[0].close()
    Retriever.build(str(photos / "more"), tmp_path / "other.mmr", wider)[0].close()
    shelves = Shelves([Shelf(photos / ".mmr", "cpu", (), toy), Shelf(tmp_path / "other.mmr", "cpu", (), wider)])
    with TestClient(app.make(Parts(shelves), ANYONE), HERE, raise_server_exceptions=False) as client:
        name = client.post("/api/search", content=bytes_of((0, 255, 0))).json()["picture"]
        answer = client.get("/api/search", params={"q": name, "index": "other"})
        assert (answer.status_code, answer.json()["error"].endswith("send it again")) == (400, True)
        assert len(uris(client.get("/api/search", params={"q": name}))) == 3


def test_a_label_is_written_with_the_key_and_found_by_where(index):
    doors = Doors(write="secret")
    with served(index, doors=doors, may_write=True) as client:
        said = {"ids": [shown.name_of("red.png")], "name": "kind", "value": "warm"}
        assert client.post("/api/labels", json=said).status_code == 401
        key = {"Authorization": "Bearer secret"}
        assert client.post("/api/labels", json=said, headers=key).json() == {"labelled": 1}
        assert uris(client.get("/api/search", params={"where": "kind == 'warm'"})) == ["red.png"]
        assert client.post("/api/labels", json=said | {"value": None}, headers=key).json() == {"labelled": 1}
        bad = client.post("/api/labels", json=said | {"name": "width"}, headers=key)
        assert (bad.status_code, "is a field of the source" in bad.json()["error"]) == (400, True)
        gone = client.post("/api/labels", json=said | {"ids": [shown.name_of("none")]}, headers=key)
        assert gone.status_code == 404
    with Store.open(index) as store:
        assert store.verify() == []


def test_a_run_is_told_while_it_goes_on(index, tmp_path):
    run = tmp_path / "mine"
    run.mkdir()
    (run / "config.json").write_text('{"lr": 0.1, "nested": {}}')
    lines = [{"step": 10, "loss": 2.0}, {"step": 20, "loss": 1.0, "metrics": {"recall@10": 0.5}}]
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 3')
    with served(index, runs={"mine": run}) as client:
        said = client.get("/api/runs/mine").json()
        assert said["steps"] == [{"step": 10, "loss": 2.0}, {"step": 20, "loss": 1.0}]
        assert (said["evals"], said["done"], said["settings"]) == ([{"step": 20, "recall@10": 0.5}], False, {"lr": 0.1})
        (run / "encoder.json").write_text("{}")
        assert client.get("/api/runs/mine").json()["done"] is True
        (run / "log.jsonl").write_bytes(
            b'{"step": 1, "loss": NaN}\n{"loss": \xff}\n{"loss": 1}\n[1]\n{"step": 2, "metrics": 3}\n'
        )
        said = client.get("/api/runs/mine").json()
        assert (said["steps"], said["evals"]) == ([{"step": 1, "loss": None}, {"step": 2}], [])
        (run / "config.json").write_text('{"lr": 0.')
        answer = client.get("/api/runs/mine")
        assert answer.status_code == 400 and "config.json is damaged (no JSON" in answer.json()["error"]
        assert client.get("/api/runs/other").status_code == 400


# ---------------------------------------------------------------- together


def test_an_answer_says_which_commit_it_is_of_though_the_next_came_meanwhile(client, index, monkeypatch):
    before = client.get("/api/search", params={"q": "red"}).json()

    def each(self, store, *given, real=Retriever.each):
        hits = real(self, store, *given)
        with Store.open(index, write=True) as other:
            other.delete([other.records(other.rows()[:1])[0].id])
        self.store.refresh()
        return hits

    monkeypatch.setattr(Retriever, "each", each)
    answer = client.get("/api/search", params={"q": "red"}).json()
    assert (answer["generation"], answer["total"]) == (before["generation"], 3)
    assert client.get("/api/info").json()["indexes"][0]["rows"] == 2


def test_queries_that_come_together_are_one_encoding(index, toy, monkeypatch):
    """And each gets its own: k, filter, error."""
    asked = []
    toy.encode_texts = lambda texts, real=toy.encode_texts: asked.append(len(texts)) or real(texts)
    shelf = Shelf(index, "cpu", (), toy)
    gatherer = gather.Gatherer(shelf, sent.Sent())
    monkeypatch.setattr(gather, "WAITED", 2.0)
    gatherer._several = 3
    one = searching.Wanted()
    requests = [
        (searching.query.parse_sent(["red"]), one.asked(1)),
        (searching.query.parse_sent(["green"]), one.asked(2)),
        (searching.query.parse_sent(["blue"]), replace(one.asked(3), inside="more")),
    ]
    answers = [waiting.result(30).hits for waiting in [gatherer.ask(request) for request in requests]]
    assert [[hit.uri for hit in hits][:1] for hits in answers] == [["red.png"], ["more/green.jpg"], ["more/green.jpg"]]
    assert [len(hits) for hits in answers] == [1, 2, 1]
    assert asked == [3]
    gatherer._several = 2
    good = gatherer.ask(requests[0])
    bad = gatherer.ask((searching.query.parse_sent(["id:none"]), one.asked(1)))
    assert good.result(30).hits[0].uri == "red.png"
    with pytest.raises(Exception, match="holds no `none`"):
        bad.result(30)
    gatherer.close()
    shelf.retriever.close()


def test_many_clients_get_what_one_gets(client):
    colours = ["red", "green", "blue"] * 30
    with ThreadPoolExecutor(16) as threads:
        found = list(
            threads.map(lambda colour: uris(client.get("/api/search", params={"q": colour, "k": 1}))[0], colours)
        )
    expected = {"red": "red.png", "green": "more/green.jpg", "blue": "blue é.png"}
    assert found == [expected[colour] for colour in colours]


def test_what_confidence_is_measured_by_is_asked_or_read_once_for_each_state(client, index, photos, toy, monkeypatch):
    """And by nobody before it is asked for."""
    made = []
    real = confidence.background
    monkeypatch.setattr(confidence, "background", lambda *given: made.append(given[0].generation) or real(*given))
    client.get("/api/search", params={"q": "red"})
    assert made == []
    first = [client.get("/api/search", params={"q": "red", "min_confidence": 0}).json()["hits"] for _ in range(3)]
    assert (len(made), first[0][0]["confidence"] is not None) == (1, True)
    assert first[1:] == first[:1] * 2
    picture(photos / "another.png", (250, 0, 0))
    Retriever.build(str(photos), index, toy)[0].close()
    next(iter(client.app._app._app.state.parts.shelves)).look()
    for _ in range(2):
        assert client.get("/api/search", params={"q": "red", "min_confidence": 0.1}).status_code == 200
    assert len(set(made)) == len(made) == 2


def test_the_first_who_wants_confidence_does_not_hold_up_the_others(client, monkeypatch):
    began, ended = threading.Event(), threading.Event()
    real = confidence.background

    def slowly(*given):
        began.set()
        assert ended.wait(20)
        return real(*given)

    monkeypatch.setattr(confidence, "background", slowly)
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(client.get, "/api/search", params={"q": "red", "min_confidence": 0})
        assert began.wait(20)
        assert uris(client.get("/api/search", params={"q": "green", "k": 1})) == ["more/green.jpg"]
        ended.set()
        assert slow.result(20).json()["hits"][0]["uri"] == "red.png"


# ---------------------------------------------------------------- clip-retrieval's clients, and embeddings


def test_clip_retrievals_routes_take_what_its_clients_send(client, photos):
    said = {
        "text": "green", "image": None, "image_url": None, "embedding_input": None, "deduplicate": True,
        "use_safety_model": True, "use_violence_detector": True, "indice_name": photos.name, "use_mclip": False,
        "aesthetic_score": "", "aesthetic_weight": "0.5", "modality": "image", "num_images": 1, "num_result_ids": 3,
    }  # fmt: skip
    answer = client.post(HERE + "//knn-service", content=json.dumps(said), headers={"Content-Type": "text/plain"})
    first, *others = answer.json()
    assert (first["caption"], first["image_path"]) == ("a green field", "more/green.jpg")
    assert Image.open(io.BytesIO(base64.b64decode(first["image"]))).format == "JPEG"
    assert [sorted(other) for other in others] == [["id", "similarity"]] * 2
    (told,) = client.post("/metadata", content=json.dumps({"ids": [first["id"]], "indice_name": None})).json()
    assert (told["id"], told["metadata"]["caption"]) == (first["id"], "a green field")
    picture_said = said | {"text": "", "image": base64.b64encode(bytes_of((255, 0, 0))).decode()}
    assert client.post("/knn-service", content=json.dumps(picture_said)).json()[0]["image_path"] == "red.png"
    vector = said | {"text": None, "embedding_input": [0, 0, 7, 0]}
    assert client.post("/knn-service", content=json.dumps(vector)).json()[0]["image_path"] == "blue é.png"
    assert client.get("/config.json").json() == {
        "defaultBackend": HERE, "defaultIndex": photos.name, "urlColumn": "url",
    }  # fmt: skip


def test_how_long_its_steps_take_is_told_as_clip_retrieval_tells_it(client):
    assert client.get("/metrics-summary").text == "No request yet, go do some"
    for said in ({"text": "red", "deduplicate": True}, {"image": base64.b64encode(bytes_of((255, 0, 0))).decode()}):
        assert client.post("/knn-service", content=json.dumps(said)).status_code == 200
    answer = client.get("/metrics-summary")
    assert answer.headers["content-type"].startswith("text/plain")
    head, empty, columns, *steps = answer.text.splitlines()
    assert re.fullmatch(
        r"Among 2 calls to the knn end point with an average latency of \d+\.\d{4}s per request, "
        r"the step costs are \(in order\):", head,
    )  # fmt: skip
    assert (empty, columns.split()) == ("", ["name", "description", "calls", "average", "proportion"])
    calls = {step.split()[0]: step.split()[-3] for step in steps}
    assert calls == {
        "knn_index_time": "2", "metadata_get_time": "2", "image_clip_inference_time": "1", "dedup_time": "1"
    }  # fmt: skip
    assert all(re.fullmatch(r"\d+\.\d{4}s \d+\.\d%", " ".join(step.split()[-2:])) for step in steps)
    assert "full_knn_request_time_count 2.0" in client.get("/metrics").text


def test_a_picture_without_an_address_has_none_in_clip_retrievals_answers(client):
    (told,) = client.post("/knn-service", content=b'{"text": "red", "num_images": 1}').json()
    assert "url" not in told
    assert told["image"]


@pytest.mark.parametrize(
    "said",
    [
        b"", b"[]", b"{", b"[" * 100_000, b"{}", b'{"text": 3}', b'{"image": "?"}', b'{"image_url": "http://a/b"}',
        b'{"embedding_input": [1]}', b'{"embedding_input": "x"}', b'{"text": "a", "num_images": -1}',
        b'{"text": "a", "num_images": 1e9}', b'{"text": "a", "indice_name": "none"}',
    ],
)  # fmt: skip
def test_what_clip_retrieval_answers_with_500_is_a_line_here(client, said):
    answer = client.post("/knn-service", content=said)
    assert answer.status_code in (400, 415)
    assert answer.json()["error"]


def test_embeddings_are_those_of_the_encoder(client, toy):
    told = client.post("/v1/embeddings", json={"input": ["red", "blue"], "model": "clip"}).json()
    np.testing.assert_allclose([one["embedding"] for one in told["data"]], toy.encode_texts(["red", "blue"]), atol=1e-6)
    packed = client.post("/v1/embeddings", json={"input": "red", "encoding_format": "base64"}).json()
    vector = np.frombuffer(base64.b64decode(packed["data"][0]["embedding"]), "<f4")
    np.testing.assert_allclose(vector, toy.encode_texts(["red"])[0], atol=1e-6)
    image = "data:image/png;base64," + base64.b64encode(bytes_of((0, 0, 255))).decode()
    seen = client.post("/v1/embeddings", json={"input": [image], "modality": "image"}).json()["data"][0]["embedding"]
    assert int(np.argmax(seen)) == 2
    for bad in ({"input": []}, {"input": ["http://a/b.png"], "modality": "image"}, {"input": "a", "dimensions": 3}):
        assert client.post("/v1/embeddings", json=bad).status_code in (400, 422)


def test_metrics_name_routes_and_no_paths(client):
    client.get(f"/api/items/{shown.name_of('red.png')}")
    client.get("/nowhere/at/all")
    said = client.get("/metrics").text
    assert 'mmr_requests_total{route="/api/items/{id}",status="200"} 1.0' in said
    assert "nowhere" not in said


def test_few_pictures_are_decoded_at_a_time(index, monkeypatch):
    """Each may take hundreds of MB."""
    at_once, most = [], []

    def decode(content, size):
        at_once.append(1)
        most.append(len(at_once))
        time.sleep(0.02)
        at_once.pop()
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr("cli.serve.sent.load.decode", decode)
    with served(index) as client, ThreadPoolExecutor(12) as threads:
        asked = [str(number).encode() for number in range(12)]
        answers = list(threads.map(lambda content: client.post("/api/search", content=content), asked))
    assert [answer.status_code for answer in answers] == [200] * 12
    assert 1 < max(most) <= parts.DECODED


# ---------------------------------------------------------------- bodies


def test_a_body_has_a_limit_whether_it_says_its_length_or_not(client, monkeypatch):
    monkeypatch.setattr(guards, "MOST_BYTES", 1000)
    assert client.post("/api/search", content=b"x" * 1001).status_code == 413
    assert client.post("/api/search", content=iter([b"x" * 600, b"x" * 600])).status_code == 413
    assert client.post("/api/search", content=b"no picture").status_code == 415
    assert client.post("/api/search").status_code == 400


def test_a_picture_that_is_too_large_to_decode_costs_one_answer(client):
    header = bytes_of((0, 0, 0))
    huge = header[:16] + (60_000).to_bytes(4, "big") * 2 + header[24:]
    answer = client.post("/api/search", content=huge)
    assert answer.status_code == 415, answer.text
    assert client.get("/healthz").status_code == 200
