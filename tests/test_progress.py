"""The line that says how far a command is: the time left is that of the work left, at the rate of late."""

import dataclasses
import io

import pytest

from cli.output import show
from retrieval import open_pairs, recipes
from retrieval.training.dataset import TrainingSet
from retrieval.training.setup import first_encoder


@pytest.fixture
def told(monkeypatch):
    """Calls a meter at given seconds, not on a terminal; what it has said at the end."""
    now = [0.0]
    monkeypatch.setattr(show.time, "monotonic", lambda: now[0])

    def told(calls):
        stream = io.StringIO()
        meter = show.Meter("training", stream=stream)
        for seconds, *given in calls:
            now[0] = 1000.0 + seconds
            meter(*given)
        return stream.getvalue().splitlines()

    return told


def test_the_time_left_at_an_even_rate(told):
    lines = told([(second, second + 1, 100) for second in range(100)])
    assert lines[0] == "training 1/100 (1%)"
    assert lines[2] == "training 21/100 (21%), 1:19 left"
    assert lines[-1] == "training 100/100 (100%)"


def test_what_was_fast_long_ago_says_nothing_of_what_is_left(told):
    """50 of a second each, then 12 of ten: at ten each, the 38 that are left take 380 seconds."""
    calls = [(second, second + 1, 100) for second in range(50)]
    calls += [(49 + 10 * number, 50 + number, 100) for number in range(1, 13)]
    assert told(calls)[-1] == "training 62/100 (62%), 6:20 left"


def test_what_is_to_come_may_be_more_work(told):
    """40 of 100 are a quarter of the work of the others: of 70 in all, 5 are done in 20 seconds, 64.75 are left."""
    calls = [(second, second + 1, 100, "", (second + 1) / 4 / 70) for second in range(21)]
    assert told(calls)[-1] == "training 21/100 (21%), 4:19 left"


def test_the_share_of_a_run_is_that_of_its_pixels():
    """10 steps of which 4 see 16 pixels a side and 6 see 32: the work of 1 + 6, and 0.5 after two."""
    pairs = open_pairs("picturebook:16?size=32")
    config = dataclasses.replace(recipes.smoke(), batch_size=16, epochs=10, small_size=16, small_share=0.4)
    data = TrainingSet(pairs, first_encoder(pairs, config), config)
    assert [data.share_of(step) for step in (0, 2, 4, 7, 10)] == pytest.approx([0, 0.5 / 7, 1 / 7, 4 / 7, 1])
    data.config = dataclasses.replace(config, small_share=0.0)
    assert data.share_of(5) == 0.5
