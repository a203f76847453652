"""Judgements of `mmr search`: those of a session, which goes on, and those of a table, of which a head is fitted."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cli.output import plain, show, target
from indexes import Store
from retrieval.errors import BadRequest
from retrieval.indexing import stored
from retrieval.search import feedback, picks
from retrieval.search.answers import Asked
from retrieval.search.picks import Pick, Session
from retrieval.search.query import Part


@dataclass(slots=True, kw_only=True)
class Judging:
    """Files of judgements. session: read where it is there, and kept. train_on: read."""

    session: Path | None = None
    train_on: Path | None = None
    _before: tuple[Pick, ...] = field(default=(), init=False)
    _gone: tuple[Pick, ...] = field(default=(), init=False)
    _each: list[tuple[Pick, ...]] = field(default_factory=list, init=False)

    def begun(self, words: Sequence[str], asked: Asked, many: bool) -> tuple[Sequence[str], Asked]:
        """What is searched for and wanted, with what the files say. many: there are queries of a file (`begun_each`).

        Raises BadRequest.
        """
        if self.session and many:
            raise BadRequest("--session is of one query: leave out --queries, or give a table with --train-on")
        if self.session:
            target.check_place(self.session, "--session")
            found = picks.opened(self.session, words)
            if not (found.query or found.picks or asked.picks):
                raise BadRequest(
                    f"{self.session} says nothing to look for: begin it with a query, as in "
                    'mmr search "a dog" --session FILE'
                )
            words, self._before = found.query, found.picks
            asked = _with(asked, self._before)
        if self.train_on and not many:
            found = picks.read(self.train_on, words)
            words, asked = found.query, replace(asked, train_on=found.picks)
        return words, asked

    def begun_each(self, queries: Sequence[Sequence[str]]) -> None:
        """The same for several queries of a file, each with its own rows of the table. Raises BadRequest."""
        if self.train_on:
            self._each = picks.read_each(self.train_on, queries)
            bare = sum(not found for found in self._each)
            if bare:
                show.note(f"{self.train_on} judges nothing of {bare} of {len(queries)} queries: they are not moved")

    def over(self, store: Store, asked: Asked) -> Asked:
        """The same; of an item that the session has judged before, what is said now counts. Raises BadRequest.

        What this index does not hold is left out, and said; the session keeps it, as another index may.
        """
        learned, found = self._held(store, [*asked.train_on, *(pick for picks in self._each for pick in picks)])
        self._each = [tuple(pick for pick in picks if pick in found) for picks in self._each]
        asked = replace(asked, train_on=() if self._each else learned)
        if not self._before:
            return asked
        said, there = self._said_so(), self._there(store)
        now = [pick for pick in replace(asked, train_on=()).picks if pick not in said]
        keys = feedback.keys_of(store, [pick.name for pick in (*there, *now)])
        anew = set(keys[len(there) :])
        kept = {pick: key for pick, key in zip(there, keys, strict=False) if key not in anew}
        feedback.agreed([*kept, *learned], [*kept.values(), *(found[pick] for pick in learned)])  # by the files' names
        return _with(replace(asked, like=_names(now, True), unlike=_names(now, False)), [*kept])

    def each(self, asked: Asked, count: int) -> list[Asked]:
        """What is wanted of the answers to each of so many queries."""
        return [replace(asked, train_on=picks) for picks in self._each] or [asked] * count

    def _there(self, store: Store) -> list[Pick]:
        """What the session judges, less items that the index does not hold; where shards are away, nobody knows."""
        ids = [pick.name.removeprefix("id:") for pick in self._before if pick.name.startswith("id:")]
        there = stored.found(store, ids).keys() if stored.are_all(store) else {*ids}
        gone = {f"id:{id}" for id in ids if id not in there}
        self._gone = tuple(pick for pick in self._before if pick.name in gone)
        if gone:
            more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
            show.note(f"not in {store.path}, and left out of this search: {plain.line(min(gone))}{more}")
        return [pick for pick in self._before if pick.name not in gone]

    def _held(self, store: Store, learned: Sequence[Pick]) -> tuple[tuple[Pick, ...], dict[Pick, int | Part]]:
        """The judgements of --train-on less those of items that the index does not hold, and what each is of."""
        keys = feedback.keys_there(store, [pick.name for pick in learned])
        if not stored.are_all(store):  # the others may hold it: ask again
            keys = [*feedback.keys_of(store, [pick.name for pick in learned])]
        found = {pick: key for pick, key in zip(learned, keys, strict=True) if key is not None}
        gone = [pick for pick in learned if pick not in found]
        if gone and not found:
            one = f"`{plain.line(gone[0].name)}` of {gone[0].said}"
            raise BadRequest(f"{store.path} holds nothing that {self.train_on} judges, as {one}: see `mmr ls`")
        if gone:
            more = f" and {len(gone) - 1} more" if len(gone) > 1 else ""
            show.note(f"not in {store.path}, and left out: {gone[0].said} ({plain.line(gone[0].name)}){more}")
        return tuple(pick for pick in learned if pick in found), found

    def _said_so(self) -> set[Pick]:
        """What the session says, as options would."""
        return {replace(pick, said="--like" if pick.liked else "--unlike") for pick in self._before}

    def keep(self, store: Store, words: Sequence[str], asked: Asked, index: Path | None = None) -> None:
        """Write the session: items by their ids, so that it goes on from any folder. index: as --index named it."""
        if self.session is None:
            return
        now = replace(asked, train_on=()).picks
        keys = feedback.keys_of(store, [pick.name for pick in now])
        ids = iter(store.records([key for key in keys if isinstance(key, int)]))
        names = [f"id:{next(ids).id}" if isinstance(key, int) else key.text for key in keys]
        each = {pick.name: pick for pick in self._gone}
        each |= {name: replace(pick, name=name) for pick, name in zip(now, names, strict=True)}
        picks.write(self.session, Session(tuple(words), tuple(each.values())))
        count = f"{len(each)} {'judgement' if len(each) == 1 else 'judgements'}"
        again = f"mmr search --session {shlex.quote(str(self.session))}"
        again += f" --index {shlex.quote(str(index))}" if index else ""
        show.note(f"{count} in {self.session}: go on with {again}")


def _with(asked: Asked, before: Sequence[Pick]) -> Asked:
    return replace(
        asked, like=(*_names(before, True), *asked.like), unlike=(*_names(before, False), *asked.unlike)
    )  # fmt: skip


def _names(judged: Sequence[Pick], liked: bool) -> tuple[str, ...]:
    return tuple(pick.name for pick in judged if pick.liked == liked)
