"""`mmr index`: from parsed words to one call of Retriever.build, and what is shown meanwhile."""

import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from cli import config
from cli.output import show, target
from indexes import NotAnIndex, Store
from retrieval import Retriever
from retrieval.encoders import bulk, default, encoding, presets
from retrieval.errors import BadRequest
from retrieval.indexing import build, prefetch, roots, skipped
from retrieval.indexing.catalog import Identity
from retrieval.indexing.find import FOLDER
from retrieval.indexing.line import Here
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


@dataclass(frozen=True, slots=True)
class _Known:
    """What an index that is there remembers: the name of its encoder, and its source. silent: it does not say which."""

    encoder: str | None = None
    uri: Uri | None = None
    silent: bool = False


def run(
    asked: IndexRequest, index_dir: Path | None, model: str | None, device: str, engine: str,
    recall: float | None, memory: str | None,
) -> int:  # fmt: skip
    """Index and say what was done; the exit code."""
    budget = None if memory is None else _bytes(memory)
    path = index_dir or _place(asked.sources)
    if not (path / "mmr.db").exists():
        target.check_place(path, "--index")
    known = _known(path, model)
    if known.silent and not asked.sources:
        raise BadRequest(f"{path} does not say what it is of: name it, as in `mmr index SOURCE --index {path}`")
    uri = asked.uri(known.uri, whole=model is not None)
    if known.uri and asked.exclude is None and uri.options.exclude:
        show.note(f"left out as before: {', '.join(uri.options.exclude)} (--exclude '' takes everything)")
    if uri.options.urls and not asked.urls:
        show.note("pictures are fetched from their URLs as before (--urls)")
    bare = not (model or recall or budget or asked.only or asked.readmit)
    if bare and known.uri and (same := build.unchanged(uri, path)):
        _remark(uri, same)
        show.out(_told(path, same.unchanged, same))
        return show.OK
    name = model or known.encoder or config.value("model") or default.choose(show.note)
    told, report = _build(
        uri, path, name, device, engine, recall=recall, memory=budget, only=asked.only,
        another_encoder=model is not None, readmit=asked.readmit,
    )  # fmt: skip
    show.out(told)
    return show.SKIPPED if report.skipped else show.OK


def refresh(path: Path, uri: Uri, model: str | None, device: str) -> None:
    """Bring the index of these folders up to date before a search, and say on stderr what was done.

    model: where its encoder is, if that is not where it was.
    """
    with Store.open(path) as store:
        name = model or Identity.required(store).where(path)
    show.note(_build(uri, path, name, device, config.value("engine"))[0])


def _build(
    uri: Uri, path: Path, name: str, device: str, engine: str, **how: Any
) -> tuple[str, IndexReport]:  # fmt: skip
    """Index with the encoder of that name; how: as Retriever.build has it. A line on what was done, and the report."""

    def are_few() -> bool:
        return sum(1 for _ in islice(prefetch.new_items(uri, path), bulk.FEW)) < bulk.FEW

    presets.require(name)
    with prefetch.of_index(uri, path, name, encoding.prepare) as prepared:
        # torch, where it is needed, takes seconds, in which the first pictures are decoded
        encoder = bulk.load_for_bulk(name, device, show.note, engine, are_few)
        prepared.expect(encoder.preprocess)
    with show.Meter("indexing", "pictures") as meter:
        retriever, report = Retriever.build(
            uri, path, encoder, device, meter, on_message=meter.say, line=Here(encoder, prepared), **how
        )
    with retriever:
        show.skipped(report.skipped, skipped.write(path, report.skipped, report.starts))
        _remark(uri, report)
        return _told(path, len(retriever.store), report), report


def _remark(uri: Uri, report: IndexReport) -> None:
    """What a person should know beside the numbers, on stderr."""
    if report.unseen:
        show.note(f"{report.unseen} stay that cannot be looked at now: --gone lets go of them")
    if report.left_out:
        show.note(f"{report.left_out} left out that were removed: --readmit takes them again")
    if links := len(uri.options.links):
        show.note(f"{links} linked folder{'s' * (links > 1)} left out: --follow takes what is in them")


def _told(path: Path, pictures: int, report: IndexReport) -> str:
    renewed = f"{report.renewed} renewed, " if report.renewed else ""  # other words of the same pictures: seldom any
    unseen = f"{report.unseen} kept unseen, " if report.unseen else ""
    return (
        f"{path}: {pictures} pictures ({report.added} new, {report.changed} changed, {renewed}"
        f"{report.moved} moved, {report.removed} removed, {report.unchanged} as before, {unseen}"
        f"{len(report.skipped or ())} skipped)"
    )


def _bytes(size: str) -> float:
    """ "500M" or "4G" as bytes."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([KMGT]?)i?B?", size.strip(), re.IGNORECASE)
    if not match:
        raise BadRequest(f"--memory {size} is no size: write --memory 500M or --memory 4G")
    return float(match[1]) * 1024 ** " KMGT".index(match[2].upper() or " ")


def _place(sources: tuple[str, ...]) -> Path:
    """Where the index of a source is, if nothing is said."""
    if not sources:
        return Path(FOLDER)
    uri = parse_uri(sources)
    if uri.roots or len({Path(file).parent for file in uri.files}) > 1:
        raise BadRequest(f"{uri.text} are several folders: say where their index is, with --index photos.mmr")
    return (uri.root or Path()) / FOLDER


def _known(path: Path, model: str | None) -> _Known:
    """What an index remembers, if it is there already; its encoder only where `model` is not asked for."""
    if not (path / "mmr.db").exists():
        return _Known()
    try:
        with Store.open(path) as store:
            uri = roots.source(store)
            return _Known(model or Identity.required(store).where(path), uri, silent=uri is None)
    except NotAnIndex:
        return _Known()  # Retriever.build says what is wrong
