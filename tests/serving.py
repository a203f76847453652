"""Servers of indexes within the test's own process, and what is sent to them."""

import io

from PIL import Image
from starlette.testclient import TestClient

from cli.serve import app
from cli.serve.guards import Doors
from cli.serve.parts import Parts
from cli.serve.shelf import Shelf, Shelves
from toy import ToyEncoder

HERE, ANYONE = "http://127.0.0.1:8750", Doors()


def served(*paths, doors=ANYONE, toy=None, **told):
    """A client of a server of these indexes."""
    shelves = Shelves(Shelf(path, "cpu", (), toy or ToyEncoder()) for path in paths)
    return TestClient(app.make(Parts(shelves, **told), doors), HERE, raise_server_exceptions=False)


def bytes_of(colour, size=(8, 8), form="PNG"):
    """A picture of one colour as a file holds it."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, form)
    return file.getvalue()


def uris(answer):
    """Of the hits of an answer, in their order."""
    assert answer.status_code == 200, answer.text
    return [hit["uri"] for hit in answer.json()["hits"]]
