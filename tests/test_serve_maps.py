"""The map of an index: where pictures lie, whatever the outliers, and names that fit what they name."""

import numpy as np
import pytest
from starlette.testclient import TestClient

from cli.serve import app, maps, naming, umap_plane
from cli.serve.guards import Doors
from cli.serve.parts import Parts
from cli.serve.shelf import Shelf, Shelves
from retrieval import Retriever
from rows import unit
from toy import ToyEncoder, picture


@pytest.fixture
def client(photos):
    """Nineteen pictures: nine red, nine blue, a green one with a caption."""
    for number in range(8):
        picture(photos / f"red{number}.png", (255, 8 * number, 0))
        picture(photos / f"blue{number}.png", (0, 8 * number, 255))
    Retriever.build(str(photos), photos / ".mmr", ToyEncoder())[0].close()
    made = app.make(Parts(Shelves([Shelf(photos / ".mmr", "cpu", (), ToyEncoder())])), Doors())
    with TestClient(made, "http://127.0.0.1:8750", raise_server_exceptions=False) as client:
        yield client


def groups(count=30, axes=3):
    """Unit rows about each axis, `count` of each in turn."""
    rng = np.random.default_rng(0)
    return unit(np.repeat(np.eye(axes, 8), count, 0) + 0.01 * rng.standard_normal((axes * count, 8)))


def test_the_map_has_a_place_for_each_picture_and_names_for_its_parts(client):
    said = client.get("/api/map").json()
    assert (said["by"], len(said["points"])) == ("pca", 19)
    assert all(0 <= point[axis] <= 1 for point in said["points"] for axis in "xy")
    assert sum(cluster["count"] for cluster in said["clusters"]) == 19
    names = [cluster["name"] for cluster in said["clusters"] if not cluster["again"]]
    assert len(set(names)) == len(names)
    assert "a green field" in names
    assert {point["cluster"] for point in said["points"]} == {cluster["cluster"] for cluster in said["clusters"]}
    assert {"red0.png", "a green field"} <= {point["name"] for point in said["points"]}
    assert len(client.get("/api/map", params={"n": 5}).json()["points"]) == 5


def test_what_is_alike_is_one_cluster_and_one_side_of_the_plane():
    vectors = groups()
    found = maps.clusters(vectors)
    places = maps.plane(vectors, found).reshape(3, 30, 2)
    middles = places.mean(1)
    assert np.abs(places - middles[:, None]).max() < 0.25
    assert min(np.linalg.norm(middles[a] - middles[b]) for a, b in ((0, 1), (0, 2), (1, 2))) > 0.5
    one, other, third = (set(part) for part in found.reshape(3, 30))
    assert not one & other and not one & third and not other & third


def test_outliers_leave_room_for_the_others_and_equal_ones_lie_together():
    """A handful far away would else press two hundred into a corner."""
    rng = np.random.default_rng(0)
    vectors = unit(np.concatenate([np.eye(1, 8) + 0.05 * rng.standard_normal((196, 8)), -np.eye(8)[1:5]]))
    vectors[1] = vectors[0]
    places = maps.plane(vectors, np.zeros(200, np.int64))
    low, high = np.percentile(places[:196], [5, 95], axis=0)
    assert (high - low > 0.6).all()
    np.testing.assert_array_equal(places[0], places[1])


def test_few_and_equal_rows_have_places_too():
    for vectors in (np.eye(3, 4), np.ones((3, 4)) / 2):
        places = maps.plane(vectors.astype(np.float32), np.arange(3))
        assert places.shape == (3, 2)
        assert ((places >= 0) & (places <= 1)).all()


class Bank(ToyEncoder):
    """Reads "dog", "cat" and "shoes" as axes, twice as near in captions that say "well"."""

    def encode_texts(self, texts):
        rows = np.array([[("dog" in text), ("cat" in text), ("shoes" in text), 0.01] for text in texts], np.float32)
        return unit(rows + [[0, 0, 0, 0.0 if "well" in text else 1.0] for text in texts])


def test_captions_name_what_they_fit_better_than_things_do():
    """Only short ones, near the middle; a name that is taken is told again where none fits about as well."""
    vectors = np.repeat(unit(np.array([[1, 0, 0, 0], [0.9, 0.1, 0, 0], [0, 0, 1, 0]])), 2, 0)
    cluster = np.repeat(np.arange(3), 2)
    captions = {0: ["a dog, well seen .", "a dog, well " + "and well " * 20], 4: ["a car"]}
    names = naming.named(cluster, vectors, lambda row: captions.get(row, ()), Bank())
    assert names == {0: ("a dog, well seen", False), 1: ("a dog", False), 2: ("shoes", False)}
    again = naming.named(np.repeat([0, 1], 3), np.repeat(unit(np.eye(1, 4)), 6, 0), lambda row: (), Bank())
    assert list(again.values()) == [("a dog", False), ("a dog", True)]


def test_umap_is_asked_where_it_is_installed(client, monkeypatch):
    monkeypatch.setattr(umap_plane, "available", lambda: False)
    refused = client.get("/api/map", params={"by": "umap"})
    assert (refused.status_code, refused.json()["error"]) == (
        400, "by=umap asks umap-learn: pip install 'mmr-retrieval[map]'",
    )  # fmt: skip
    assert client.get("/api/map").json()["ways"] == ["pca"]
    monkeypatch.setattr(umap_plane, "available", lambda: True)
    monkeypatch.setattr(umap_plane, "plane", lambda vectors: np.full((len(vectors), 2), 0.25))
    said = client.get("/api/map", params={"by": "umap"}).json()
    assert (said["by"], said["ways"]) == ("umap", ["pca", "umap"])
    assert {(point["x"], point["y"]) for point in said["points"]} == {(0.25, 0.25)}
    assert client.get("/api/map", params={"by": "tsne"}).status_code == 422


@pytest.mark.slow
def test_umap_puts_what_is_alike_together():
    pytest.importorskip("umap")
    places = umap_plane.plane(groups()).reshape(3, 30, 2)
    middles = places.mean(1)
    assert np.abs(places - middles[:, None]).max() < 0.25
    assert min(np.linalg.norm(middles[a] - middles[b]) for a, b in ((0, 1), (0, 2), (1, 2))) > 0.3
    assert umap_plane.plane(groups(1)).shape == (3, 2)
