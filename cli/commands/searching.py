"""`mmr search`: from parsed words to one call of the Retriever; handing.py has what becomes of its answers."""

import itertools
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from cli.commands.handing import Handed, Output, index_again
from cli.commands.judging import Judging
from cli.output import show
from indexes import BadWords, Store
from retrieval import Retriever, find_index
from retrieval.datatypes import Hit
from retrieval.encoders import presets
from retrieval.encoders.protocol import Encoder
from retrieval.errors import BadRequest
from retrieval.images import kinds
from retrieval.indexing import catalog, changes, roots
from retrieval.search import filters, hybrid, query
from retrieval.search.answers import Asked
from retrieval.search.hybrid import By
from retrieval.sources import texts

_TOGETHER = 256  # queries of a file that are asked at once
_MOST = 256 << 20  # bytes of such a file


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What is searched and by what. captions: answer with captions. model: an encoder in place of the index's own.

    update: what is new or changed in its folders is indexed first.
    """

    index_dir: Path | None = None
    model: str | None = None
    device: str = "auto"
    captions: bool = False
    update: bool = False


def run(
    words: Sequence[str], queries: str | None, asked: Asked, place: Place, output: Output,
    judging: Judging | None = None,
) -> int:  # fmt: skip
    """Search and show; the exit code. queries: a file of them, in place of words. judging: files of judgements."""
    if place.captions and asked.by == "words":
        raise BadRequest("captions are found by meaning: leave out --words-only, or --captions")
    if queries and words:
        raise BadRequest("a query and --queries are two: give one of them")
    judging = judging or Judging()
    words, asked = judging.begun(words, asked, bool(queries))
    given = list(_asked(words, queries, asked))
    if queries:
        judging.begun_each([one for _, one in given])
    if hint := "" if queries else query.signs_inside(words):
        show.note(hint)
    output.check(many=bool(queries))
    path = place.index_dir or find_index()
    if place.update:
        _update(path, place)
    given_encoder, asleep = _given(place.model, place.device), asked.by == "words"
    with Retriever.open(path, given_encoder, place.device, asleep=asleep) as retriever:
        asked = judging.over(retriever.store, asked)
        handed = Handed(output, retriever.store, many=bool(queries))
        requests = zip(given, judging.each(asked, len(given)), strict=True)
        for title, files, found in _answers(retriever, requests, place.captions):
            handed.answer(title, found, files)
        handed.keep()
        judging.keep(retriever.store, words, asked, place.index_dir)
        speaks = not (place.update or output.quiet or queries or output.form != "table")
        handed.say_what_is_left(speaks and _say_what_is_new(retriever.store))
        if handed.found:
            return show.SKIPPED if handed.left else show.OK
        show.note(filters.nothing(retriever.store, asked.where, asked.inside) or _why_none(bool(given), asked))
    return show.NONE


def way(hybrid: bool | None, words_only: bool) -> By | None:
    """What Asked.by is by these options. Raises BadRequest for both."""
    if words_only and hybrid is not None:
        other = "--hybrid" if hybrid else "--no-hybrid"
        raise BadRequest(f"--words-only is by words alone, and {other} is about meaning: give one of them")
    if words_only:
        return "words"
    return None if hybrid is None else "both" if hybrid else "meaning"


def _why_none(queries: bool, asked: Asked) -> str:
    """Where there are items to answer with."""
    if not queries:
        return "there is no query: write one a line into the file of --queries"
    if asked.by == "words":
        return "no item answers by these words: give fewer, or the beginning of one as in retriev*, or no --words-only"
    if asked.min_confidence is not None or asked.min_score is not None:
        return "no good match"
    return "nothing but what was asked with"


def _update(path: Path, place: Place) -> None:
    """Index what is new or changed; an encoder is loaded only where something is."""
    with Store.open(path) as store:
        uri = roots.source(store)
        if uri is None:
            raise BadRequest(f"{path} does not say what it is of: name it, as in `mmr index SOURCE --index {path}`")
        since = changes.count(store, uri)
    if since:
        from cli.commands import indexing

        indexing.refresh(path, uri, place.model, place.device)
    else:
        show.skipped(since.skipped)


def _say_what_is_new(store: Store) -> bool:
    """Say that the folders of the index hold other pictures than it; whether there was anything to say."""
    since = changes.glance(store)
    if since:
        sys.stdout.flush()
        unit = kinds.counted(catalog.kinds(store))
        show.note(f"{unit} since the last indexing: {since}: run `{index_again(store)}`, or search with --update")
    return bool(since)


def _asked(words: Sequence[str], queries: str | None, asked: Asked) -> Iterator[tuple[str, Sequence[str]]]:
    """(title, arguments) of each query. In a file the arguments of a line stand between single spaces."""
    if queries is None:
        asked.parts(words)
        yield " ".join(words) or "what was liked", words
        return
    for number, line in enumerate(_lines(queries), 1):
        if line.strip():
            given = line.strip().split(" ")
            try:
                parts = query.parse(given)
                if asked.by == "words":
                    hybrid.words_alone(parts, asked)
            except (BadRequest, BadWords) as error:
                raise BadRequest(f"line {number} of {queries}: {error}") from error
            yield line.strip(), given


def _lines(file: str) -> list[str]:
    """The lines of a file, or of stdin; what else Unicode ends lines with may stand in a query."""
    if Path(file).suffix.lower() in kinds.ALL:
        alone = shlex.quote(file if Path(file).is_absolute() else f"./{Path(file)}")
        raise BadRequest(f"{file} is a {kinds.kind(Path(file))}, and --queries takes text: mmr search {alone}")
    try:
        with nullcontext(sys.stdin.buffer) if file == "-" else Path(file).open("rb") as opened:
            content = opened.read(_MOST + 1)
    except OSError as error:
        raise BadRequest(f"{file} cannot be read ({error.strerror or error}): check --queries") from error
    if len(content) > _MOST:
        raise BadRequest(f"{file} holds more than {_MOST >> 20} MiB of queries: ask in parts")
    try:
        text = texts.decoded(content)
    except UnicodeError as error:
        raise BadRequest(f"line {texts.line_of(error)} of {file} is no UTF-8: save it as UTF-8") from error
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _answers(
    retriever: Retriever, requests: Iterable[tuple[tuple[str, Sequence[str]], Asked]], captions: bool
) -> Iterator[tuple[str, list[Path], list[Hit]]]:
    """(title, files that it asks with, answers) of each query. Those of which the same is wanted are asked together."""
    for asked, some in itertools.groupby(requests, key=lambda one: one[1]):
        queries = (one for one, _ in some)
        while together := list(itertools.islice(queries, _TOGETHER)):
            given = [words for _, words in together]
            found = (
                [retriever.captions(one, asked, show.note) for one in given]
                if captions
                else retriever.search_many(given, asked, show.note)
            )
            for (title, words), answers in zip(together, found, strict=True):
                yield title, query.files(asked.parts(words)), answers


def _given(model: str | None, device: str) -> Encoder | None:
    """The encoder of that name; None for the index's own."""
    if model is None:
        return None
    presets.require(model)
    from retrieval import load_encoder

    return load_encoder(model, device)
