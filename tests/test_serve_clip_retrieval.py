"""The routes of clip-retrieval and of embeddings, and what is counted of requests."""

import base64
import io
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from serving import HERE, bytes_of, served

from cli.serve import parts, shown


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
