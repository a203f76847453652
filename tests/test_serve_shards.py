"""Shards that are served: who answered is said, what is away is never silent."""

import numpy as np
import pytest
from serving import HERE, uris
from sharding import cut
from starlette.testclient import TestClient

from cli.serve import app
from cli.serve.guards import Doors
from cli.serve.parts import Parts
from cli.serve.shelf import Shelf, Shelves
from indexes import Record
from rows import unit
from toy import ToyEncoder

SHARDS = 3


@pytest.fixture
def shards(tmp_path):
    """A client of a server of nine pictures in three shards, and the shards, which can be away."""
    names = [f"{number}.jpg" for number in range(9)]
    records = [Record(name, "s", {"uri": name, "kind": "picture"}) for name in names]
    vectors = unit(np.random.default_rng(0).normal(size=(9, 4)))
    whole, sharded, clients = cut(vectors, records, SHARDS, tmp_path)
    shelf = Shelf(tmp_path / "parts", "cpu", (), ToyEncoder(), reader=lambda path, wait: sharded)
    shelves = Shelves([shelf])
    with TestClient(app.make(Parts(shelves), Doors()), HERE, raise_server_exceptions=False) as client:
        yield client, clients
    whole.close()


def test_all_answer(shards):
    client, _ = shards
    answer = client.get("/api/search", params={"q": "red", "k": 9})
    assert len(uris(answer)) == 9
    assert (answer.json()["shards"], answer.json()["note"]) == ("3 of 3", None)
    assert "x-answered-by" not in client.post("/knn-service", json={"text": "red", "num_images": 3}).headers


def test_one_is_away(shards):
    client, clients = shards
    clients[1].away = True
    answer = client.get("/api/search", params={"q": "red", "k": 9})
    assert sorted(uris(answer)) == ["0.jpg", "1.jpg", "2.jpg", "6.jpg", "7.jpg", "8.jpg"]
    said = answer.json()
    assert said["shards"] == "2 of 3"
    assert said["note"] == "answered by 2 of 3 shards: what the others hold is not among the answers"
    assert len(uris(client.get("/api/search", params={"k": 9}))) == 6
    knn = client.post("/knn-service", json={"text": "red", "num_images": 9})
    assert (len(knn.json()), knn.headers["x-answered-by"]) == (6, "2 of 3 shards")


def test_all_are_away_and_come_back(shards):
    client, clients = shards
    for one in clients:
        one.away = True
    answer = client.get("/api/search", params={"q": "red"})
    assert answer.status_code == 503 and "none of the 3 shards" in answer.text
    for one in clients:
        one.away = False
    assert len(uris(client.get("/api/search", params={"q": "red", "k": 9}))) == 9


def test_an_index_without_shards_says_nothing_of_them(photos, tmp_path):
    from serving import served

    from retrieval import Retriever

    Retriever.build(str(photos), tmp_path / "index", ToyEncoder())[0].close()
    with served(tmp_path / "index") as client:
        assert client.get("/api/search", params={"q": "red"}).json()["shards"] is None
