"""Queries that come together, and what is kept between them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from serving import uris

from cli.serve import gather, searching, sent
from cli.serve.shelf import Shelf
from indexes import Store
from retrieval import Retriever
from retrieval.search import confidence
from toy import picture


def test_an_answer_says_which_commit_it_is_of_though_the_next_came_meanwhile(client, index, monkeypatch):
    before = client.get("/api/search", params={"q": "red"}).json()

    def each(self, store, *given, real=Retriever.each):
        hits = real(self, store, *given)
        with Store.open(index, write=True) as other:
            other.delete([other.records(other.rows()[:1])[0].id])
        self.store.refresh()
        return hits

    monkeypatch.setattr(Retriever, "each", each)
    answer = client.get("/api/search", params={"q": "red"}).json()
    assert (answer["generation"], answer["total"]) == (before["generation"], 3)
    assert client.get("/api/info").json()["indexes"][0]["rows"] == 2


def test_queries_that_come_together_are_one_encoding(index, toy, monkeypatch):
    """And each gets its own: k, filter, error."""
    asked = []
    toy.encode_texts = lambda texts, real=toy.encode_texts: asked.append(len(texts)) or real(texts)
    shelf = Shelf(index, "cpu", (), toy)
    gatherer = gather.Gatherer(shelf, sent.Sent())
    monkeypatch.setattr(gather, "WAITED", 2.0)
    gatherer._several = 3
    one = searching.Wanted()
    requests = [
        (searching.query.parse_sent(["red"]), one.asked(1)),
        (searching.query.parse_sent(["green"]), one.asked(2)),
        (searching.query.parse_sent(["blue"]), replace(one.asked(3), inside="more")),
    ]
    answers = [waiting.result(30).hits for waiting in [gatherer.ask(request) for request in requests]]
    assert [[hit.uri for hit in hits][:1] for hits in answers] == [["red.png"], ["more/green.jpg"], ["more/green.jpg"]]
    assert [len(hits) for hits in answers] == [1, 2, 1]
    assert asked == [3]
    gatherer._several = 2
    good = gatherer.ask(requests[0])
    bad = gatherer.ask((searching.query.parse_sent(["id:none"]), one.asked(1)))
    assert good.result(30).hits[0].uri == "red.png"
    with pytest.raises(Exception, match="holds no `none`"):
        bad.result(30)
    gatherer.close()
    shelf.retriever.close()


def test_many_clients_get_what_one_gets(client):
    colours = ["red", "green", "blue"] * 30
    with ThreadPoolExecutor(16) as threads:
        found = list(
            threads.map(lambda colour: uris(client.get("/api/search", params={"q": colour, "k": 1}))[0], colours)
        )
    expected = {"red": "red.png", "green": "more/green.jpg", "blue": "blue é.png"}
    assert found == [expected[colour] for colour in colours]


def test_what_confidence_is_measured_by_is_asked_or_read_once_for_each_state(client, index, photos, toy, monkeypatch):
    """And by nobody before it is asked for."""
    made = []
    real = confidence.background
    monkeypatch.setattr(confidence, "background", lambda *given: made.append(given[0].generation) or real(*given))
    client.get("/api/search", params={"q": "red"})
    assert made == []
    first = [client.get("/api/search", params={"q": "red", "min_confidence": 0}).json()["hits"] for _ in range(3)]
    assert (len(made), first[0][0]["confidence"] is not None) == (1, True)
    assert first[1:] == first[:1] * 2
    picture(photos / "another.png", (250, 0, 0))
    Retriever.build(str(photos), index, toy)[0].close()
    next(iter(client.app._app._app.state.parts.shelves)).look()
    for _ in range(2):
        assert client.get("/api/search", params={"q": "red", "min_confidence": 0.1}).status_code == 200
    assert len(set(made)) == len(made) == 2


def test_the_first_who_wants_confidence_does_not_hold_up_the_others(client, monkeypatch):
    began, ended = threading.Event(), threading.Event()
    real = confidence.background

    def slowly(*given):
        began.set()
        assert ended.wait(20)
        return real(*given)

    monkeypatch.setattr(confidence, "background", slowly)
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(client.get, "/api/search", params={"q": "red", "min_confidence": 0})
        assert began.wait(20)
        assert uris(client.get("/api/search", params={"q": "green", "k": 1})) == ["more/green.jpg"]
        ended.set()
        assert slow.result(20).json()["hits"][0]["uri"] == "red.png"
