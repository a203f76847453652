"""Filters: the same truth as plain Python on any record, and a clear line for what cannot be read."""

import contextlib
import json
import operator
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexes import BadFilter, filters, folding

RECORDS = [
    {"uri": "a.jpg", "meta": {"year": 2011, "colour": "Red", "price": "12.5", "old": True}},
    {"uri": "b.jpg", "meta": {"year": "2012", "colour": "Navy Blue", "price": "cheap", "old": False}},
    {"uri": "c.jpg", "caption": "A Dog runs", "meta": {"year": 1999.5, "colour": "red'; DROP TABLE items; --"}},
    {"uri": "d.jpg", "caption": None, "meta": {"old": "false", "taken": "2024-06-01T12:30:05"}},
]


def matching(where, records=RECORDS, inside=("meta",), **how):
    """The numbers of the records that the database lets through."""
    condition = filters.parse(where, inside, **how)
    database = sqlite3.connect(":memory:")
    folding.teach(database)
    database.execute("CREATE TABLE items (row INTEGER PRIMARY KEY, fields TEXT)")
    database.executemany("INSERT INTO items VALUES (?, ?)", [(i, json.dumps(r)) for i, r in enumerate(records)])
    found = database.execute(f"SELECT row FROM items WHERE {condition.sql} ORDER BY row", condition.values)
    return [row for (row,) in found]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("year >= 2011", [0, 1]),
        ("year >= 2011 and colour == 'Red'", [0]),
        ("year<2000", [2]),
        ("year == 2012", [1]),
        ("year == '2012'", [1]),
        ("price > 1", [0]),  # "cheap" is no number, though SQLite puts it above all
        ("price < 100", [0]),
        ("price != 12.5", [1]),
        ("colour = 'Red' or colour = 'Navy Blue'", [0, 1]),
        ("colour in ('Red', 'Navy Blue')", [0, 1]),
        ("colour not in ('Red', 'Navy Blue')", [2, 3]),
        ("year in (2012, 1999.5)", [1, 2]),
        ("not colour == 'Red'", [1, 2, 3]),
        ("NOT (year >= 2011 OR caption IS NOT NULL)", [3]),
        ("caption contains 'dog'", [2]),
        ("year is null", [3]),
        ("year == null", [3]),
        ("old", [0]),
        ("old == true", [0]),
        ("old == false", [1, 3]),
        ('colour == "red\'; DROP TABLE items; --"', [2]),
        ("`colour` == 'Red'", [0]),
        ("uri >= 'c'", [2, 3]),
        ("year > -1e999", [0, 1, 2]),
        ("year < 99999999999999999999999", [0, 1, 2]),
        ("taken >= 2024-06-01", [3]),
        ("taken >= 2024-06 and taken < 2024-07", [3]),
        ("taken > 2024-06-01T12:30:05", []),
        ("taken < 2024-06-01T12:30:06", [3]),
        ("taken in (2024-06-01T12:30:05, 1)", [3]),
        ("taken < 2024-06-01", []),
        ("year >= 2011 and year < 2012", [0]),
        ("nothing == 1", []),
        ("taken == 2024-06", [3]),
        ("taken == 2024-06-01 and taken <= 2024-06-01 and not taken > 2024-06-01", [3]),
        ("taken != 2024-06-01", []),
        ("taken in (2024-06-01, 2023-01)", [3]),
        ("taken between 2024-05 and 2024-06", [3]),
        ("taken between 2024-06-02 and 2024-07", []),
        ("taken between '2024-06-01' and '2024-06-02'", [3]),
        ("year between 2011 and 2012", [0, 1]),
        ("year between 1999.5 and 2011 and colour == 'Red'", [0]),
        ("year NOT BETWEEN 2011 AND 2012", [2, 3]),
        ("year between 2012 and 2011", []),
        ("price between 0 and 100", [0]),
        ("colour like 'r%'", [0, 2]),
        ("colour like '%BLUE'", [1]),
        ("colour like 're_'", [0]),
        ("colour like 'red'", [0]),
        ("colour not like '%blue'", [0, 2, 3]),
        ("year like '20__'", [0, 1]),
        ("nothing like '%'", []),
        ("caption not contains 'dog'", [0, 1, 3]),
    ],
)
def test_by_hand(where, expected):
    assert matching(where) == expected


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("", "the name of a field is expected at position 1"),
        ("year >=", "a value is expected at position 8"),
        ("year >= 2011 colour", "`and`, `or` or the end is expected at position 14"),
        ("colour == Red", "write it in quotes, 'Red', at position 11"),
        ("(year > 1", "`)` is expected at position 10"),
        ("year in 3", "`(` is expected at position 9"),
        ("year not 3", "`in` is expected (or like, between, contains) at position 10"),
        ("year between 3", "`and` is expected at position 15"),
        ("year between 3 or 4", "`and` is expected at position 16"),
        ("year like", "a value is expected at position 10"),
        (f"year like '{'%a' * 501}'", "a pattern of more than 1000 letters at position 11"),
        ("year > 1; DROP TABLE items", "an operator is expected at position 9"),
        ("__import__('os').system('x')", "is expected at position 17"),
        ("(" * 80 + "a" + ")" * 80, "no more parentheses"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_place(where, message):
    with pytest.raises(BadFilter, match=r"--where") as caught:
        filters.parse(where)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_are_those_of_any_script_and_of_any_table():
    records = [
        {
            "uri": "a",
            "meta": {"सीज़न": "गर्मी", "ราคาน้ำ": 3, "base colour": 1, "like": 2, "between": 5, "a.b": 1, "caf\u00e9": 1},
        },
        {"uri": "b", "meta": {"cafe\u0301": 1}},
    ]
    for where in (
        "सीज़न == 'गर्मी'", "ราคาน้ำ > 2", "`base colour` == 1", "like == 2", "between between 4 and 6", "`like` = 2",
        "a.b == 1", "like like '2' and not in_", "`base colour`=1 and(like=2)",
    ):  # fmt: skip
        assert matching(where, records) == [0], where
    for where in ("caf\u00e9 == 1", "cafe\u0301 == 1"):
        assert matching(where, records) == [0, 1]


def test_letters_of_any_script_in_any_case_and_any_spelling():
    captions = ["ÉTÉ à la PLAGE", "e\u0301te\u0301 STRASSE", "ete", "ガラス", "カラス"]
    records = [{"uri": str(number), "caption": caption} for number, caption in enumerate(captions)]
    assert matching("caption contains 'été'", records) == [0, 1]
    assert matching("caption like 'e\u0301t_%'", records) == [0, 1]
    assert matching("caption contains 'straße'", records) == [1]
    assert matching("caption contains 'ガラス'", records) == [3]
    assert matching("caption contains 'カ\u3099ラス'", records) == [3]


def test_odd_bytes_in_records_and_expressions_stop_nothing():
    records = [{"uri": "a\udcff.jpg"}, {"uri": "b.jpg"}]
    assert matching("uri contains '.JPG'", records) == [0, 1]
    assert matching("uri like 'a%'", records) == [0]
    for where in ("uri == 'a\udcff.jpg'", "`a\udcff` = 1", "uri contains '\udcff'"):
        with pytest.raises(BadFilter, match="no text"):
            matching(where, records)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(BadFilter):
        matching(text)


OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
NUMBERS = st.integers(-3, 3) | st.sampled_from([0.5, -1.5])
FIELDS = st.sampled_from(["a", "b", "c"])
COMPARISON = st.tuples(FIELDS, st.sampled_from(sorted(OPERATORS)), NUMBERS)
EXPRESSION = st.recursive(
    COMPARISON,
    lambda inner: (
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=2, max_size=3))
        | st.tuples(st.just("not"), inner)
    ),
    max_leaves=8,
)


def written(tree):
    if tree[0] in ("and", "or"):
        return "(" + f" {tree[0]} ".join(map(written, tree[1])) + ")"
    return f"not {written(tree[1])}" if tree[0] == "not" else f"{tree[0]} {tree[1]} {tree[2]}"


def true_of(tree, record):
    if tree[0] in ("and", "or"):
        return (all if tree[0] == "and" else any)(true_of(part, record) for part in tree[1])
    if tree[0] == "not":
        return not true_of(tree[1], record)
    return tree[0] in record and OPERATORS[tree[1]](record[tree[0]], tree[2])


@given(EXPRESSION, st.lists(st.dictionaries(FIELDS, NUMBERS), max_size=5))
def test_any_expression_means_what_python_says(tree, records):
    assert matching(written(tree), records) == [i for i, record in enumerate(records) if true_of(tree, record)]


# ---------------------------------------------------------------- fields that may be lists


SAID = [
    {}, {"caption": "a red dog"}, {"caption": ["a red cat", "a Dog"]}, {"caption": ["7", "a bird"]},
    {"meta": {"caption": "a red dog", "kind": "k"}}, {"kind": "k", "meta": {"year": 1}},
]  # fmt: skip


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("caption contains 'dog'", [1, 2]), ("caption == 'a Dog'", [2]), ("caption = 'a red dog'", [1]),
        ("caption != 'a Dog'", [1, 3]), ("caption in ('a bird', 'a red cat')", [2, 3]),
        ("caption not in ('a bird')", [0, 1, 2, 4, 5]), ("caption is null", [0, 4, 5]),
        ("caption is not null", [1, 2, 3]), ("caption == 7", [3]), ("caption < 'a c'", [2, 3]), ("caption", [1, 2, 3]),
        ("not caption contains 'dog'", [0, 3, 4, 5]), ("caption == null", [0, 4, 5]), ("caption != null", [1, 2, 3]),
        ("caption contains 'a' and not (caption contains 'red' or caption == 'x')", [3]),
        ("kind == 'k'", [4]), ("year == 1", [5]),
        ("caption like 'a%dog'", [1, 2]), ("caption not like 'a%dog'", [0, 3, 4, 5]),
        ("caption between 'a b' and 'a c'", [3]),
    ],
)  # fmt: skip
def test_a_comparison_with_a_list_is_met_by_any_of_its_values(where, expected):
    assert matching(where, SAID, inside=("meta",), own=("uri", "caption"), several=("caption",)) == expected
