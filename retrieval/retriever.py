"""Retriever: an encoder and a store. `build` makes one, `open` opens one, `search` answers."""

import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from indexes import NotAnIndex, Store, WrongEncoder
from retrieval import answers, approximate, pipeline, rebuilding, roots, runtime, selection
from retrieval.ahead import Ahead
from retrieval.answers import Asked
from retrieval.datatypes import Hit, Item
from retrieval.errors import MissingModel
from retrieval.pipeline import IndexReport
from retrieval.sources import Uri, open_items, parse_uri

FOLDER = ".mmr"


def find_index(start: Path | str = ".") -> Path:
    """The `.mmr` of this folder or of the nearest parent that has one, like git. Raises NotAnIndex."""
    start = Path(start).absolute()
    for folder in (start, *start.parents):
        if (folder / FOLDER).is_dir():
            return folder / FOLDER
    raise NotAnIndex(f"no {FOLDER} in {start} or its parents: make one with `mmr index`, or give --index")


class Retriever:
    """Answers words and pictures from an index. encoder: anything with encode_images, encode_texts, fingerprint."""

    def __init__(self, store: Store, encoder, device: str = "cpu") -> None:  # noqa: ANN001
        self.store, self.encoder, self.device = store, encoder, device
        self._captions: answers.Captions | None = None
        recorded = store.manifest["encoder"]
        if recorded["fingerprint"] is None:  # as it was imported
            recorded = _adopted(store, encoder)
        if recorded["fingerprint"] != encoder.fingerprint:
            name = encoder.name or "this encoder"
            store.close()
            raise WrongEncoder(
                f"{store.path} was made with encoder {recorded['name']} ({recorded['fingerprint']}), and {name} is "
                f"{encoder.fingerprint}: give --model {recorded['name']}, or encode all again with "
                f"`mmr index --model {name}`"
            )

    @classmethod
    def build(
        cls, source: str | Sequence[str] | Uri, path: Path | str, encoder, device: str = "cpu",  # noqa: ANN001
        on_progress: Callable[[int, int], None] = lambda done, total: None, *, recall: float | None = None,
        memory: float | None = None, on_message: Callable[[str], None] = lambda text: None, ahead: Ahead | None = None,
        only: bool = False, another_encoder: bool = False,
    ) -> "tuple[Retriever, IndexReport]":  # fmt: skip
        """Make the index at `path` hold exactly the pictures of `source`, doing only what is not done yet.

        source: also several folders; some of those of the index leave the pictures of the others as they are. recall:
        of approximate search on text, memory: the bytes it may take (approximate.py). ahead: what was decoded while the
        encoder was loaded. only: the folders of the index that are not named are let go of. another_encoder: an index
        of another encoder is encoded again (rebuilding.py).
        Raises BadRequest for a source that cannot be read or another source than the index has, StoreError for an index
        that cannot be written or has another encoder. Nothing is changed then.
        """
        path, started = Path(path), time.time()
        uri = parse_uri(source)
        if not only:
            uri = roots.seen_from(roots.known(path), uri, whole=another_encoder)
        items = _first_now(open_items(uri))  # a bad source is answered before anything is written
        store = _open_or_create(path, uri, encoder)
        try:
            roots.check(store, uri, only)
            asked_before = (store.derived.recorded or {}).get("asked")
            if another_encoder and rebuilding.is_other(store, encoder):
                on_message(rebuilding.announcement(store, encoder))
                report = rebuilding.rebuild(store, items, encoder, roots.described(uri, path), on_progress, ahead)
                retriever = cls(store, encoder, device)
            else:
                retriever = cls(store, encoder, device)
                if left := rebuilding.tidy(store):
                    on_message(left)
                starts = roots.settle(store, uri, only)
                report = pipeline.update(store, items, encoder, on_progress, ahead, starts)
            if report.starts == pipeline.EVERYTHING:
                store.set_manifest(walked=started)
            if store.derived.recorded is None:  # its rows were written anew
                recall = recall or asked_before
            approximate.keep(store, encoder, recall, memory, on_message, _search_device(device))
            if hasattr(encoder, "export"):
                encoder.export()  # so that the first query need not
            return retriever, report
        except BaseException:
            store.close()
            raise

    @classmethod
    def open(
        cls, path: Path | str, encoder=None, device: str = "cpu",  # noqa: ANN001
    ) -> "Retriever":  # fmt: skip
        """Open an index with the encoder it remembers, or with the one given. Raises StoreError, MissingModel.

        Where the encoder was exported (runtime.py), torch is not imported until a picture is asked with.
        """
        store = Store.open(path)
        try:
            return cls(store, encoder or _remembered(store, device), device)
        except BaseException:
            store.close()
            raise

    def search(
        self, asked: str | Sequence[str], k: int = 10, where: str | None = None, exact: bool = False,
        **limits: Any,  # noqa: ANN401 - the other fields of Asked
    ) -> list[Hit]:  # fmt: skip
        """The k items nearest to words, a picture, an item, or a sum of them; fewer where the index holds fewer.

        asked: one text, or arguments among which + and - stand alone (query.py). The pictures and items of a query are
        not answers to it. where, exact and limits: as the fields of answers.Asked say. Raises BadRequest, BadFilter.
        """
        return self.search_many([asked], Asked(k=k, where=where, exact=exact, **limits))[0]

    def search_many(self, queries: Sequence[str | Sequence[str]], asked: Asked | None = None) -> list[list[Hit]]:
        """The answers to each query, as `search` gives them. All their texts are encoded in one call."""
        return answers.items(self.store, self.encoder, _search_device(self.device), queries, asked or Asked())

    def captions(self, query: str | Sequence[str], asked: Asked | None = None) -> list[Hit]:
        """The captions nearest to a query, each once, with an item that has it: what words belong to a picture.

        The first call for a filter encodes all distinct captions of the index; they are kept in memory until the next
        filter. Raises BadRequest, BadFilter.
        """
        asked = asked or Asked()
        condition = selection.condition(self.store, asked.where, asked.inside)
        if self._captions is None or self._captions.condition != condition:
            self._captions = answers.Captions.of(self.store, self.encoder, condition)
        return answers.captions(self.store, self.encoder, self._captions, query, asked)

    def close(self) -> None:
        """Let go of the index."""
        self.store.close()

    def __enter__(self) -> "Retriever":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _search_device(device: str) -> str:
    """ "auto" is the GPU only where torch is in use already: finding out must not cost more than the search."""
    torch = sys.modules.get("torch")
    on_gpu = device == "cuda" or (device == "auto" and torch is not None and torch.cuda.is_available())
    return "cuda" if on_gpu else "cpu"


def encoder_of(store: Store) -> str:
    """The name by which the index's encoder is loaded here: a run folder is found where it lies from the index."""
    recorded = store.manifest["encoder"]
    if recorded.get("folder"):
        folder = os.path.normpath(store.path.absolute().parent / recorded["folder"])
        if not Path(folder).is_dir() and not Path(recorded["name"]).is_dir():
            raise MissingModel(
                f"the encoder of this index was {folder}, which is gone: say where it is with --model RUN"
            )
        return folder if Path(folder).is_dir() else recorded["name"]
    return recorded["name"]


def _remembered(store: Store, device: str):  # noqa: ANN202 - a QueryEncoder or a DualEncoder
    def load():  # noqa: ANN202
        from retrieval.encoder import load_encoder

        return load_encoder(encoder_of(store), device)

    fingerprint = store.manifest["encoder"]["fingerprint"]
    return (fingerprint and runtime.open_query_encoder(fingerprint, load)) or load()


def _adopted(store: Store, encoder) -> dict:  # noqa: ANN001
    from retrieval import adoption

    try:
        return adoption.adopt(store, encoder, selection.path_of(store, "."))
    except BaseException:
        store.close()
        raise


def _open_or_create(path: Path, uri: Uri, encoder) -> Store:  # noqa: ANN001
    try:
        return Store.open(path, write=True)
    except NotAnIndex:
        if (path / "mmr.db").exists():
            raise
        said = roots.described(uri, path)
        return Store.create(path, encoder.dim, encoder=rebuilding.described(encoder, path), **said)


def _first_now(items: Iterable[Item]) -> Iterable[Item]:
    """The same items, with the first one fetched now, so that errors of the source come before those of others."""
    items = iter(items)
    first = next(items)
    yielded = [first]

    def chained() -> Iterable[Item]:
        yield from yielded
        yield from items

    return chained()
