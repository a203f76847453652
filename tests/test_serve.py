"""The HTTP face of an index: what it answers, what it refuses, and that it stays on the newest state."""

import io
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image
from serving import ANYONE, HERE, bytes_of, served, uris
from starlette.testclient import TestClient

from cli.serve import app, guards, searching, shown, tables
from cli.serve.guards import Doors
from cli.serve.parts import Parts
from cli.serve.shelf import Shelf, Shelves
from indexes import Store
from retrieval import Retriever
from toy import ToyEncoder, picture

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


def test_words_beside_meaning_and_alone(client):
    answer = client.get("/api/search", params={"q": '"green field"', "by": "words"}).json()
    assert [hit["uri"] for hit in answer["hits"]] == ["more/green.jpg"]
    assert (answer["total"], answer["next"], answer["hits"][0]["by"]) == (1, None, 'words 1st "green field"')
    both = client.get("/api/search", params={"q": "red field", "by": "both", "k": 3}).json()["hits"]
    assert {hit["uri"]: hit["by"] for hit in both}["more/green.jpg"].endswith('words 2nd "field"')
    assert client.get("/api/search", params={"q": "red"}).json()["hits"][0]["by"] is None
    refused = client.get("/api/search", params={"q": '"red', "by": "words"})
    assert refused.status_code == 400 and "not closed" in refused.json()["error"]
    assert client.get("/api/search", params={"q": "red", "by": "luck"}).status_code == 422


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


def test_options_of_a_search_are_told_as_parameters(client):
    answer = client.get("/api/search", params={"q": "red", "by": "words", "min_score": 0.1})
    assert answer.status_code == 400
    assert answer.json()["error"].endswith("leave out min_score and min_confidence, or by=words")
    answer = client.get("/api/search", params={"q": "red", "where": "uri ="})
    assert answer.status_code == 400 and "--" not in answer.json()["error"] and "where" in answer.json()["error"]
    assert Parts.told(Parts(Shelves([])), "type `mmr search --where x`") == "type `mmr search --where x`"
