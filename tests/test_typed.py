"""JSON of other hands: the types it should have, or one error that says what is wrong."""

import json
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexes import typed
from indexes.typed import Malformed, parse


@dataclass(frozen=True)
class Point:
    number: Annotated[int, msgspec.Meta(ge=1)]
    recall: float = 1.0


def test_a_text_becomes_its_type_and_keys_of_newer_versions_are_passed_over():
    assert parse('{"number": 3, "recall": 0.5, "later": []}', Point) == Point(3, 0.5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no JSON"),
        (b"\xff", "no JSON"),
        ('{"number": NaN}', "NaN is no number"),
        ('{"number": 0}', ">= 1"),
        ('{"number": "3"}', "got `str`"),
        ("{}", "missing required field `number`"),
        ("[]", "got `array`"),
        ('{"number": 1, "recall": 1' + "0" * 400 + "}", "out of range|too large|Expected"),
        ('{"number": ' + "[" * 100_000 + "]" * 100_000 + "}", "deep"),
    ],
)
def test_what_it_is_not_is_one_error_that_says_where(text: str | bytes, said: str):
    with pytest.raises(Malformed, match=said):
        parse(text, Point)


def test_depth_and_size_have_limits():
    nested = "[" * typed.DEPTH + "]" * typed.DEPTH
    assert parse(nested, list) == json.loads(nested)
    with pytest.raises(Malformed, match="deep"):
        parse("[" + nested + "]", list)
    with pytest.raises(Malformed, match="more than 10 bytes"):
        parse(json.dumps("a" * 10), str, most=10)


@given(st.text(max_size=40) | st.binary(max_size=40))
def test_no_text_does_worse_than_malformed(text: str | bytes):
    try:
        parse(text, dict[str, Any])
    except Malformed as error:
        assert str(error)
