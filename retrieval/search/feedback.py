"""Answers that were judged move the query: towards what was liked, away from what was not (relevance feedback).

    rocchio     q + b (mean of the liked - m) - c (mean of the unliked - m), as Rocchio 1971 with every vector seen from
                the mean m of the index: what all items share says nothing of what was liked
    head        q + t m w, where w is a linear head: ridge regression on the judgements, with the rest of the index as
                weak examples of neither kind, each of which should get what the mean of the index gets
    apart       q - a (mean of the unliked - mean of what is nearest to q and was not judged), where nothing is liked;
                where all of the best answers are unliked, rocchio, which looks elsewhere

Each gives one unit vector, which is a query like any other: exact and approximate search, shards and filters work with
it. The weights, and which of them is taken, were chosen on one part of the data and reported on another
(`python -m eval.bench.feedback`, docs/log.md).
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexes import Store
from retrieval.errors import BadRequest
from retrieval.indexing import called, stored
from retrieval.search.picks import Pick
from retrieval.search.query import Part

LIKED, UNLIKED = 2.0, 1.0  # b and c of rocchio, where the query has the weight 1
HEAD, PENALTY, WEAK, LOW = 10.0, 1.0, 0.1, 0.25  # t of the head; its penalty; the rest of the index; an unliked's -y
APART, NEAR = 0.25, 3  # a of apart; items that stand for what is wanted, where nobody said what is
FEW = 5  # judgements up to which rocchio is taken: the head is no better, and it is easier to foresee
LEAST = 2  # liked items below which it is taken too: of one the head forgets the query for what is unliked
MISSED = 5  # best answers which are all unliked, so that the query looks in the wrong place
SAMPLE = 4096  # items that stand for all of an index
_NOTHING = 1e-4  # a vector shorter than this is rounding
_KEPT = 8  # indexes whose sample is kept

Look = Callable[[Sequence[Sequence[Part]]], np.ndarray]  # the unit vector of each query, as query.encode gives them


# ---------------------------------------------------------------- the ways


@dataclass(frozen=True, slots=True)
class Space:
    """How the vectors of an index lie. mean: float64 (d,). spread: their covariance over its mean variance, (d, d)."""

    mean: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, vectors: np.ndarray) -> "Space":
        """That of unit rows (n, d); of none, or of one, nothing is known."""
        rows = vectors.astype(np.float64)
        mean = rows.mean(0) if len(rows) > 1 else np.zeros(rows.shape[1])
        apart = rows - mean
        covariance = apart.T @ apart / max(1, len(rows))
        return cls(mean, covariance / max(float(covariance.diagonal().mean()), _NOTHING**2))


def rocchio(asked: np.ndarray, liked: np.ndarray, unliked: np.ndarray, space: Space) -> np.ndarray:
    """The moved query (d,), of any length. asked: (d,), a unit vector. liked, unliked: unit rows, (m, d) and (n, d).

    Rocchio, Relevance feedback in information retrieval, 1971; Manning, Raghavan and Schuetze (2008), 9.1.1.
    """
    moved = asked.astype(np.float64)
    if len(liked):
        moved = moved + LIKED * (liked.mean(0) - space.mean)
    return moved - UNLIKED * (unliked.mean(0) - space.mean) if len(unliked) else moved


def head(asked: np.ndarray, liked: np.ndarray, unliked: np.ndarray, space: Space) -> np.ndarray:
    """As `rocchio`, by a linear head w in closed form. With x the judged vectors less the mean, both kinds counting
    alike, S the spread, y 1 for what was liked and -LOW for what was not, and l = PENALTY m, it has the least

        sum c (w x - y)^2 + l w' (I + WEAK S) w,     m = mean of x' (I + WEAK S)^-1 x

    The term in S is the mean square that w gives to the index: the weak examples, as in linear discriminant analysis
    and the exemplars of Hariharan, Malik and Ramanan (2012). m makes w as long as differences of vectors are.
    """
    x = np.concatenate([liked, unliked]).astype(np.float64) - space.mean
    y = np.concatenate([np.ones(len(liked)), np.full(len(unliked), -LOW)])
    prior = np.eye(len(space.mean)) + WEAK * space.spread
    m = float(np.einsum("nd,nd->n", x, np.linalg.solve(prior, x.T).T).mean())
    if m < _NOTHING**2:  # they are what the index is
        return asked.astype(np.float64)
    weight = _alike(len(liked), len(unliked))
    found = np.linalg.solve((x.T * weight) @ x + PENALTY * m * prior, x.T @ (weight * y))
    return asked + HEAD * m * found


def apart(asked: np.ndarray, near: np.ndarray, unliked: np.ndarray) -> np.ndarray:
    """The moved query (d,), where nothing is liked. near: unit rows (m, d), nearest to it of those that nobody judged.

    The unliked are near misses: seen from the mean of the index they are what the query asks for, and away from them
    it finds nothing of that any more, least of all where it is words, which lie far from pictures.
    """
    return asked + APART * (near.mean(0) - unliked.mean(0)) if len(near) else asked.astype(np.float64)


def chosen(
    asked: np.ndarray, liked: np.ndarray, unliked: np.ndarray, near: np.ndarray, space: Space, fitted: bool = False
) -> np.ndarray:
    """As the way that is taken for so many judgements. fitted: a head is asked for, however few there are."""
    if not len(liked):  # a head would learn what is not wanted, and nothing of what is
        above = unliked @ asked > (near @ asked).max(initial=-1)
        return rocchio(asked, liked, unliked, space) if above.sum() >= MISSED else apart(asked, near, unliked)
    many = len(liked) >= LEAST and len(liked) + len(unliked) > FEW
    return (head if fitted or many else rocchio)(asked, liked, unliked, space)


def _alike(liked: int, unliked: int) -> np.ndarray:
    """Weights whose mean is 1, of which both kinds have the same sum."""
    count = liked + unliked
    kinds = [np.full(of, count / of / (2 if of < count else 1)) for of in (liked, unliked) if of]
    return np.concatenate(kinds)


# ---------------------------------------------------------------- judgements


@dataclass(frozen=True, slots=True)
class Judged:
    """What was judged of one query: a row of the index, or a picture that it does not hold, and whether it was liked.

    head: whether the linear head is asked for, however little was judged; without a liked item there is none.
    """

    liked: tuple[int | Part, ...] = ()
    unliked: tuple[int | Part, ...] = ()
    head: bool = False

    @classmethod
    def of(cls, store: Store, picks: Sequence[Pick], head: bool = False) -> "Judged":
        """That of an index. Raises BadRequest for a name of nothing, and for one that is liked and unliked."""
        said = agreed(picks, keys_of(store, [pick.name for pick in picks]))
        liked, unliked = (tuple(key for key, pick in said.items() if pick.liked == which) for which in (True, False))
        return cls(liked, unliked, head)

    def __len__(self) -> int:
        return len(self.liked) + len(self.unliked)

    @property
    def rows(self) -> set[int]:
        """Those that the index holds."""
        return {key for key in (*self.liked, *self.unliked) if isinstance(key, int)}

    @property
    def pictures(self) -> list[Part]:
        """Those that it does not."""
        return [key for key in (*self.liked, *self.unliked) if isinstance(key, Part)]


def agreed(picks: Sequence[Pick], keys: Sequence[int | Part]) -> dict[int | Part, Pick]:
    """The first judgement of each thing. Raises BadRequest for one that is liked and unliked."""
    said: dict[int | Part, Pick] = {}
    for pick, key in zip(picks, keys, strict=True):
        if (other := said.setdefault(key, pick)).liked != pick.liked:
            raise BadRequest(_contradiction(*sorted((other, pick), key=lambda one: not one.liked)))
    return said


def _contradiction(liked: Pick, unliked: Pick) -> str:
    both = f"by {liked.said} and unliked by {unliked.said}"
    other = "" if liked.name == unliked.name else f", where it is called `{unliked.name}`"
    return f"`{liked.name}` is liked {both}{other}: take one of the two out"


def keys_of(store: Store, names: Sequence[str]) -> list[int | Part]:
    """What each name is of: a row of the index, or a picture. Raises BadRequest for a name of nothing.

    id:ITEM is of the index and picture:NAME was sent to a server, which gives no other names: they open no file.
    """
    there = zip(names, keys_there(store, names), strict=True)
    return [stored.named(store, [name.removeprefix("id:")])[0] if key is None else key for name, key in there]


def keys_there(store: Store, names: Sequence[str]) -> list[int | Part | None]:
    """As `keys_of`; None for a name of nothing."""
    each = list(dict.fromkeys(names))  # a log of clicks says one again and again
    items = stored.found(store, [name[3:] for name in each if name.startswith("id:")])
    others = [name for name in each if not name.startswith(("id:", "picture:"))]
    there = dict(zip(others, called.rows_there(store, others), strict=True))
    keys = {name: _key(name, items, there) for name in each}
    return [keys[name] for name in names]


def _key(name: str, items: dict[str, int], there: dict[str, int | None]) -> int | Part | None:
    if name.startswith("picture:"):
        return Part("sent", name.removeprefix("picture:"))
    if name not in there:
        return items.get(name.removeprefix("id:"))
    if there[name] is not None:
        return there[name]
    if name.lower().startswith(("http://", "https://")):
        return Part("url", name)
    return Part("picture", os.path.realpath(name)) if _is_file(name) else None


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # what no path can be
        return False


# ---------------------------------------------------------------- queries that are moved


def moved(store: Store, queries: Sequence[Sequence[Part]], judged: Sequence[Judged], look: Look) -> np.ndarray:
    """The vector of each query, moved by what was judged of it: float32 (n, d), unit length.

    A query may be empty where something was liked: it is then what is asked for. look: what encodes queries, called
    once for all of them and for the pictures that the index does not hold. Raises BadRequest where only unliked items
    say what is wanted, or where nothing is left of a query.
    """
    pictures = list(dict.fromkeys(part for one in judged for part in one.pictures))
    asked = [*filter(None, queries), *((part,) for part in pictures)]
    encoded = iter(look(asked) if asked else ())
    starts = [next(encoded) if parts else None for parts in queries]
    seen: dict[int | Part, np.ndarray] = dict(zip(pictures, encoded, strict=True))
    near = _near(store, starts, judged)
    rows = [
        start if start is not None and not len(one) else _moved(store, start, one, seen, near.get(number, []))
        for number, (start, one) in enumerate(zip(starts, judged, strict=True))
    ]
    return np.stack(rows).astype(np.float32)


def _near(store: Store, starts: Sequence[np.ndarray | None], judged: Sequence[Judged]) -> dict[int, list[int]]:
    """The rows nearest to each query of which things are unliked alone, less those, by the number of the query."""
    asked = {
        number: start for number, (start, one) in enumerate(zip(starts, judged, strict=True))
        if start is not None and one.unliked and not one.liked
    }  # fmt: skip
    if not asked:
        return {}
    wide = NEAR + max(len(judged[number].rows) for number in asked)
    found = store.search(np.stack([*asked.values()]), max(1, min(wide, len(store)))).rows
    return {
        number: [row for row in rows.tolist() if row >= 0 and row not in judged[number].rows][:NEAR]
        for number, rows in zip(asked, found, strict=True)
    }


def _moved(
    store: Store, start: np.ndarray | None, judged: Judged, seen: dict[int | Part, np.ndarray], near: Sequence[int]
) -> np.ndarray:
    if start is None and not judged.liked:
        raise BadRequest('nothing says what you look for: write words too, as in mmr search "a dog" --unlike a.jpg')
    liked, unliked = (_vectors(store, keys, seen) for keys in (judged.liked, judged.unliked))
    asked = start.astype(np.float64) if start is not None else _unit(liked.mean(0))
    return _unit(chosen(asked, liked, unliked, _vectors(store, near, seen), space(store), judged.head))


def _vectors(store: Store, keys: Sequence[int | Part], seen: dict[int | Part, np.ndarray]) -> np.ndarray:
    """Of each judged item: float64 (n, d)."""
    rows = [key for key in keys if isinstance(key, int)]
    held = seen | dict[int | Part, np.ndarray](zip(rows, store.vectors(rows), strict=True))
    return np.array([held[key] for key in keys], np.float64).reshape(len(keys), store.dim)


def _unit(vector: np.ndarray) -> np.ndarray:
    if not (length := float(np.linalg.norm(vector))) > _NOTHING:
        raise BadRequest("the query and what was judged cancel out: leave out a --like or an --unlike")
    return vector / length


_spaces: dict[tuple[int, int], Space] = {}  # of the states that were asked last


def space(store: Store) -> Space:
    """How the vectors of a state of an index lie, by SAMPLE of its items, evenly taken; kept for that state."""
    kept = _spaces.get(store.key)
    if kept is not None:
        return kept
    rows = store.rows()
    if len(rows) > SAMPLE:
        rows = rows[np.linspace(0, len(rows) - 1, SAMPLE).astype(np.int64)]
    found = Space.of(store.vectors(rows))
    if stored.are_all(store):
        _spaces[store.key] = found
        for old in list(_spaces)[:-_KEPT]:
            _spaces.pop(old, None)
    return found
