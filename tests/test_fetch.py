"""Fetching a picture: what is taken, and every limit, against a server of our own."""

import http.server
import threading

import pytest

from retrieval import fetch
from retrieval.errors import ImageError


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/good":
            self.answer(200, b"picture")
        elif self.path == "/large":
            self.answer(200, b"x" * 5000)
        elif self.path == "/unsaid":  # no length is announced
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"x" * 5000)
        elif self.path == "/moved":
            self.answer(302, b"", Location="/good")
        elif self.path == "/round":
            self.answer(302, b"", Location="/round")
        elif self.path.startswith("/to-"):
            self.answer(302, b"", Location=self.path[4:])
        elif self.path == "/cut":
            self.send_response(200)
            self.send_header("Content-Length", "10")
            self.end_headers()
        else:
            self.answer(404, b"")

    def answer(self, code, body, **headers):
        self.send_response(code)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")


@pytest.mark.parametrize("path", ["/good", "/moved"])
def test_what_is_there_is_fetched(server, path):
    assert fetch.fetch(server + path) == b"picture"


@pytest.mark.parametrize("path", ["/large", "/unsaid"])
def test_no_more_than_the_limit_is_read(server, path, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_BYTES", 4999)
    with pytest.raises(ImageError, match="larger than"):
        fetch.fetch(server + path)
    monkeypatch.setattr(fetch, "MAX_BYTES", 5000)
    assert len(fetch.fetch(server + path)) == 5000


def test_a_slow_answer_is_given_up(server, monkeypatch):
    monkeypatch.setattr(fetch, "ALL_SECONDS", -1)
    with pytest.raises(ImageError, match="not there within"):
        fetch.fetch(server + "/good")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/a", "data:,x"])
def test_a_redirect_leads_nowhere_but_to_http(server, target):
    with pytest.raises(ImageError):
        fetch.fetch(f"{server}/to-{target}")
    with pytest.raises(ImageError, match="cannot be fetched"):
        fetch.fetch(target)


@pytest.mark.parametrize(
    ("path", "message"), [("/none", "the server says 404"), ("/round", "302"), (":bad", "cannot be fetched")]
)
def test_what_goes_wrong_is_one_reason(server, path, message):
    with pytest.raises(ImageError, match=message):
        fetch.fetch(server + path)


def test_an_answer_that_was_cut_is_no_picture(server):
    with pytest.raises(ImageError, match="not there whole"):
        fetch.fetch(server + "/cut")
