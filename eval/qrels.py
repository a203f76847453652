"""Judged relevance from a file in TREC's form: `query 0 picture grade` a line.

A query is the number of its caption in the source, from 1, or what its column `qid` says; a picture is its uri. A grade
of 0 and less is not relevant.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from eval.ranking import Right
from retrieval.datatypes import Item, Pair
from retrieval.errors import BadRequest

QID = "qid"


def read(
    path: Path, pairs: Sequence[Pair], items: Sequence[Item], every: Sequence[Pair] | None = None
) -> tuple[Right, list[str]]:  # fmt: skip
    """What answers what, by the numbers of captions and pictures; and a line on what names none of them.

    every: the pairs of the source, where some pictures cannot be read: captions are numbered as they stand there.
    Raises BadRequest where the file cannot be read, a line is none, a `qid` is of several captions, or nothing in it is
    of these pairs.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(
            f"--qrels {path} cannot be read ({error}): give a text file of `query 0 picture grade`"
        ) from None
    queries = _named(pairs, every or pairs)
    pictures = {item.uri: number for number, item in enumerate(items)}
    query, item, grades, unknown = [], [], [], 0
    seen: dict[tuple[str, str], float] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        asked, picture, grade = _line(path, number, line)
        if seen.setdefault((asked, picture), grade) != grade:
            raise BadRequest(f"{path}, line {number}: {picture} has two grades for query {asked}: leave one of them")
    for (asked, picture), grade in seen.items():
        if asked not in queries or picture not in pictures:
            unknown += 1
        elif grade > 0:
            query.append(queries[asked])
            item.append(pictures[picture])
            grades.append(grade)
    if not query and unknown < len(seen):
        raise BadRequest(f"no line of {path} has a grade above 0: nothing is relevant, so nothing can be found")
    if not query:
        raise BadRequest(
            f"nothing in {path} is of these pairs: a query is the number of a caption from 1, or its `{QID}`; a "
            "picture is its uri"
        )
    notes = [f"{unknown} lines of {path} name a query or a picture that is not here"] if unknown else []
    return Right.of(query, item, grades), notes


def _named(pairs: Sequence[Pair], every: Sequence[Pair]) -> dict[str, int]:
    """The place of each caption among `pairs`, by its name: its `qid`, or its number in the source."""
    numbers = {id(pair): number for number, pair in enumerate(every, 1)}
    named: dict[str, int] = {}
    for place, pair in enumerate(pairs):
        said = pair.meta.get(QID)
        name = str(numbers.get(id(pair), place + 1) if said is None else said)
        if name in named:
            raise BadRequest(f"several captions have the {QID} {name}: give each a name of its own")
        named[name] = place
    return named


def _line(path: Path, number: int, line: str) -> tuple[str, str, float]:
    """Names may have spaces: the first two words and the last are what they are, all between is the picture."""
    parts = line.split(maxsplit=2)
    try:
        picture, said = parts[2].rsplit(maxsplit=1)
        if not math.isfinite(grade := float(said)):
            raise ValueError(said)
        return parts[0], picture, grade
    except (IndexError, ValueError):
        raise BadRequest(f"{path}, line {number} is not `query 0 picture grade`: mend it") from None
