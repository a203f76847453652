"""Retriever: an encoder and a store. `build` makes one, `open` opens one, `search` answers."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from indexes import Condition, Outdated, ShardAway, Store, WrongEncoder, forks
from indexes.sharded.opening import Reader, open_reader
from retrieval.callbacks import OnMessage, OnProgress, no_message, no_progress
from retrieval.datatypes import Hit
from retrieval.encoders import presets, query_encoder
from retrieval.encoders.asleep import Asleep
from retrieval.encoders.protocol import Encoder
from retrieval.indexing import adoption, stored
from retrieval.indexing.catalog import Identity
from retrieval.search import answers, confidence, filters, languages
from retrieval.search.answers import Asked

if TYPE_CHECKING:
    from retrieval.encoders.encoder import DualEncoder
    from retrieval.indexing.line import Line
    from retrieval.indexing.update import IndexReport
    from retrieval.search.sample import Sample, Wanted
    from retrieval.sources.uri import Uri


_Answer = TypeVar("_Answer")
_WAIT = 2.0  # seconds of a server for what another process commits: others ask meanwhile
_TIMES = 10  # that a question is asked, where the index is collected under it each time


class Retriever:
    """Answers words and pictures from an index: an encoder and a store.

    `build` makes an index and opens it, `open` opens one that is there. It is a context manager, and holds the index
    open until it is closed. Threads may share it, and a forked child may go on with it. It stays on the state of the
    index that it opened; where that cannot be kept for it (a folder that cannot be written), it goes on to the newest,
    and each answer is of one of them.

    Args:
        store: The index, open. It is closed where the encoder is not that of its vectors.
        encoder: What made the vectors.
        device: "auto", "cpu" or "cuda": where exact search runs.

    Raises:
        WrongEncoder: The vectors are those of another encoder.

    Examples:
        >>> with Retriever.open("photos/.mmr") as retriever:  # doctest: +SKIP
        ...     best = retriever.search("a dog on a beach", k=5)[0]
        ...     print(best.path, best.score)
    """

    def __init__(self, store: Store, encoder: Encoder, device: str = "cpu") -> None:
        self.store, self.encoder, self.device = store, encoder, device
        self._captions: tuple[int, answers.Captions] | None = None  # and the generation that they are of
        self._judged: tuple[tuple[int, int], confidence.Background] | None = None  # and the state that it is of
        self._encoding, self._judging = forks.Lock(), forks.Lock()  # captions, prompts: once for all threads
        adoption.require_same(store, encoder)

    @classmethod
    def build(
        cls, source: "str | Sequence[str] | Uri", path: Path | str, encoder: Encoder, device: str = "cpu",
        on_progress: OnProgress = no_progress, *, recall: float | None = None,
        memory: float | None = None, on_message: OnMessage = no_message, line: "Line | None" = None,
        only: bool = False, another_encoder: bool = False, readmit: bool = False, ocr: bool | None = None,
    ) -> "tuple[Retriever, IndexReport]":  # fmt: skip
        """Make the index at `path` hold exactly the pictures of `source`, doing only what is not done yet.

        Args:
            source: What to index: a folder, several, "csv:pairs.csv", "hf:NAME", ... (sources/uri.py). Some of the
                folders of an index of several leave the pictures of the others as they are.
            path: The folder of the index, `.mmr` usually.
            encoder: What makes the vectors; the index remembers it and refuses another.
            device: "auto", "cpu" or "cuda": where approximate search is prepared.
            on_progress: Called with (done, total) pictures.
            recall: Asked of approximate search on text, 0 to 1. None is what the index has.
            memory: Bytes that approximate search may take.
            on_message: Called with a line for a person.
            line: What makes rows of pictures, by that encoder; None is that of this process (indexing/line.py).
            only: Let go of the folders of the index that are not named.
            another_encoder: Encode an index of another encoder again.
            readmit: Take again what was removed from the index.
            ocr: Read the text in the pictures into the field `text`, from now on; None is what the index does.

        Returns:
            The retriever, open for writing, and what was done.

        Raises:
            BadRequest: The source cannot be read, or is another than the index has. Nothing is changed then.
            MissingModel: Text is to be read, and what reads it is not installed.
            StoreError: The index cannot be written, or has another encoder.

        Examples:
            >>> retriever, report = Retriever.build("photos", "photos/.mmr", load_encoder("small"))  # doctest: +SKIP
        """
        from retrieval.indexing.build import build  # those who only search do without all that indexing needs

        store, report = build(
            source, path, encoder, _search_device(device), on_progress, recall=recall, memory=memory,
            on_message=on_message, line=line, only=only, another_encoder=another_encoder, readmit=readmit,
            ocr=ocr,
        )  # fmt: skip
        return cls(store, encoder, device), report

    @classmethod
    def open(
        cls, path: Path | str, encoder: Encoder | None = None, device: str = "cpu", *, steady: bool = False,
        reader: Reader = open_reader, asleep: bool = False,
    ) -> "Retriever":  # fmt: skip
        """Open an index to search it.

        Where its encoder was exported (encoders/query_encoder.py), torch is not imported until a picture is asked with.

        Args:
            path: The folder of the index, or of shards.
            encoder: The one to ask with; None is the one that the index remembers. Where it was moved, the index
                remembers the new place.
            device: "auto", "cpu" or "cuda": where exact search runs.
            steady: It is asked for hours, by a server: what takes a moment to make ready pays.
            reader: What opens it, where its shards are held elsewhere (cluster/serving.py).
            asleep: Its encoder is loaded when it is first needed: words alone are found without it.

        Returns:
            The retriever, open for reading: close it, or use it in a `with`.

        Raises:
            StoreError: There is no index, it cannot be read, or it has another encoder.
            MissingModel: The encoder is not where it was.
        """
        store = reader(path, _WAIT if steady else None)
        try:
            remembered = _asleep if asleep else _remembered
            retriever = cls(store, encoder or remembered(store, device, steady), device)
            if encoder:
                adoption.remember_place(store, encoder)
            return retriever
        except BaseException:
            store.close()
            raise

    def search(
        self, asked: str | Sequence[str], k: int = 10, where: str | None = None, exact: bool = False,
        on_message: OnMessage = no_message, **limits: Any,
    ) -> list[Hit]:  # fmt: skip
        """The items nearest to words, a picture, an item, or a sum of them.

        Args:
            asked: One text, or arguments among which + and - stand alone (search/query.py). What names an existing file
                is asked with as a picture or a clip; "text:..." is words in any case. The pictures and items of a query
                are not answers to it.
            k: How many; fewer come where the index holds fewer.
            where: A condition on the items' fields, as "year >= 2011 and baseColour == 'Red'".
            exact: Go round an approximate index.
            on_message: Called with a line for a person: that the encoder does not read the query's language.
            **limits: The other fields of search.answers.Asked: `like=["a.jpg"], unlike=["b.jpg"]` move the query.

        Returns:
            Hits, the best first; `score` is the cosine, and `by` says why, where words are asked beside meaning.

        Raises:
            BadRequest: The query, a limit or a picture makes no sense.
            BadFilter: The condition makes no sense.
        """
        return self.search_many([asked], Asked(k=k, where=where, exact=exact, **limits), on_message)[0]

    def search_many(
        self, queries: Sequence[str | Sequence[str]], asked: Asked | None = None, on_message: OnMessage = no_message
    ) -> list[list[Hit]]:
        """The items nearest to each of several queries: faster than one after the other, as they share their work.

        Args:
            queries: As `search` takes them. All their texts are encoded in one call, and all their pictures.
            asked: What is wanted of the answers to each of them; None is `Asked()`.
            on_message: Called with a line for a person: a language that the encoder does not read, each once.

        Returns:
            The hits of each query, in the order of the queries, the best first.

        Raises:
            BadRequest: A query or a picture makes no sense.
            BadFilter: The condition makes no sense.
            StoreError: It was closed meanwhile.

        Examples:
            >>> dogs, cats = retriever.search_many(["a dog", "a cat"], Asked(k=3))  # doctest: +SKIP
        """
        device, wanted = _search_device(self.device), asked or Asked()
        if wanted.by != "words":
            languages.say_unread(filter(None, queries), self.encoder, on_message)

        def ask(store: Store) -> list[list[Hit]]:
            found = answers.items(store, self.encoder, device, queries, wanted, self.background)
            _say_who_answered(store, on_message)
            return found

        return self.whole(ask)

    def search_each(
        self, requests: "Sequence[answers.Request]", sent: Mapping[str, np.ndarray] | None = None
    ) -> list[list[Hit]]:
        """The items nearest to each of several queries that want different things: what a server gathers.

        Args:
            requests: The parts of each query (search/query.py) and what is wanted of its answers.
            sent: Vectors of pictures that queries name, float32 (d,) of unit length.

        Returns:
            The hits of each, in the order of the requests, the best first.

        Raises:
            BadRequest: A query makes no sense: ask them one by one to know which.
            BadFilter: A condition makes no sense.
            StoreError: It was closed meanwhile.
        """
        return self.whole(lambda store: self.each(store, requests, sent))

    def each(
        self, store: Store, requests: "Sequence[answers.Request]", sent: Mapping[str, np.ndarray] | None = None
    ) -> list[list[Hit]]:
        """As `search_each`, of a state that `whole` gave: where more is asked of the same one."""
        return answers.each(store, self.encoder, _search_device(self.device), requests, sent, self.background)

    def background(self, store: Store) -> confidence.Background:
        """What confidence is measured by in a state that `whole` gave: asked or read once, and kept for that state."""
        with self._judging:
            if self._judged is not None and self._judged[0] == store.key:
                return self._judged[1]
            found = confidence.background(store, self.encoder, _search_device(self.device))
            if stored.are_all(store):
                self._judged = store.key, found
            return found

    def captions(
        self, query: str | Sequence[str], asked: Asked | None = None, on_message: OnMessage = no_message
    ) -> list[Hit]:
        """The captions nearest to a query: what words belong to a picture.

        The first call for a filter encodes all distinct captions of the index; they are kept in memory until another
        filter is asked for.

        Args:
            query: As `search` takes it; a picture most often. An item's own caption is an answer to its picture.
            asked: What is wanted of the answers; `k`, `where`, `inside`, `urls`, `min_score` and `crop` count. None
                is `Asked()`.
            on_message: As `search` takes it.

        Returns:
            Hits, the best first; each caption comes once, with the first item that has it.

        Raises:
            BadRequest: The query makes no sense, or no item has a caption.
            BadFilter: The condition makes no sense.
        """
        languages.say_unread([query] if query else [], self.encoder, on_message)
        wanted = asked or Asked()
        return self.captions_of((wanted.parts(query), wanted), on_message=on_message)

    def captions_of(
        self, request: "answers.Request", sent: Mapping[str, np.ndarray] | None = None,
        on_message: OnMessage = no_message,
    ) -> list[Hit]:  # fmt: skip
        """The captions nearest to the parts of a query, as `captions` and `search_each` say.

        Args:
            request: The parts, and what is wanted of the answers.
            sent: Vectors of pictures that the query names.
            on_message: Called with a line for a person: that shards of the index did not answer.

        Returns:
            Hits, the best first.

        Raises:
            BadRequest: The query makes no sense, or no item has a caption.
            BadFilter: The condition makes no sense.
        """
        wanted = request[1]

        def ask(store: Store) -> list[Hit]:
            known = self._known_captions(store, filters.condition(store, wanted.where, wanted.inside))
            found = answers.captions(store, self.encoder, known, request, sent)
            _say_who_answered(store, on_message)
            return found

        return self.whole(ask)

    def sample(
        self, count: int = 100, wanted: "Wanted | None" = None, on_progress: OnProgress = no_progress
    ) -> "Sample":
        """Choose the pictures whose captions would teach the most about all the others.

        Args:
            count: How many; fewer come where there are no more.
            wanted: Which may be chosen (search/sample.py). None is those that have no caption.
            on_progress: Called with (done, total) pictures.

        Returns:
            The sample: `chosen`, the one that tells most first, and `skipped`, those whose files cannot be named.

        Raises:
            BadRequest: The pictures of the index are no files of this machine, or `count` is below 1.
            BadFilter: The condition makes no sense.

        Examples:
            >>> paths = [one.path for one in retriever.sample(100).chosen]  # doctest: +SKIP
        """
        from retrieval.search.sample import sample  # those who only search do without

        return self.whole(lambda store: sample(store, count, wanted, on_progress))

    def _known_captions(self, store: Store, condition: Condition | None) -> answers.Captions:
        with self._encoding:
            kept = self._captions
            if kept is not None and kept[0] == store.generation and kept[1].condition == condition:
                return kept[1]
            found = answers.Captions.of(store, self.encoder, condition)
            if stored.are_all(store):
                self._captions = store.generation, found
            return found

    def whole(self, ask: Callable[[Store], _Answer]) -> _Answer:
        """Ask one state of the store several things.

        Args:
            ask: Given a view of the state. Where that was collected meanwhile, it is called again with the newest one.

        Returns:
            What it returns.

        Raises:
            Outdated: It was collected again and again.
            WrongEncoder: It was collected, and the newest state is of another encoder.
        """
        for _ in range(_TIMES - 1):
            try:
                return ask(self.store.view())
            except ShardAway:  # it found rows and was gone before they were read: the next view does without it
                continue
            except Outdated:
                self._go_on()
        return ask(self.store.view())

    def _go_on(self) -> None:
        """To the newest state, which only this encoder can be asked of."""
        if not self.store.refresh(self._is_of_it):
            raise WrongEncoder(f"{self.store.path} was encoded again, with another encoder: open it again")

    def _is_of_it(self, newest: Store) -> bool:
        recorded = Identity.recorded(newest)
        return recorded is None or recorded.fingerprint is None or recorded.is_of(self.encoder)

    def close(self) -> None:
        """Close the index; what was built or changed is committed already. Closing twice does no harm.

        Another thread that is searching gets a StoreError, or its answer.
        """
        self.store.close()

    def __enter__(self) -> "Retriever":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _say_who_answered(store: Store, on_message: OnMessage) -> None:
    if few := stored.partial(store):
        on_message(f"answered by {few}: what the others hold is not among the answers")


def _search_device(device: str) -> str:
    """ "auto" is the GPU only where torch is in use already: finding out must not cost more than the search."""
    if device == "auto" and "torch" in sys.modules:
        import torch  # another thread may be half through importing it: this waits

        return "cuda" if torch.cuda.is_available() else "cpu"
    return "cuda" if device == "cuda" else "cpu"


def _asleep(store: Store, device: str, steady: bool) -> Encoder:
    """The encoder that an index remembers, not loaded yet; that of an imported index, which must be compared, is."""
    known = Identity.required(store)
    if known.fingerprint is None:
        return _remembered(store, device, steady)
    found: Any = Asleep(known.name, known.fingerprint, store.dim, lambda: _remembered(store, device, steady))
    return found


def _remembered(store: Store, device: str, steady: bool = False) -> Encoder:
    """The encoder that an index remembers, as cheap as it can be had. Raises MissingModel."""
    identity = Identity.required(store)

    def load() -> "DualEncoder":
        name = identity.where(store.path)
        presets.require(name)
        from retrieval.encoders.load import load_encoder

        return load_encoder(name, device)

    exported = identity.fingerprint and query_encoder.open_query_encoder(identity.fingerprint, load, steady)
    return exported or load()
