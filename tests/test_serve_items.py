"""An item of a served index: what it says, its thumbnail, its file, and which files are handed out."""

import io
import os
import shutil

import pytest
from PIL import Image
from serving import served

from cli.serve import shown
from cli.serve.shelf import Shelf
from retrieval import Retriever
from toy import picture


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
