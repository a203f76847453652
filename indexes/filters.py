"""A WHERE expression over the records' fields, as a condition that SQLite checks: parsed here, nothing pasted into SQL.

    year >= 2011 and baseColour == 'Red'
    season in ('Summer', 'Spring') or not (price < 20 or discontinued)
    caption contains 'dog' and author is not null
    name like 'IMG_20%.jpg' and price not between 10 and 20
    taken between 2024-06-01 and 2024-07

Names are fields (in backticks where they hold spaces or other signs); = is ==, <> is !=; keywords in any case. A number
is compared with what looks like a number, a text with the text of whatever is there. A date stands for all of its day,
month or minute. `contains` and `like` (% is any text, _ any letter) hear no difference between A and a, in any script.
A missing field answers no comparison, so `not` of one is true of it.
"""

import json
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from indexes import lexer
from indexes.errors import BadFilter
from indexes.folding import NAME, fold
from indexes.lexer import Date, Token

_COMPARE = {"==": "=", "=": "=", "!=": "<>", "<>": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_VERBS = ("in", "is", "contains", "like", "between")  # where a name is expected they are names
_LONGEST_PATTERN = 1000  # letters; SQLite's time grows with the number of % times the text
_DEEPEST = 50  # parentheses in parentheses


Value = str | float | bool | None  # of an expression; whole numbers are int, which is a float to a type checker


@dataclass(frozen=True, slots=True)
class Condition:
    """An SQL condition on a table with a column `fields` of JSON: what `Store.search` and `Store.rows` take.

    Attributes:
        sql: The condition; every value in it is a question mark.
        values: What stands for the question marks, in order.
    """

    sql: str
    values: tuple


_Test = Callable[[Condition], Condition]  # of a field


def parse(
    where: str, inside: Sequence[str] = (), own: Sequence[str] | None = None, several: Sequence[str] = ()
) -> Condition:
    """Read an expression as a condition on the fields of records.

    Args:
        where: The expression, as this module's docstring shows it.
        inside: Objects among the fields in which a name is looked for as well, the first that has it.
        own: The names that are looked for beside those objects; None for every name.
        several: Of those, the fields that may be lists: a comparison is met where any of their values meets it, `!=`
            where there is one and none is equal.

    Returns:
        The condition. Nothing of the expression stands in its SQL: names and values are question marks.

    Raises:
        BadFilter: The expression makes no sense; the message says from where on.

    Examples:
        >>> parse("year == 2011").values
        ('$."year"', 2011)
    """
    if any("\ud800" <= letter <= "\udfff" for letter in where):
        raise BadFilter(f"--where {where!r} holds bytes that are no text: name such items as `mmr ls` does")
    parser = _Parser(where, lexer.tokens(where), inside, own, several)
    condition = parser.either()
    parser.expect_end()
    return condition


def names(where: str) -> list[str]:
    """The fields that an expression speaks of, each once. Raises BadFilter."""
    return list(dict.fromkeys(token.text for token in lexer.tokens(where) if token.kind == "name"))


def _folded_sql(field: Condition) -> str:
    return f"{NAME}(CAST({field.sql} AS BLOB))"


def _both(one: Condition, other: Condition) -> Condition:
    return Condition(f"({one.sql} AND {other.sql})", one.values + other.values)


def _truth(field: Condition, wanted: bool) -> Condition:
    """True or false, as JSON and csv files write them."""
    false = "IN (0, 'false', 'False', 'FALSE', '0', '')"
    return Condition(f"ifnull({field.sql} {'NOT ' if wanted else ''}{false}, 0)", field.values)


class _Parser:
    """Recursive descent: either (or), both (and), one (not, parentheses, comparison)."""

    def __init__(
        self, where: str, tokens: list[Token], inside: Sequence[str], own: Sequence[str] | None,
        several: Sequence[str],
    ) -> None:  # fmt: skip
        self._where, self._tokens, self._inside, self._own, self._several = where, tokens, inside, own, several
        self._next, self._depth = 0, 0

    def either(self) -> Condition:
        return self._joined("or", self._both)

    def _both(self) -> Condition:
        return self._joined("and", self._one)

    def _joined(self, word: str, part: Callable[[], Condition]) -> Condition:
        conditions = [part()]
        while self._take("keyword", word):
            conditions.append(part())
        if len(conditions) == 1:
            return conditions[0]
        sql = f" {word.upper()} ".join(condition.sql for condition in conditions)
        return Condition(f"({sql})", tuple(value for condition in conditions for value in condition.values))

    def _one(self) -> Condition:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._error("no more parentheses are taken")
        try:
            if self._take("keyword", "not"):
                inner = self._one()
                return Condition(f"(NOT {inner.sql})", inner.values)
            if self._take("sign", "("):
                inner = self.either()
                self._expect("sign", ")")
                return inner
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Condition:
        name = self._name()
        field = self._field(name)
        any_of = self._any_of(name, field)
        sign = self._take("sign")
        if sign and sign.text in _COMPARE:
            return self._compared_any(field, any_of, _COMPARE[sign.text], self._value())
        if sign:
            self._next -= 1
        if self._take("keyword", "is"):
            sql_not = "NOT " if self._take("keyword", "not") else ""
            self._expect("keyword", "null")
            return Condition(f"({field.sql} IS {sql_not}NULL)", field.values)
        negated = bool(self._take("keyword", "not"))
        test = self._verb()
        if test is None and negated:
            raise self._error("`in` is expected (or like, between, contains)")
        if test is None:
            return _truth(field, True)
        found = any_of(test)
        return Condition(f"(NOT {found.sql})", found.values) if negated else found

    def _name(self) -> str:
        verb = self._tokens[self._next]
        if verb.kind == "keyword" and verb.text in _VERBS:
            self._next += 1
            return verb.text
        name = self._take("name")
        if name is None:
            raise self._error("the name of a field is expected")
        return name.text

    def _verb(self) -> _Test | None:
        """What is asked of a field by a word; None where none follows."""
        if self._take("keyword", "in"):
            values = self._values()
            return lambda one: self._among(one, values)
        if self._take("keyword", "contains"):
            sought = fold(str(self._value()))
            return lambda one: Condition(f"ifnull(instr({_folded_sql(one)}, ?) > 0, 0)", (*one.values, sought))
        if self._take("keyword", "like"):
            pattern = self._pattern()
            return lambda one: Condition(f"ifnull({_folded_sql(one)} LIKE ?, 0)", (*one.values, pattern))
        if self._take("keyword", "between"):
            low = self._value()
            self._expect("keyword", "and")
            high = self._value()
            return lambda one: _both(self._compared(one, ">=", low), self._compared(one, "<=", high))
        return None

    def _pattern(self) -> str:
        pattern = fold(str(self._value()))
        if len(pattern) > _LONGEST_PATTERN:
            self._next -= 1
            raise self._error(f"a pattern of more than {_LONGEST_PATTERN} letters")
        return pattern

    def _any_of(self, name: str, field: Condition) -> Callable[[_Test], Condition]:
        """How a test of a field is asked: of one that may be a list, is it met by any of its values?"""
        if name not in self._several:
            return lambda test: test(field)

        def any_of(test: _Test) -> Condition:
            one = test(Condition("each.value", ()))
            sql = f"EXISTS (SELECT 1 FROM json_each(fields, ?) AS each WHERE {one.sql})"
            return Condition(sql, (f'$."{name}"', *one.values))

        return any_of

    def _compared_any(
        self, field: Condition, any_of: Callable[[_Test], Condition], sign: str, value: Value
    ) -> Condition:
        if value is None or isinstance(value, bool):
            return self._compared(field, sign, value)
        if sign != "<>":
            return any_of(lambda one: self._compared(one, sign, value))
        equal = any_of(lambda one: self._compared(one, "=", value))
        return Condition(f"({field.sql} IS NOT NULL AND NOT {equal.sql})", (*field.values, *equal.values))

    def _values(self) -> list[Value]:
        self._expect("sign", "(")
        values = [self._value()]
        while self._take("sign", ","):
            values.append(self._value())
        self._expect("sign", ")")
        return values

    def _among(self, field: Condition, values: list[Value]) -> Condition:
        texts = tuple(value for value in values if type(value) is str)
        marks = ", ".join("?" * len(texts))
        options = [self._compared(field, "=", value) for value in values if type(value) is not str]
        if texts:
            options.append(Condition(f"ifnull(CAST({field.sql} AS TEXT) IN ({marks}), 0)", (*field.values, *texts)))
        sql = " OR ".join(option.sql for option in options)
        return Condition(f"({sql})", tuple(value for option in options for value in option.values))

    def _field(self, name: str) -> Condition:
        own = [""] if self._own is None or name in self._own else []
        places = [*own, *(f'"{each}".' for each in (self._inside if name not in self._several else ()))]
        # Some versions of SQLite compare a path with the key as the JSON spells it: with its escapes.
        ways = [name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name)]
        spelled = dict.fromkeys(one for way in ways for one in (way, json.dumps(way)[1:-1]))
        paths = [f'$.{place}"{one}"' for place in places for one in spelled]
        if len(paths) == 1:
            return Condition("json_extract(fields, ?)", tuple(paths))
        return Condition(f"coalesce({', '.join(['json_extract(fields, ?)'] * len(paths))})", tuple(paths))

    def _compared(self, field: Condition, sign: str, value: Value) -> Condition:
        if value is None:
            return Condition(f"({field.sql} IS {'NOT ' if sign == '<>' else ''}NULL)", field.values)
        if isinstance(value, bool):
            return _truth(field, value) if sign == "=" else Condition(f"(NOT {_truth(field, value).sql})", field.values)
        if isinstance(value, Date):  # of what is there, as much as was written
            sql = f"ifnull(substr(CAST({field.sql} AS TEXT), 1, {len(value)}) {sign} ?, 0)"
            return Condition(sql, (*field.values, str(value)))
        if isinstance(value, str):
            return Condition(f"ifnull(CAST({field.sql} AS TEXT) {sign} ?, 0)", (*field.values, value))
        # Beside a NUMERIC value, SQLite compares a text that looks like a number as that number; any other text is
        # above all numbers, infinity included.
        compared = Condition(f"{field.sql} {sign} CAST(? AS NUMERIC)", (*field.values, value))
        if sign in (">", ">="):
            sql = f"{compared.sql} AND {field.sql} <= CAST(9e999 AS REAL)"
            compared = Condition(sql, (*compared.values, *field.values))
        return Condition(f"ifnull({compared.sql}, 0)", compared.values)

    def _value(self) -> Value:
        token = self._tokens[self._next]
        self._next += 1
        if token.kind in ("text", "date"):
            return token.text
        if token.kind == "number":
            whole = not re.search(r"[.eE]", token.text) and len(token.text) < 19  # what SQLite holds in an integer
            return int(token.text) if whole else float(token.text)
        if token.kind == "keyword" and token.text in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[token.text]
        self._next -= 1
        quotes = f": write it in quotes, '{token.text}'," if token.kind == "name" else ""
        raise self._error(f"a value is expected{quotes}")

    def _take(self, kind: str, text: str | None = None) -> Token | None:
        token = self._tokens[self._next]
        if token.kind != kind or (text is not None and token.text != text):
            return None
        self._next += 1
        return token

    def _expect(self, kind: str, text: str) -> None:
        if not self._take(kind, text):
            raise self._error(f"`{text}` is expected")

    def expect_end(self) -> None:
        if self._tokens[self._next].kind != "end":
            raise self._error("`and`, `or` or the end is expected")

    def _error(self, what: str) -> BadFilter:
        return BadFilter(lexer.message(self._where, self._tokens[self._next].at, what))
