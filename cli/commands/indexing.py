"""`mmr index`: from parsed words to one call of Retriever.build, and what is shown meanwhile."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from cli import config
from cli.output import show, target
from indexes import NotAnIndex, Store
from indexes.sharded.opening import are_shards
from retrieval import Retriever
from retrieval.encoders import bulk, default, encoding, presets
from retrieval.encoders.protocol import Encoder
from retrieval.errors import BadRequest
from retrieval.images import kinds, load
from retrieval.indexing import build, catalog, prefetch, roots, skipped
from retrieval.indexing.catalog import Identity
from retrieval.indexing.find import FOLDER
from retrieval.indexing.line import Here, Line
from retrieval.indexing.update import IndexReport
from retrieval.sources.registry import Options, parse_uri
from retrieval.sources.uri import Uri


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRequest:
    """What is to be indexed. None, and no sources: what the index remembers."""

    sources: tuple[str, ...] = ()
    only: bool = False
    exclude: list[str] | None = None
    include_hidden: bool | None = None
    follow: bool | None = None
    let_go: bool = False
    readmit: bool = False
    urls: bool = False
    local_urls: bool = False
    ocr: bool | None = None

    def uri(self, recorded: Uri | None, whole: bool) -> Uri:
        """The source. recorded: what the index that is there is of, as far as it says. Raises BadRequest.

        whole: of an index of several folders all are meant.
        """
        before = recorded.options if recorded else Options()
        exclude = before.exclude if self.exclude is None else tuple(glob for glob in self.exclude if glob.strip())
        hidden = before.include_hidden if self.include_hidden is None else self.include_hidden
        follow = before.follow if self.follow is None else self.follow
        urls = self.urls or (before.urls and not self.sources)  # to name a source is to say anew what it may do
        options = Options(exclude, hidden, urls, self.local_urls, follow, self.let_go)
        uri = parse_uri(self.sources or recorded or ".", options)
        return uri if self.only else roots.seen_from(recorded, uri, whole)


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How it is done. ray: the address of a cluster. recall, memory: of approximate search; None: as the index has.

    ocr: the text in pictures is read.
    """

    device: str = "auto"
    engine: str = "auto"
    ray: str | None = None
    recall: float | None = None
    memory: str | None = None
    ocr: bool = False

    @property
    def budget(self) -> float | None:
        """`memory` in bytes. Raises BadRequest."""
        return None if self.memory is None else _bytes(self.memory)


@dataclass(frozen=True, slots=True)
class Known:
    """What an index that is there remembers: the name of its encoder, and its source. silent: it does not say which.

    ocr: the text in its pictures is read. unit: what its items are called where they are counted.
    """

    encoder: str | None = None
    uri: Uri | None = None
    silent: bool = False
    ocr: bool = False
    unit: str = "pictures"


def run(asked: IndexRequest, index_dir: Path | None, model: str | None, how: How) -> int:
    """Index and say what was done; the exit code."""
    budget = how.budget
    path = index_dir or place_of(asked.sources)
    if are_shards(path):
        raise BadRequest(
            f"{path} is shards: index one of them, or what they were split from (`mmr shards show {path}`)"
        )
    if not (path / "mmr.db").exists():
        target.check_place(path, "--index")
    before = known(path, model)
    if before.silent and not asked.sources:
        raise unsaid(path)
    uri = asked.uri(before.uri, whole=model is not None)
    if before.uri and asked.exclude is None and uri.options.exclude:
        show.note(f"left out as before: {', '.join(uri.options.exclude)} (--exclude '' takes everything)")
    if uri.options.urls and not asked.urls:
        show.note("pictures are fetched from their URLs as before (--urls)")
    how = replace(how, ocr=before.ocr if asked.ocr is None else asked.ocr)
    if how.ocr:
        load.require_reader()
    bare = how.ocr == before.ocr and not (model or how.recall or budget or asked.only or asked.readmit)
    if bare and before.uri and (same := build.unchanged(uri, path)):
        _remark(uri, same)
        show.out(_told(path, same.unchanged, same, before.unit))
        return show.OK
    name = model or before.encoder or config.value("model") or default.choose(show.note)
    line, report = _build(
        uri, path, name, how, recall=how.recall, memory=budget, only=asked.only,
        another_encoder=model is not None, readmit=asked.readmit,
        ocr=asked.ocr,
    )  # fmt: skip
    show.out(line)
    if report.listed and not report.held:
        show.note(f"nothing in it can be found: mend what {path / skipped.FILE} lists, then mmr index --index {path}")
    return show.SKIPPED if report.listed else show.OK


def refresh(path: Path, uri: Uri, model: str | None, device: str) -> None:
    """Bring the index of these folders up to date before a search, and say on stderr what was done.

    model: where its encoder is, if that is not where it was.
    """
    with Store.open(path) as store:
        name = model or Identity.required(store).where(path)
    show.note(_build(uri, path, name, How(device=device, engine=config.value("engine")))[0])


def _build(uri: Uri, path: Path, name: str, how: How, **wanted: Any) -> tuple[str, IndexReport]:
    """Index with that encoder; a line on what was done, and the report. wanted: as Retriever.build takes it."""
    presets.require(name)
    with (_here if how.ray is None else _everywhere)(uri, path, name, how) as (encoder, line, uri):
        unit = kinds.counted(encoder.preprocess.kinds)
        with show.Meter("indexing", unit) as meter:
            retriever, report = Retriever.build(
                uri, path, encoder, how.device, meter, on_message=meter.say, line=line, **wanted
            )
        with retriever:
            show.skipped(report.listed, skipped.write(path, report.listed, report.starts))
            _remark(uri, report)
            return _told(path, len(retriever.store), report, unit), report


@contextmanager
def _here(uri: Uri, path: Path, name: str, how: How) -> Iterator[tuple[Encoder, Line, Uri]]:
    """The encoder, the line of this process, with what was decoded while the encoder was loaded, and the source."""
    with prefetch.of_index(uri, path, name, encoding.prepare) as prepared:
        # torch, where it is needed, takes seconds, in which the first pictures are decoded
        encoder = bulk.load_for_bulk(name, how.device, show.note, how.engine, lambda: _are_few(uri, path))
        prepared.expect(encoder.preprocess)
        yield encoder, Here(encoder, prepared), uri


@contextmanager
def _everywhere(uri: Uri, path: Path, name: str, how: How) -> Iterator[tuple[Encoder, Line, Uri]]:
    """The encoder, here for the words that the index is tuned on, the line of many machines, and the source to them."""
    from retrieval.cluster.indexing import machines_of

    with machines_of(how.ray or "", how.device, show.note) as machines:
        encoder = bulk.load_for_bulk(name, "cpu", show.note, how.engine)
        line = machines.line(encoder, how.engine, uri, prefetch.new_items(uri, path), how.ocr)
        yield encoder, line, machines.reading(uri)


def _are_few(uri: Uri, path: Path) -> bool:
    return sum(1 for _ in islice(prefetch.new_items(uri, path), bulk.FEW)) < bulk.FEW


def _remark(uri: Uri, report: IndexReport) -> None:
    """What a person should know beside the numbers, on stderr."""
    if report.unseen:
        show.note(f"{report.unseen} stay that cannot be looked at now: --gone lets go of them")
    if report.left_out:
        show.note(f"{report.left_out} left out that were removed: --readmit takes them again")
    if links := len(uri.options.links):
        show.note(f"{links} linked folder{'s' * (links > 1)} left out: --follow takes what is in them")


def _told(path: Path, count: int, report: IndexReport, unit: str = "pictures") -> str:
    renewed = f"{report.renewed} renewed, " if report.renewed else ""  # other words of the same items: seldom any
    read = f"{report.read} read, " if report.read else ""  # those that it had without the text in them
    unread = f", {len(report.unread)} unread" if report.unread else ""
    unseen = f"{report.unseen} kept unseen, " if report.unseen else ""
    return (
        f"{path}: {count} {unit} ({report.added} new, {report.changed} changed, {renewed}{read}"
        f"{report.moved} moved, {report.removed} removed, {report.unchanged} as before, {unseen}"
        f"{len(report.skipped or ())} skipped{unread})"
    )


def _bytes(size: str) -> float:
    """ "500M" or "4G" as bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMGT]?)i?B?", size.strip(), re.IGNORECASE)
    if not match:
        raise BadRequest(f"--memory {size} is no size: write --memory 500M or --memory 4G")
    return float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " ")


def place_of(sources: tuple[str, ...]) -> Path:
    """Where the index of a source is, if nothing is said."""
    if not sources:
        return Path(FOLDER)
    uri = parse_uri(sources)
    if uri.roots or len({Path(file).parent for file in uri.files}) > 1:
        raise BadRequest(f"{uri.text} are several folders: say where their index is, with --index photos.mmr")
    return (uri.root or Path()) / FOLDER


def unsaid(path: Path) -> BadRequest:
    """The error of an index that is to be renewed and does not say what it is of."""
    return BadRequest(f"{path} does not say what it is of: name it, as in `mmr index SOURCE --index {path}`")


def known(path: Path, model: str | None) -> Known:
    """What an index remembers, if it is there already; its encoder only where `model` is not asked for."""
    if not (path / "mmr.db").exists():
        return Known()
    try:
        with Store.open(path) as store:
            uri = roots.source(store)
            name = model or Identity.required(store).where(path)
            unit = kinds.counted(catalog.kinds(store))
            return Known(name, uri, silent=uri is None, ocr=catalog.reads_text(store), unit=unit)
    except NotAnIndex:
        return Known()  # Retriever.build says what is wrong
