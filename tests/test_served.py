"""A server beside a writer, for a short while; `make soak` gives it a minute, `python -m eval.faults.served` ten."""

from pathlib import Path

import pytest

from eval.faults import groups, served
from eval.faults.readers import in_memory
from eval.faults.served import Answer

HELD = {f"{group}/{number}": "0" for group in range(groups.GROUPS) for number in range(groups.GROUP)}


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="a process's descriptors are read from /proc")
def test_every_answer_is_of_one_commit_and_nothing_piles_up(soak):
    with in_memory() as folder:
        counted = served.soak(Path(folder) / "index", 60 if soak else 3, 8 if soak else 3)
    wrong = {name: counted[name] for name in ("wrong", "failed", "descriptors")}
    assert wrong == dict.fromkeys(wrong, 0), counted
    assert min(counted[name] for name in ("answers", "commits", "states")) > 1, counted


def right(text, k, least=0):
    """What a server should say to a query before the first change."""
    vectors = {uri: groups.Words().encode_texts([groups.said(uri, "0")])[0] for uri in HELD}
    asked = groups.Words().encode_texts([text])[0]
    scores = {uri: float(asked @ vectors[uri]) for uri in HELD if int(uri.split("/")[0]) >= least}
    best = sorted(scores, key=lambda uri: -scores[uri])[:k]
    return [(uri, groups.said(uri, "0"), scores[uri]) for uri in best]


def test_the_instrument_knows_a_right_answer_and_each_wrong_one():
    hits = right("a query", 5, least=3)
    assert served.fault(Answer(1, "a query", 5, 3, hits), HELD) == ""
    assert served.fault(Answer(1, "a query", 5, 3, hits[:4]), HELD) == "4 hits, not 5"
    assert served.fault(Answer(1, "a query", 5, 3, [hits[0], *hits[:4]]), HELD) == "5 hits, not 5"
    changed = {**HELD, hits[0][0]: "7"}
    assert served.fault(Answer(1, "a query", 5, 3, hits), changed) == "items of another state"
    assert served.fault(Answer(1, "a query", 5, 3, [(*hits[0][:2], 0.1), *hits[1:]]), HELD) == "another score"
    other = right("a query", 6, least=3)[1:]
    assert served.fault(Answer(1, "a query", 5, 3, other), HELD) == "one that is nearer is left out"


def test_what_each_commit_held_is_read_from_what_the_writer_tells():
    told = list(served.states(["13 2 12", "14 3 -", "15 -1 14"], 12))
    assert [number for number, _ in told] == [12, 13, 14, 15]
    assert told[0][1] == HELD
    assert told[1][1]["2/4"] == "12" and told[1][1]["3/0"] == "0"
    assert "3/0" not in told[2][1] and told[3][1] == told[2][1]


def test_an_answer_of_no_commit_is_a_fault():
    answer = Answer(99, "a query", 5, 0, right("a query", 5))
    assert served.faults([answer], ["13 2 12"], 12) == ["no commit 99"]
    assert served.faults([answer._replace(generation=12)], ["13 2 12"], 12) == []
