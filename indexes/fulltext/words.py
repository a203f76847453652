"""Words: what a person looks for by words, and the expression of SQLite's FTS5 that finds it.

    golden retriever      either word; more of them and rarer ones first (BM25)
    golden -retriever     and not that one
    "golden retriever"    must stand there, one behind the other
    retriev*              whatever begins so; "golden retr"* a phrase whose last word does

Neither case nor accents count, and English endings do not (Porter): `dogs` finds `dog`. In scripts without spaces,
each pair of neighboring letters is looked for, as Lucene does. Nothing that was typed is read as FTS5's own syntax.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

from indexes.errors import BadWords
from indexes.fulltext.texts import UNSPACED, ready

_SIGNS_BEFORE = re.compile(r"^[^\w\u2190-\u2bff\U0001f000-\U0001faff]+")
_SIGNS_BEHIND = "*.,;:!?)]}'\u2019\u00bb\u201d"
_OWNER = re.compile(r"['\u2019]s?$")
_MOST, _MOST_PREFIXES = 200, 8  # words of a query; of them beginnings, each of which gathers many
_LEAST = 2  # letters of a beginning
_WRITTEN = re.compile(r'"(?P<phrase>[^"]*)"(?P<begun>\*?)|(?P<word>[^\s"]+)|(?P<open>")')
# Lucene's English stop words, and what pictures are called: of no use beside others.
_STOP = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was will with photo photograph picture image".split()
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
    def shown(self) -> str:
        """It as it was typed."""
        return " ".join(self.text.split()) + ("*" if self.prefix else "")

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
        without: What an answer must not have: all words of any of these.

    Examples:
        >>> Words.parse('a "golden retriever" swim*').expression
        '("golden retriever") AND ("golden retriever" OR "swim" *)'
    """

    typed: str
    terms: tuple[Term, ...]
    without: tuple[tuple[Term, ...], ...] = ()

    @classmethod
    def parse(cls, text: str, without: Sequence[str] = (), *, strict: bool = True) -> "Words":
        """Read what a person typed.

        Args:
            text: What is looked for.
            without: What must not be there, in the same way; all words of one of these rule a record out.
            strict: A mark that makes no sense is an error; else it is passed over, as in a question that was not meant
                to be read so.

        Returns:
            The query.

        Raises:
            BadWords: There is no word in it; or a mark makes no sense.
        """
        found, taken = _terms(text, strict)
        for said in without:
            more, apart = _terms(said, strict)
            taken += [*apart, *([tuple(_useful(more))] if more else [])]
        terms = _useful(_once(found))
        if not strict:
            terms = _spared(terms[:_MOST])
        if not terms and taken:
            raise BadWords(
                'only what must not be there is said: give words that are looked for too, as in "dog -beach"'
            )
        if not terms:
            raise BadWords(f"there is no word in {text!r} to look for: give some, as in golden retriever")
        if len(terms) > _MOST:
            raise BadWords(f"{len(terms)} words are more than the {_MOST} that are looked for at once: give fewer")
        if sum(term.prefix for term in (*terms, *chain.from_iterable(taken))) > _MOST_PREFIXES:
            raise BadWords(f"more than {_MOST_PREFIXES} words end in a star: write some of them out")
        return cls(text, tuple(terms), tuple(taken[:_MOST]))

    @property
    def expression(self) -> str:
        """It as FTS5 reads it."""
        must = [term for term in self.terms if term.must]
        found = _any(self.terms)
        if must:
            needed = " AND ".join(f"({term.expression})" for term in must)
            found = needed if len(must) == len(self.terms) else f"{needed} AND {found}"
        taken = " OR ".join(f"({' AND '.join(term.expression for term in terms)})" for terms in self.without)
        return f"({found}) NOT ({taken})" if self.without else found

    def groups(self, found: "tuple[Term, ...]") -> list[tuple[Term, ...]]:
        """Some of its terms, those together that stand side by side in what was typed."""
        groups: list[list[Term]] = []
        for term in sorted(found, key=lambda one: one.start):
            if groups and not self.typed[groups[-1][-1].end : term.start].strip():
                groups[-1].append(term)
            else:
                groups.append([term])
        return [tuple(group) for group in groups]

    def together(self, group: tuple[Term, ...]) -> Term:
        """Neighbors as one phrase."""
        start, end = group[0].start, max(term.end for term in group)
        return Term(self.typed[start:end], start, end, prefix=group[-1].prefix)


def _any(terms: "tuple[Term, ...]") -> str:
    return "(" + " OR ".join(term.expression for term in terms) + ")"


def _once(terms: list[Term]) -> list[Term]:
    """Without those that were there before: a word counts once, however often it is asked for."""
    first: dict[tuple[str, bool, bool], Term] = {}
    for term in terms:
        first.setdefault((ready(term.text).lower(), term.prefix, term.must), term)
    return list(first.values())


def _spared(terms: list[Term]) -> list[Term]:
    """Where too many are beginnings, all as words."""
    too_many = sum(term.prefix for term in terms) > _MOST_PREFIXES
    return [replace(term, prefix=False) for term in terms] if too_many else terms


def _useful(terms: list[Term]) -> list[Term]:
    """Without stop words, where others are left."""
    return [term for term in terms if term.must or term.prefix or term.text.lower() not in _STOP] or terms


def _terms(text: str, strict: bool) -> tuple[list[Term], list[tuple[Term, ...]]]:
    """What is looked for in a text, and what is not to be there: a word behind a minus."""
    found: list[Term] = []
    taken: list[tuple[Term, ...]] = []
    for match in _WRITTEN.finditer(text):
        if match["phrase"] is not None:
            found += _of_phrase(match["phrase"], match.start("phrase"), bool(match["begun"]), strict)
        elif match["word"]:
            terms = _of_word(match["word"], match.start(), strict)
            if match["word"].startswith("-") and terms and (strict or found):
                taken.append(tuple(terms))
            else:
                found += terms
        elif strict:
            raise BadWords(
                f"a quotation mark in {text!r} is not closed: write '\"golden retriever\"', or leave the mark out"
            )
    return found, taken


def _of_phrase(phrase: str, start: int, begun: bool, strict: bool) -> list[Term]:
    """The term of what stands between quotation marks; begun: its last word is a beginning."""
    words = phrase.rstrip("*").split() if begun or phrase.endswith("*") else []
    if not _is_word(phrase):
        return []
    if words and strict:
        _check_beginning(words[-1], f"{words[-1]}*")
    prefix = bool(words) and len(words[-1]) >= _LEAST
    return [Term(phrase.rstrip("*"), start, start + len(phrase.rstrip("*")), prefix, must=True)]


def _check_beginning(bare: str, written: str) -> None:
    if len(bare) < _LEAST and not UNSPACED.search(bare):
        raise BadWords(f"{written!r} has fewer than {_LEAST} letters before the star: write, say, retriev*")


def _of_word(word: str, start: int, strict: bool) -> list[Term]:
    """The terms of what stands between two spaces, without signs around it, and whose it is (dog's)."""
    bare = _OWNER.sub("", _SIGNS_BEFORE.sub("", word).rstrip(_SIGNS_BEHIND))
    start += word.find(bare) if bare else 0
    prefix = word.endswith("*") and bool(bare)
    plain = bare or word
    if strict and word.endswith("*"):
        _check_beginning(bare, word)
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
