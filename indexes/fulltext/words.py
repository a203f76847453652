"""Words: what a person looks for by words, and the expression of SQLite's FTS5 that finds it.

    golden retriever      either word, those with both first (BM25)
    "golden retriever"    must stand there, one behind the other
    retriev*              whatever begins so

Neither case nor accents count, and English endings do not (Porter): `dogs` finds `dog`. In scripts without spaces,
each pair of neighboring letters is looked for, as Lucene does. Nothing that was typed is read as FTS5's own syntax.
"""

import re
import unicodedata
from dataclasses import dataclass

from indexes.errors import BadWords
from indexes.fulltext.texts import UNSPACED, ready

_MOST, _MOST_PREFIXES = 200, 8  # words of a query; of them beginnings, each of which gathers many
_LEAST = 2  # letters of a beginning
_WRITTEN = re.compile(r'"(?P<phrase>[^"]*)"|(?P<word>[^\s"]+)|(?P<open>")')
# Lucene's English stop words: of no use beside others, and in most captions.
_STOP = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with".split()
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Term:
    """One thing that is looked for. text: its words; start, end: where they stand in what was typed.

    prefix: words that begin so. must: without it, a record is no answer.
    """

    text: str
    start: int
    end: int
    prefix: bool = False
    must: bool = False

    @property
    def expression(self) -> str:
        """It as FTS5 reads it: a phrase, its words one behind the other."""
        return '"' + ready(self.text).replace('"', '""') + '"' + (" *" if self.prefix else "")


@dataclass(frozen=True, slots=True)
class Words:
    """A query by words.

    Attributes:
        typed: What the terms are of.
        terms: What is looked for; at least one.
        without: What an answer must not have.

    Examples:
        >>> Words.parse('a "golden retriever" swim*').expression
        '("golden retriever") AND ("golden retriever" OR "swim" *)'
    """

    typed: str
    terms: tuple[Term, ...]
    without: tuple[Term, ...] = ()

    @classmethod
    def parse(cls, text: str, without: str = "", *, strict: bool = True) -> "Words":
        """Read what a person typed.

        Args:
            text: What is looked for.
            without: What must not be there, in the same way; any of it rules a record out.
            strict: A mark that makes no sense is an error; else it is passed over, as in a question that was not meant
                to be read so.

        Returns:
            The query.

        Raises:
            BadWords: There is no word in it; or a mark makes no sense.
        """
        terms = _useful(_terms(text, strict))
        if not terms:
            raise BadWords(
                f'there is no word in {text!r} to look for: give some, as in --words-only "golden retriever"'
            )
        if len(terms) > _MOST:
            raise BadWords(f"{len(terms)} words are more than the {_MOST} that are looked for at once: give fewer")
        if sum(term.prefix for term in terms) > _MOST_PREFIXES:
            raise BadWords(f"more than {_MOST_PREFIXES} words end in a star: write some of them out")
        return cls(text, tuple(terms), tuple(term for term in _terms(without, strict) if not term.prefix)[:_MOST])

    @property
    def expression(self) -> str:
        """It as FTS5 reads it."""
        must = [term for term in self.terms if term.must]
        found = _any(self.terms)
        if must:
            needed = " AND ".join(f"({term.expression})" for term in must)
            found = needed if len(must) == len(self.terms) else f"{needed} AND {found}"
        return f"({found}) NOT {_any(self.without)}" if self.without else found

    def shown(self, found: "tuple[Term, ...]") -> tuple[str, ...]:
        """Some of its terms as they were typed, neighbors together: ("golden retriever", "dog")."""
        spans: list[tuple[int, int]] = []
        for term in sorted(found, key=lambda one: one.start):
            if spans and not self.typed[spans[-1][1] : term.start].strip(' "*'):
                spans[-1] = spans[-1][0], max(spans[-1][1], term.end)
            else:
                spans.append((term.start, term.end))
        return tuple(" ".join(self.typed[start:end].replace('"', "").split()) for start, end in spans)


def _any(terms: "tuple[Term, ...]") -> str:
    return "(" + " OR ".join(term.expression for term in terms) + ")"


def _useful(terms: list[Term]) -> list[Term]:
    """Without stop words, where others are left."""
    return [term for term in terms if term.must or term.prefix or term.text.lower() not in _STOP] or terms


def _terms(text: str, strict: bool) -> list[Term]:
    found: list[Term] = []
    for match in _WRITTEN.finditer(text):
        if match["phrase"] is not None:
            found += [Term(match["phrase"], *match.span("phrase"), must=True)] if _is_word(match["phrase"]) else []
        elif match["word"]:
            found += _of_word(match["word"], match.start(), strict)
        elif strict:
            raise BadWords(
                f"a quotation mark in {text!r} is not closed: write '\"golden retriever\"', or leave the mark out"
            )
    return found


def _of_word(word: str, start: int, strict: bool) -> list[Term]:
    """The terms of what stands between two spaces."""
    plain = word.rstrip("*")
    prefix = len(plain) < len(word)
    if strict and prefix and len(plain) < _LEAST and not UNSPACED.search(plain):
        raise BadWords(f"{word!r} has fewer than {_LEAST} letters before the star: write, say, retriev*")
    prefix = prefix and len(plain) >= _LEAST
    spans = _unspaced(plain)
    if not spans:
        return [Term(plain, start, start + len(plain), prefix)] if _is_word(plain) else []
    return [Term(plain[first:end], start + first, start + end) for first, end in spans if _is_word(plain[first:end])]


def _unspaced(word: str) -> list[tuple[int, int]]:
    """Where its pairs of letters of unspaced scripts stand, and what lies between those; none where it has no such."""
    letters = [match.span() for match in UNSPACED.finditer(word)]
    if not letters:
        return []
    spans, last = [], 0
    for number, (start, end) in enumerate(letters):
        follows = number + 1 < len(letters) and letters[number + 1][0] == end
        after = number > 0 and letters[number - 1][1] == start
        if start > last:
            spans.append((last, start))
        if follows:
            spans.append((start, letters[number + 1][1]))
        elif not after:
            spans.append((start, end))
        last = end
    return [*spans, (last, len(word))] if last < len(word) else spans


def _is_word(text: str) -> bool:
    """Does SQLite's tokenizer find a word in it?"""
    return any(unicodedata.category(letter)[0] in "LN" or unicodedata.category(letter) == "So" for letter in text)
