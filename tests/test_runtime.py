"""The query path: the towers' vectors without torch, and a cache that may be damaged or gone."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval import Retriever, load_encoder, runtime

TEXTS = ["a dog", "two small red cats to the left of a house", "", "word " * 300, "一只狗 🐶"]


@pytest.fixture
def encoder(trained):
    return load_encoder(str(trained))


def test_equals_the_torch_tower(encoder):
    runtime.export(encoder)
    query = runtime.open_query_encoder(encoder.fingerprint, lambda: encoder)
    np.testing.assert_allclose(query.encode_texts(TEXTS), encoder.encode_texts(TEXTS), atol=1e-5)
    picture = [Image.new("RGB", (40, 40), "red")]
    np.testing.assert_array_equal(query.encode_images(picture), encoder.encode_images(picture))


def test_a_cold_text_query_imports_no_torch(encoder, photos, trained):
    Retriever.build(str(photos), photos / ".mmr", encoder)[0].close()
    code = (
        "import sys; sys.argv = ['mmr', 'search', 'a dog']\n"
        "from cli.main import app\n"
        "try: app()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print(*sys.modules)"
    )
    env = {"MMR_CACHE": str(runtime.cache_folder().parent), "PYTHONPATH": str(Path(__file__).parents[1]), "PATH": ""}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=photos / "more", env=env, capture_output=True, text=True, check=True
    )
    *answers, modules = run.stdout.splitlines()
    assert len(answers) == 3
    assert not {"torch", "open_clip", "transformers", "datasets", "faiss"} & set(modules.split())


def test_a_damaged_or_missing_cache_never_stops_a_query(encoder, photos):
    Retriever.build(str(photos), photos / ".mmr", encoder)[0].close()
    folder = runtime.cache_folder() / encoder.fingerprint
    with Retriever.open(photos / ".mmr") as retriever:
        expected = retriever.search("a dog", 3)
        assert isinstance(retriever.encoder, runtime.QueryEncoder)
    (folder / runtime.TEXT).write_bytes(b"damaged")
    for _ in range(2):
        with Retriever.open(photos / ".mmr") as retriever:
            assert not isinstance(retriever.encoder, runtime.QueryEncoder)
            assert [hit.uri for hit in retriever.search("a dog", 3)] == [hit.uri for hit in expected]
        for file in folder.glob("*"):
            file.unlink()
