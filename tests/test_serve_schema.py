"""The API against its own document: whatever schemathesis makes of it, no answer is a failure of the server."""

import pytest
from hypothesis import HealthCheck, given, settings

from cli.serve import app
from cli.serve.guards import Doors
from cli.serve.parts import Parts
from cli.serve.shelf import Shelf, Shelves
from retrieval import Retriever
from toy import ToyEncoder, picture

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    """The server's document, over an index of two pictures."""
    folder = tmp_path_factory.mktemp("schema") / "photos"
    picture(folder / "red.png")
    picture(folder / "more" / "blue.png", (0, 0, 255))
    Retriever.build(str(folder), folder / ".mmr", ToyEncoder())[0].close()
    parts = Parts(Shelves([Shelf(folder / ".mmr", "cpu", (), ToyEncoder())]))
    made = app.make(parts, Doors(hosts=("127.0.0.1", "localhost", "testserver")))
    yield schemathesis.openapi.from_asgi("/openapi.json", made)
    parts.close()


def test_no_request_fails_the_server(document):
    for operation in (found.ok() for found in document.get_all_operations()):

        @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.as_strategy())
        def ask(case):
            answer = case.call()
            assert answer.status_code < 500, answer.text
            assert answer.status_code < 400 or answer.json()["error"]

        ask()


def test_everything_is_in_the_document(document):
    paths = document.raw_schema["paths"]
    assert set(paths) == {
        "/api/search", "/api/captions", "/api/items/{id}", "/api/items/{id}/thumb", "/api/items/{id}/file",
        "/api/items/{id}/open", "/api/items/{id}/places",
        "/api/info", "/api/facets", "/api/duplicates", "/api/labels", "/v1/embeddings",
        "/healthz", "/readyz", "/metrics", "/api/map", "/api/runs/{name}", "/api/reports",
        "/api/reports/{name}", "/api/download",
    }  # fmt: skip
    for operations in paths.values():
        assert all(operation["description"] for operation in operations.values())
