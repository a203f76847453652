"""Fetching from a server on this machine: limits, refusals, and nothing at all unless it was asked for."""

import http.server
import io
import socket
import threading
import time

import pytest
from PIL import Image

from retrieval.errors import BadRequest, ImageError
from retrieval.images import load
from retrieval.sources import reopen, web
from retrieval.sources.registry import Options, open_items, parse_uri
from retrieval.sources.within import OnWeb


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        if self.path == "/to-file":
            self._answer(302, b"", Location="file:///etc/passwd")
        elif self.path == "/loop":
            self._answer(302, b"", Location="/loop")
        elif self.path == "/hop":
            self._answer(302, b"", Location="/red.png")
        elif self.path == "/drip":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b"x")
                time.sleep(0.05)
        elif self.path == "/big":
            self._answer(200, bytes(5000))
        elif self.path == "/red.png":
            buffer = io.BytesIO()
            Image.new("RGB", (2, 2), "red").save(buffer, "PNG")
            self._answer(200, buffer.getvalue())
        else:
            self._answer(404, b"")

    def _answer(self, code, body, **headers):
        self.send_response(code)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.asked, running.daemon_threads, running.block_on_close = [], True, False
        running.url = f"http://127.0.0.1:{running.server_port}"
        threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        yield running
        running.shutdown()


ALLOWED = Options(urls=True, local_urls=True)


def test_a_list_of_urls(server, tmp_path):
    (tmp_path / "list.txt").write_text(f"# mine\n{server.url}/red.png\n\n{server.url}/hop\n{server.url}/none\n")
    first, second, third = open_items(parse_uri(str(tmp_path / "list.txt"), ALLOWED))
    assert server.asked == []  # not before the picture is wanted
    assert first.id == first.uri == f"{server.url}/red.png"
    assert load.load(first).getpixel((0, 0)) == load.load(second).getpixel((0, 0)) == (255, 0, 0)
    with pytest.raises(ImageError, match="cannot be fetched: 404"):
        load.load(third)


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl", "list.parquet"])
def test_a_column_of_urls(server, tmp_path, name):
    url = f"{server.url}/red.png"
    if name.endswith("parquet"):
        import datasets

        datasets.Dataset.from_dict({"url": [url, None], "caption": ["x", "y"]}).to_parquet(tmp_path / name)
    else:
        table = {"list.csv": f"url,caption,year\n{url},x,2011\n", "list.jsonl": f'{{"url": "{url}", "caption": "x"}}'}
        (tmp_path / name).write_text(table[name])
    for source in (str(tmp_path / name), f"urls:{tmp_path / name}"):
        (item,) = open_items(parse_uri(source, ALLOWED))
        assert (item.caption, load.load(item).size, item.within) == ("x", (2, 2), OnWeb(url))
        with pytest.raises(BadRequest, match="nothing is fetched unless asked: add --urls"):
            list(open_items(source))


def test_private_addresses_are_refused(server):
    port = server.server_port
    for host in ("127.0.0.1", "localhost", "127.1", "0x7f000001"):
        with pytest.raises(ImageError, match="no public address|cannot be fetched"):
            web.fetch(f"http://{host}:{port}/red.png")
    assert server.asked == []
    assert web.fetch(f"{server.url}/red.png", local=True)


@pytest.mark.parametrize(
    ("address", "public"),
    [("8.8.8.8", True), ("10.0.0.1", False), ("169.254.169.254", False), ("192.168.1.1", False), ("0.0.0.0", False),
     ("::1", False), ("::ffff:127.0.0.1", False), ("fe80::1%eth0", False), ("fd00::1", False), ("224.0.0.1", False),
     ("100.64.0.1", False), ("2606:4700::1111", True)],
)  # fmt: skip
def test_which_addresses_are_public(address, public):
    assert web.is_public(address) is public


def test_a_redirect_to_a_private_address_is_refused(server, monkeypatch):
    """The first host is taken for a public one; where it sends us is not."""
    real = socket.getaddrinfo
    public = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.216.34", server.server_port))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda h, *a, **k: public if h == "public.test" else real(h, *a, **k))
    connect = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", lambda a, *r: connect(("127.0.0.1", server.server_port), *r))
    monkeypatch.setattr(Handler, "do_GET", lambda self: self._answer(302, b"", Location=f"{server.url}/red.png"))
    with pytest.raises(ImageError, match="127.0.0.1 is no public address"):
        web.fetch("http://public.test/x")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "data:text/plain,x", "no url", "http://"])
def test_other_schemes_are_refused(url):
    with pytest.raises(ImageError):
        web.fetch(url, local=True)


def test_redirects_stay_on_the_web_and_end(server):
    for path in ("/to-file", "/loop"):
        with pytest.raises(ImageError, match="cannot be fetched"):
            web.fetch(server.url + path, local=True)
    assert len(server.asked) < 15


def test_size_and_time_are_limited(server, monkeypatch):
    monkeypatch.setattr(web, "MAX_BYTES", 4000)
    with pytest.raises(ImageError, match="too large"):
        web.fetch(f"{server.url}/big", local=True)
    monkeypatch.setattr(web, "SECONDS", 0.3)
    start = time.monotonic()
    with pytest.raises(ImageError, match="took too long"):
        web.fetch(f"{server.url}/drip", local=True)
    assert time.monotonic() - start < 3


def test_opened_again_only_where_fetching_is_asked_for(server):
    place = OnWeb(f"{server.url}/red.png")
    with pytest.raises(ImageError, match="fetching was not asked for"):
        reopen.open_again("x", place, None)
    with pytest.raises(ImageError, match="no public address"):
        reopen.open_again("x", place, None, urls=True)
