"""Readers beside a writer, all together for a short while; `make soak` gives them a minute."""

from pathlib import Path

import pytest

from eval.faults import groups
from eval.faults.readers import in_memory, stress
from indexes import Record, Store


def test_readers_stay_on_what_they_opened_beside_a_writer(soak):
    seconds, count, threads = (60, 8, 16) if soak else (2, 2, 4)
    with in_memory() as folder:
        counted = stress(Path(folder) / "index", seconds, count, threads)
    wrong = {name: counted[name] for name in ("errors", "changed", "descriptors", "files")}
    assert wrong == dict.fromkeys(wrong, 0), counted
    assert min(counted[name] for name in ("commits", "opened", "asked", "forked")) > 0, counted


def test_the_instrument_notices_half_of_a_commit(tmp_path):
    groups.fill(tmp_path / "index")
    with Store.open(tmp_path / "index", write=True) as store:
        groups.state_of(store)
        vector = groups.Words().encode_texts([groups.said("3/1", "other")])
        store.add(vector, [Record("3/1", "other", {"group": 3})])
        with pytest.raises(AssertionError, match="half of a commit"):
            groups.state_of(store)
