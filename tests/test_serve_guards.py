"""Who is let in: by name, by origin, by token, by what another site's page may ask; and what each answer forbids."""

import asyncio
import json

import pytest

from cli.serve import guards
from cli.serve.guards import Doors, Guards, Refused, check

OURS = {"host": "127.0.0.1:8750"}
READ = Doors(token="read", write="write")
LABEL = OURS | {"content-type": "application/json"}


def let_in(headers, doors=Doors(), path="/api/search", method="GET"):  # noqa: B008
    try:
        check(method, path, headers, doors)
    except Refused as refused:
        return refused.status
    return 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (OURS, 200),
        ({"host": "localhost:8750"}, 200),
        ({"host": "[::1]:8750"}, 200),
        ({"host": "LOCALHOST"}, 200),
        ({"host": "evil.example:8750"}, 421),  # DNS rebinding
        ({"host": "127.0.0.1.evil.example"}, 421),
        ({"host": "evil.example@127.0.0.1"}, 200),  # its name is 127.0.0.1
        ({"host": "[::1"}, 421),
        ({}, 421),
        (OURS | {"origin": "http://127.0.0.1:8750"}, 200),
        (OURS | {"origin": "http://127.0.0.1:9999"}, 403),  # another program of this machine
        (OURS | {"origin": "http://evil.example"}, 403),
        (OURS | {"origin": "null"}, 403),
        (OURS | {"origin": "http://["}, 403),
        (OURS | {"sec-fetch-site": "same-origin"}, 200),
        (OURS | {"sec-fetch-site": "none"}, 200),
        (OURS | {"sec-fetch-site": "cross-site"}, 403),
        (OURS | {"sec-fetch-site": "same-site"}, 403),
        (OURS | {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 403),  # not to the API
    ],
)
def test_who_asks(headers, status):
    assert let_in(headers) == status


def test_a_link_from_elsewhere_opens_the_page_and_nothing_else():
    link = OURS | {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert let_in(link, path="/") == 200
    assert let_in(link, path="/api/info") == 403
    assert let_in(link, path="/", method="POST") == 403


def test_a_named_host_and_an_allowed_origin():
    doors = Doors(hosts=("photos.example",), origins=("https://app.example",))
    assert let_in({"host": "photos.example"}, doors) == 200
    assert let_in(OURS, doors) == 421
    app = {"host": "photos.example", "origin": "https://app.example", "sec-fetch-site": "cross-site"}
    assert let_in(app, doors) == 200
    assert let_in(app, doors, "/api/labels", "POST") == 403


@pytest.mark.parametrize(
    ("authorization", "status"),
    [("Bearer read", 200), ("bearer read", 200), ("Bearer write", 200), ("Bearer  read ", 200), ("Bearer rea", 401),
     ("Bearer", 401), ("Basic read", 401), ("", 401), ("Bearer räd", 401)],
)  # fmt: skip
def test_a_token_is_wanted_of_who_reads(authorization, status):
    assert let_in(OURS | {"authorization": authorization}, READ) == status


@pytest.mark.parametrize("path", ["/", "/page/style.css", "/healthz", "/readyz"])
def test_what_says_nothing_of_an_index_needs_no_token(path):
    assert let_in(OURS, READ, path) == 200


@pytest.mark.parametrize("path", ["/metrics", "/openapi.json", "/knn-service", "/page/../api/info", "/page/a/b"])
def test_all_else_needs_it(path):
    assert let_in(OURS, READ, path) == 401


@pytest.mark.parametrize(
    ("headers", "doors", "status"),
    [
        (LABEL, Doors(), 403),  # no key: nobody
        (LABEL | {"authorization": "Bearer "}, Doors(write=""), 401),
        (LABEL | {"authorization": "Bearer write"}, READ, 200),
        (LABEL | {"authorization": "Bearer read"}, READ, 401),
        (OURS | {"content-type": "text/plain", "authorization": "Bearer write"}, READ, 415),
        (LABEL | {"authorization": "Bearer write", "sec-fetch-site": "cross-site"}, READ, 403),
        (LABEL | {"authorization": "Bearer write", "origin": "http://evil.example"}, READ, 403),
    ],
)
def test_who_may_label(headers, doors, status):
    assert let_in(headers, doors, "/api/labels", "POST") == status


def test_a_folder_is_opened_only_by_our_page_or_a_program():
    assert let_in(LABEL, path="/api/items/abc/open", method="POST") == 200
    assert let_in(OURS, path="/api/items/abc/open", method="POST") == 415
    assert let_in(LABEL | {"sec-fetch-site": "same-site"}, path="/api/items/abc/open", method="POST") == 403


# ---------------------------------------------------------------- as a layer


async def reading(scope, receive, send):
    """An application that reads the body and says how long it is."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(size).encode()})


async def asked(layer, messages, method="POST", path="/api/search", headers=OURS, delay=0.0):
    """(status, headers, body) of a request whose body comes in these messages."""
    coming, said = list(messages), []

    async def receive():
        await asyncio.sleep(delay)
        return {"type": "http.request", "body": coming.pop(0), "more_body": bool(coming)}

    async def send(message):
        said.append(message)

    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b"q=secret",
        "client": ("127.0.0.1", 1), "headers": [(k.encode(), v.encode()) for k, v in headers.items()],
    }  # fmt: skip
    await layer(scope, receive, send)
    return said[0]["status"], dict(said[0]["headers"]), b"".join(message.get("body", b"") for message in said[1:])


def test_every_answer_forbids_what_a_page_could_do_with_it():
    for headers in (OURS, {"host": "evil.example"}):
        _, answered, _ = asyncio.run(asked(Guards(reading, Doors()), [b""], headers=headers))
        assert b"default-src 'self'" in answered[b"content-security-policy"]
        assert answered[b"x-content-type-options"] == b"nosniff"
        assert answered[b"cross-origin-resource-policy"] == b"same-origin"
        assert answered[b"cache-control"] == b"no-store"
        assert b"access-control-allow-origin" not in answered


def test_an_allowed_origin_is_told_so():
    doors = Doors(origins=("https://app.example",))
    headers = OURS | {"origin": "https://app.example"}
    _, answered, _ = asyncio.run(asked(Guards(reading, doors), [b""], headers=headers))
    assert answered[b"access-control-allow-origin"] == b"https://app.example"
    status, answered, _ = asyncio.run(asked(Guards(reading, doors), [b""], "OPTIONS", headers=headers))
    assert (status, answered[b"access-control-allow-methods"]) == (204, b"GET, POST")


def test_a_body_that_is_too_large_or_too_slow_is_given_up(monkeypatch):
    monkeypatch.setattr(guards, "MOST_BYTES", 10)
    layer = Guards(reading, Doors())
    assert asyncio.run(asked(layer, [b"12345", b"67890"]))[::2] == (200, b"10")
    assert asyncio.run(asked(layer, [b"12345", b"678901"]))[0] == 413
    assert asyncio.run(asked(layer, [b""], headers=OURS | {"content-length": "11"}))[0] == 413
    monkeypatch.setattr(guards, "BODY_SECONDS", 0.02)
    status, _, body = asyncio.run(asked(layer, [b"1", b"2"], delay=0.5))
    assert (status, json.loads(body)["error"]) == (408, "the body took longer than 0.02 s: send it again")


def test_a_client_has_a_share_of_the_server(monkeypatch):
    monkeypatch.setattr(guards, "MOST_AT_ONCE", 3)
    layer = Guards(reading, Doors())

    async def several():
        return await asyncio.gather(*(asked(layer, [b"x"], delay=0.05) for _ in range(5)))

    answers = asyncio.run(several())
    assert sorted(status for status, _, _ in answers) == [200, 200, 200, 429, 429]
    assert all(headers[b"retry-after"] == b"1" for status, headers, _ in answers if status == 429)
    assert asyncio.run(asked(layer, [b"x"]))[0] == 200
    assert not layer._at_once


def test_all_clients_together_have_a_limit_too(monkeypatch):
    monkeypatch.setattr(guards, "MOST_TOGETHER", 3)
    layer = Guards(reading, Doors())

    async def several():
        return await asyncio.gather(*(asked(layer, [b"x"], delay=0.05) for _ in range(5)))

    answers = asyncio.run(several())
    assert sorted(status for status, _, _ in answers) == [200, 200, 200, 503, 503]
    for status, headers, body in answers:
        if status == 503:
            assert headers[b"retry-after"] == b"1"
            assert json.loads(body)["error"].endswith("ask again in a second")


def test_the_log_tells_what_was_asked_only_where_that_is_wanted():
    lines = []
    asyncio.run(asked(Guards(reading, Doors(), lines.append), [b""]))
    asyncio.run(asked(Guards(reading, Doors(), lines.append, queries=True), [b""]))
    plain, told = map(json.loads, lines)
    assert (plain["method"], plain["path"], plain["status"], plain["client"]) == (
        "POST",
        "/api/search",
        200,
        "127.0.0.1",
    )
    assert "secret" not in lines[0]
    assert told["query"] == "q=secret"


def test_a_socket_that_is_no_request_is_left_alone():
    said = []
    layer = Guards(reading, Doors())
    asyncio.run(layer({"type": "websocket"}, None, said.append))
    assert not said
