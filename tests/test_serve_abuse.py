"""What a server bears: spoilt pictures, nonsense, bodies and heads that never end, thousands of connections.

A real server is asked all of it, and then must answer rightly, with the descriptors and about the memory that it had. A
sample runs here; `pytest --soak` does it in full size.
"""

import asyncio
import base64
import http.client
import io
import json
import random
import re
import shutil
import socket
import time
import zlib
from collections import Counter
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

import pytest
from PIL import Image

from cli.serve import connections, guards
from cli.serve.connections import bounded
from live import serving

READ, WRITE = "read", "write"
HONEST = (503, 504)  # of 5xx
LEFT = 3  # descriptors that may be open a moment longer: what is being looked at
GROWN = 96  # MB that the memory may have grown by since the server was warm
OURS = {"Authorization": f"Bearer {READ}"}
on_linux = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="a process is measured by /proc")


class Abused:
    """A server in a process of its own, and what it answered so far. counted: statuses, by kind of request."""

    def __init__(self, address, process):
        self.host, self.port = urlsplit(address).hostname, urlsplit(address).port
        self.process, self.counted = process, Counter()
        self._kept = None

    def ask(self, method, path, body=None, headers=None, kind="request"):
        """(status, body) of a request over a kept connection; one that was closed meanwhile is made anew, once."""
        for again in (False, True):
            self._kept = self._kept or http.client.HTTPConnection(self.host, self.port, timeout=60)
            try:
                self._kept.request(method, path, body, OURS if headers is None else headers)
                answer = self._kept.getresponse()
                content = answer.read()
                break
            except (ConnectionError, http.client.HTTPException):
                self.forget()
                if again:
                    raise
        self.counted[f"{kind} {answer.status}"] += 1
        assert answer.status < 500 or answer.status in HONEST, (method, path, body and body[:200], content[:300])
        return answer.status, content

    def forget(self):
        if self._kept:
            self._kept.close()
        self._kept = None

    def search(self):
        """What a right answer is compared by; it comes over a connection of its own, as of another client."""
        with closing(http.client.HTTPConnection(self.host, self.port, timeout=30)) as own:
            own.request("GET", "/api/search?q=a+red+circle&k=5", headers=OURS)
            answer = own.getresponse()
            said = json.loads(answer.read())
            assert answer.status == 200, said
            return [(hit["uri"], hit["score"]) for hit in said["hits"]]

    def connected(self, head=b""):
        """A bare connection, to which this was sent."""
        made = socket.create_connection((self.host, self.port), timeout=30)
        made.sendall(head)
        return made

    def raw(self, content):
        """What comes back of it, until the server has no more to say."""
        with closing(self.connected()) as own, suppress(ConnectionError):
            own.sendall(content)
            own.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: own.recv(65_536), b""))
        return b""

    def descriptors(self):
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def memory(self):
        """MB that are resident."""
        said = Path(f"/proc/{self.process.pid}/status").read_text("utf-8")
        return int(re.search(r"VmRSS:\s+(\d+)", said)[1]) / 1024

    def settles(self, descriptors):
        """The descriptors go back to this number."""
        self.forget()
        until = time.monotonic() + 30
        while self.descriptors() > descriptors + LEFT and time.monotonic() < until:
            time.sleep(0.1)
        assert self.descriptors() <= descriptors + LEFT


@pytest.fixture(scope="module")
def abused(tmp_path_factory, indexed, book):
    copy = shutil.copytree(indexed, tmp_path_factory.mktemp("abused") / "photos.mmr")
    with serving(copy, "--root", book, MMR_TOKEN=READ, MMR_WRITE_KEY=WRITE) as (address, process):
        made = Abused(address, process)
        made.ask("GET", "/api/search?q=a+dog&min_confidence=0")
        for picture in heads():  # all that is loaded late is loaded: decoders, the encoder of pictures
            made.ask("POST", "/api/search", picture)
        yield made


def heads():
    """A small picture of each kind."""
    image = Image.radial_gradient("L").convert("RGB").resize((40, 30))
    written = []
    for form in ("JPEG", "PNG", "WEBP", "GIF"):
        file = io.BytesIO()
        image.save(file, form)
        written.append(file.getvalue())
    return written


def spoilt(content, draw):
    """A picture with some bytes changed, doubled, taken out, or cut off."""
    content = bytearray(content)
    for _ in range(draw.randint(1, 3)):
        place = draw.randrange(min(len(content), draw.choice([64, 1024, 1 << 20])))
        act = draw.randrange(4)
        if act == 0:
            content[place] = draw.randrange(256)
        elif act == 1:
            content[place:place] = draw.randbytes(draw.randint(1, 64))
        elif act == 2:
            del content[place : place + draw.randint(1, 32)]
        else:
            content[place : place + 4] = draw.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"])
        if not content:
            content = bytearray(b"x")
    return bytes(content if draw.random() < 0.8 else content[: draw.randrange(1, len(content) + 1)])


WORDS = [
    "red", "", "-", "+", "2:a dog", "id:001.png", "id:", "picture:00", "text:+", "../../etc/passwd", "\0", "x" * 3000,
    "http://127.0.0.1/", "कुत्ता", "\udcff", "%00", "null", "-1", "1e999", "nan", "0", "1", "60", "0.97", "1,1,1,1",
    "width > 3", "caption like '%'", "(" * 200, "'; DROP TABLE items; --", "photos", "relevance", "float", "image",
]  # fmt: skip
NAMES = [base64.urlsafe_b64encode(b"001.png").decode().rstrip("="), "AAAA", "..%2f..%2f", "x", "%ff", "😀"]


HEAD = b" HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer read\r\nConnection: close\r\n"
SPOILT = [
    b"", b"\r\n", b"\0" * 100, b"GET", b"GET / HTTP/9.9\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n",
    b"GET *" + HEAD + b"\r\n", b"GET http://127.0.0.1/api/info" + HEAD + b"\r\n", b"CONNECT a:1" + HEAD + b"\r\n",
    b"TRACE /api/info" + HEAD + b"\r\n", b"GET /api/info" + HEAD + b"Host: b\r\n\r\n",
    b"GET /" + b"a" * 100_000 + HEAD + b"\r\n", b"GET /api/info" + HEAD + b"X: y\r\n" * 20_000 + b"\r\n",
    b"GET /%zz%00%ff%c3%28" + HEAD + b"\r\n", b"GET /\xff" + HEAD + b"\r\n",
    b"GET /api/info?%00=%ff&q" + HEAD + b"\r\n",
    b"GET /api/search" + HEAD + b"Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: x\r\n\r\n",
    b"POST /api/search" + HEAD + b"Content-Length: -1\r\n\r\n",
    b"POST /api/search" + HEAD + b"Content-Length: 9e9\r\n\r\n",
    b"POST /api/search" + HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    b"POST /api/search" + HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /api/search" + HEAD + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n",
    b"POST /api/search" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
    b"POST /api/search" + HEAD + b"Expect: x\r\n\r\n",
    b"GET /api/info" + HEAD + b"\r\nGET /api/info" + HEAD + b"\r\n", b"GET /api/info" + HEAD + b"Origin: \xff\r\n\r\n",
    b"GET /api/info" + HEAD + b"Origin: http://[\r\n\r\n", b"GET /api/info" + HEAD + b"If-None-Match: \xff\r\n\r\n",
]  # fmt: skip


def random_request(paths, draw):
    """(method, path, body, headers) of a route of the document, or of those that clip-retrieval's clients know."""
    path, methods = draw.choice(paths)
    path = re.sub(r"\{\w+\}", lambda found: quote(draw.choice(NAMES), safe="%"), path)
    asked = [(draw.choice(["q", "k", "offset", "where", "in", "min_score", "min_confidence", "diverse", "sort", "fold",
                           "index", "s", "v", "n", "crop", "threshold", "exact"]), draw.choice(WORDS))
             for _ in range(draw.choice([0, 1, 1, 2, 3, 8]))]  # fmt: skip
    query = urlencode([(name, value.encode("utf-8", "surrogateescape")) for name, value in asked])
    method = draw.choice(methods * 15 + ["HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
    body = draw.choice([None, b"", b"{", random_json(draw), random_json(draw), draw.choice(heads())])
    headers = {"Authorization": "Bearer " + draw.choice([*[READ] * 7, WRITE, WRITE, "", "x" * 2000])}
    # A folder is opened by who sends JSON: nothing is to be opened here.
    kinds = ["text/plain", "application/octet-stream", *([] if path.endswith("/open") else ["application/json"] * 2)]
    headers["Content-Type"] = draw.choice(kinds)
    if draw.random() < 0.2:
        headers["Range"] = draw.choice(
            ["bytes=0-", "bytes=-1", "bytes=9-1", "bytes=" + "0-0," * 5000, "x", "bytes=0-9,5-"]
        )
    return method, f"{path}?{query}" if query else path, body, headers


def random_json(draw):
    """A body that is nearly what a route takes."""
    value = [None, True, 0, -1, 1e300, "red", "", [], {}, [0], ["a"], "x" * 1000, [NAMES[0]], [[[[]]]]]
    names = ["ids", "name", "value", "input", "modality", "encoding_format", "dimensions", "model", "text", "image",
             "image_url", "embedding_input", "num_images", "num_result_ids", "indice_name", "deduplicate"]  # fmt: skip
    return json.dumps({draw.choice(names): draw.choice(value) for _ in range(draw.randint(0, 5))}).encode()


def of_many_pixels():
    """A PNG of 500 megapixels, as it should be, in some 60 KB."""

    def chunk(kind, content):
        return len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")

    width, height = 25_000, 20_000
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([1, 0, 0, 0, 0])
    rows = zlib.compress(bytes((width // 8 + 1) * height), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def most_files():
    """Let this process open as many files as it may."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@on_linux
@pytest.mark.parametrize("full", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["sample", "full"])
def test_a_server_that_was_abused_answers_as_before(abused, full):
    pictures, requests, connected = (3000, 10_000, 10_000) if full else (60, 250, 300)
    draw = random.Random(7)
    right, descriptors = abused.search(), abused.descriptors()
    warm = abused.memory()

    for number in range(pictures):
        picture = spoilt(draw.choice(heads()), draw)
        route = ("/api/search?k=3", "/api/captions?k=3", "/api/search?crop=0.1,0.1,0.5,0.5")[number % 3]
        status, said = abused.ask("POST", route, picture, kind="picture")
        assert status in (200, 400, 415), said
        assert status == 200 or json.loads(said)["error"]
    status, said = abused.ask("POST", "/api/search", of_many_pixels(), kind="picture")
    assert (status, "decompression bomb" in json.loads(said)["error"]) == (415, True), said
    assert abused.search() == right

    document = json.loads(abused.ask("GET", "/openapi.json")[1])
    paths = [(path, [method.upper() for method in told]) for path, told in document["paths"].items()]
    paths += [(path, ["POST"]) for path in ("/knn-service", "/metadata", "//knn-service")]
    paths += [(path, ["GET"]) for path in ("/indices-list", "/config.json", "/metrics-summary", "/", "/page/app.js",
                                           "/page/..%2fapp.py", "/nothing")]  # fmt: skip
    for _ in range(requests):
        abused.ask(*random_request(paths, draw))
    assert abused.search() == right

    for token in ("", "x", WRITE[:-1], "é", "Bearer read", READ + " " + READ):
        headers = {"Authorization": f"Bearer {token}".encode()}
        assert abused.ask("GET", "/api/info", headers=headers, kind="token")[0] == 401

    for content in SPOILT:
        said = abused.raw(content)
        assert said == b"" or re.match(rb"HTTP/1\.1 [234]\d\d ", said), (content[:100], said[:200])
    assert abused.search() == right

    head = b"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer read\r\nContent-Length: 5000\r\n\r\n"
    with ExitStack() as open_ones:
        for number in range(40):
            half = open_ones.enter_context(abused.connected(head + b"x" * 100))
            if number % 2:
                half.close()
        assert abused.search() == right
        for begun in (b"", b"G", b"GET / HTTP/1.1\r\nHost: 127", b"\x16\x03\x01\x02\0\x01\0\x01", b"\r\n" * 100):
            for _ in range(20):
                open_ones.enter_context(abused.connected(begun))
        greedy = open_ones.enter_context(abused.connected())  # it asks and asks, and reads nothing
        greedy.setblocking(False)
        with suppress(BlockingIOError, ConnectionError):
            for _ in range(2000):
                greedy.send(b"GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer read\r\n\r\n")
        assert abused.search() == right
        for _ in range(min(connected, most_files() - 500)):
            open_ones.enter_context(abused.connected())
        assert abused.search() == right  # while they are open
        assert abused.descriptors() < connections.MOST + 500
    assert abused.search() == right
    abused.settles(descriptors)
    assert abused.memory() < warm + GROWN
    assert abused.process.poll() is None


@pytest.mark.slow
def test_who_does_not_ask_is_let_go_of(abused):
    """Nothing, half a head, a head byte by byte, a body that never comes: each ends by itself."""
    half = abused.connected(b"GET / HTTP/1.1\r\nHost: 127")
    body = abused.connected(b"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer read\r\n"
                            b"Content-Length: 9\r\n\r\nx")  # fmt: skip
    slow, nothing = abused.connected(b"GET /"), abused.connected()
    until = time.monotonic() + 2 * guards.BODY_SECONDS
    while time.monotonic() < until:
        with suppress(OSError):
            slow.sendall(b"a")
            body.sendall(b"")
        time.sleep(0.5)
        if all(ended(one) for one in (half, slow, nothing)) and b"408" in peeked(body):
            break
    assert [ended(one) for one in (half, slow, nothing)] == [True] * 3
    assert b" 408 " in peeked(body)


def peeked(one):
    one.setblocking(False)
    with suppress(BlockingIOError):
        return one.recv(4096, socket.MSG_PEEK)
    return b""


def ended(one):
    one.setblocking(False)
    try:
        return one.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


# ---------------------------------------------------------------- connections, one by one


class Transport:
    """What a connection is of: remembers what was done to it."""

    def __init__(self):
        self.done, self.written = "", b""

    def write(self, content):
        self.written += content

    def close(self):
        self.done = self.done or "closed"

    def abort(self):
        self.done = self.done or "aborted"

    def is_closing(self):
        return bool(self.done)


class Plain:
    """uvicorn's protocol as far as it counts here: a request comes whole, or not at all."""

    connections: set

    def __init__(self):
        self.cycle, self.loop, self.transport = None, asyncio.get_running_loop(), None

    def connection_made(self, transport):
        self.connections.add(self)
        self.transport = transport

    def connection_lost(self, error):
        self.connections.discard(self)

    def data_received(self, data):
        if data == b"whole":
            self.cycle = type("Cycle", (), {"response_complete": False})

    def on_response_complete(self):
        self.cycle.response_complete = True

    def pause_writing(self):
        pass

    def resume_writing(self):
        pass


def made(most):
    """A function that makes connections to one server."""
    kind = bounded(type("Plain", (Plain,), {"connections": set()}), most)

    def connect(data=b""):
        one = kind()
        one.connection_made(Transport())
        if data:
            one.data_received(data)
        return one

    return connect


def test_who_asks_nothing_makes_room_for_who_comes():
    async def come():
        connect = made(3)
        asking, first, second = connect(b"whole"), connect(), connect(b"half")
        third = connect()
        first.connection_lost(None)
        assert [one.transport.done for one in (asking, first, second, third)] == ["", "aborted", "", ""]
        third.data_received(b"whole")
        fourth = connect(b"whole")
        second.connection_lost(None)
        assert second.transport.done == "aborted"
        fifth = connect()  # all others are being answered
        assert (fifth.transport.done, fifth.transport.written.split(b"\r\n")[0]) == (
            "closed", b"HTTP/1.1 503 Service Unavailable"
        )  # fmt: skip
        assert json.loads(fifth.transport.written.split(b"\r\n\r\n")[1])["error"].endswith("ask again in a second")
        fifth.connection_lost(None)
        asking.on_response_complete()  # it waits for its next request now
        sixth = connect()
        assert [one.transport.done for one in (asking, third, fourth, sixth)] == ["aborted", "", "", ""]

    asyncio.run(come())


def test_a_head_has_its_time_from_its_first_byte_and_a_taker_from_the_last(monkeypatch):
    monkeypatch.setattr(connections, "ASKS_WITHIN", 0.1)
    monkeypatch.setattr(connections, "TAKES_WITHIN", 0.1)

    async def come():
        connect = made(10)
        nothing, asking, slow, stalled, moving = (connect(data) for data in (b"", b"whole", b"h", b"whole", b"whole"))
        stalled.pause_writing()
        moving.pause_writing()
        for _ in range(4):
            await asyncio.sleep(0.05)
            slow.data_received(b"a")
            moving.resume_writing()
            moving.pause_writing()
        assert [one.transport.done for one in (nothing, slow, stalled)] == ["aborted"] * 3
        assert [one.transport.done for one in (asking, moving)] == [""] * 2
        asking.on_response_complete()
        asking.data_received(b"what is left of a body")  # after the answer: nobody waits for it
        await asyncio.sleep(0.15)
        assert asking.transport.done == "aborted"

    asyncio.run(come())


def test_the_limit_of_open_files_is_raised_as_far_as_it_goes(monkeypatch):
    resource = pytest.importorskip("resource", reason="Windows has no such limit")
    held = {"limits": (256, 4096)}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: held["limits"])
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: held.update(limits=limits))
    assert (connections.room(), held["limits"]) == (3072, (4096, 4096))
    held["limits"] = (1024, resource.RLIM_INFINITY)
    assert (connections.room(), held["limits"][0]) == (connections.MOST, connections.FILES)

    def only_so_many(kind, limits):
        if limits[0] > 10_240:
            raise ValueError("current limit exceeds maximum limit")
        held.update(limits=limits)

    held["limits"] = (256, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "setrlimit", only_so_many)
    assert (connections.room(), held["limits"][0]) == (connections.MOST, 10_240)

    def refuse(kind, limits):
        raise ValueError("not allowed to raise maximum limit")

    held["limits"] = (256, 4096)
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert connections.room() == 192


@on_linux
def test_few_files_are_said_when_it_starts(indexed):
    with serving(indexed, files=400) as (address, process):
        abused = Abused(address, process)
        said = until(process.told, "connections at once")
        assert "at most 300 connections at once, as few files may be open: `ulimit -n 65536` lets more" in said
        with ExitStack() as open_ones:
            for _ in range(500):
                open_ones.enter_context(abused.connected())
            assert len(abused.search()) == 5
            assert abused.descriptors() < 400


def until(told, words):
    """What is told, once these words are in it."""
    for _ in range(600):
        if words in (said := told()):
            return said
        time.sleep(0.1)
    raise AssertionError(told())


# ---------------------------------------------------------------- bodies that are held


def test_bodies_of_all_clients_have_one_limit(monkeypatch):
    monkeypatch.setattr(guards, "MOST_HELD", 25)
    layer = guards.Guards(None, guards.Doors())

    async def reading(scope, receive, send):
        await receive()
        await asyncio.sleep(0.05)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    layer._app = reading

    async def ask():
        said = []

        async def receive():
            return {"type": "http.request", "body": b"0123456789"}

        async def send(message):
            said.append(message)

        scope = {"type": "http", "method": "POST", "path": "/api/search", "headers": [(b"host", b"localhost")]}
        await layer(scope, receive, send)
        return said[0]["status"]

    async def several():
        return sorted(await asyncio.gather(*(ask() for _ in range(3)))), await ask()

    assert asyncio.run(several()) == ([200, 200, 503], 200)
    assert layer._held == 0
