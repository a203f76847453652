"""measure(encoder, pairs) -> Measured: what an encoder makes of pictures and captions, and where each finds the other.

All that is told of an encoder is computed from this: reports, comparisons, slices, pages, a row a query.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from eval import metrics, ranking
from eval.ranking import Ranking, Right
from retrieval.callbacks import OnProgress, no_progress
from retrieval.datatypes import Item, Pair
from retrieval.encoders import encoding
from retrieval.encoders.protocol import Encoder
from retrieval.errors import ImageError, NothingReadable
from retrieval.images import load

DIRECTIONS = ("text_to_image", "image_to_text")


@dataclass(frozen=True)
class Measured:
    """An encoder on n pictures with q captions.

    Attributes:
        encoder: Its name.
        fingerprint: And what tells its weights apart.
        items: The pictures that could be read.
        pairs: The captions, each with its picture, in the order of the source.
        images: float32 (n, d).
        texts: float32 (q, d).
        owner: int64 (q,), the picture of each caption.
        skipped: (uri, reason) of pictures that were left out.
        judged: What answers what, where a file says so (qrels.py); None: its own picture, its own captions.
    """

    encoder: str
    fingerprint: str
    items: Sequence[Item]
    pairs: Sequence[Pair]
    images: np.ndarray
    texts: np.ndarray
    owner: np.ndarray
    skipped: Sequence[tuple[str, str]] = field(default_factory=tuple)
    judged: Right | None = None

    @cached_property
    def right(self) -> Right:
        """Which pictures answer which captions."""
        return self.judged or Right.of(np.arange(len(self.texts)), self.owner)

    @cached_property
    def rankings(self) -> dict[str, Ranking]:
        """Direction -> where the right answers stand, of the queries that have any (`asked`)."""
        found = dict(zip(DIRECTIONS, ranking.rank(self.texts, self.images, self.right), strict=True))
        return {name: one.part(self.asked[name]) for name, one in found.items()}

    @cached_property
    def asked(self) -> dict[str, np.ndarray]:
        """Direction -> the numbers of the queries that have a right answer: captions, or pictures; int64, ascending."""
        if self.judged is None:
            return dict(zip(DIRECTIONS, (np.arange(len(self.texts)), np.arange(len(self.images))), strict=True))
        return dict(zip(DIRECTIONS, (np.unique(self.judged.query), np.unique(self.judged.item)), strict=True))

    @cached_property
    def each(self) -> dict[str, dict[str, np.ndarray]]:
        """Direction -> the metrics of each query (metrics.of_each), in the order of `asked`."""
        return {name: metrics.of_each(found) for name, found in self.rankings.items()}

    def owners(self, direction: str) -> np.ndarray:
        """The picture of each query: int64."""
        return self.owner[self.asked[direction]] if direction == "text_to_image" else self.asked[direction]


def measure(encoder: Encoder, pairs: Sequence[Pair], on_progress: OnProgress = no_progress) -> Measured:
    """Encode every picture and caption once.

    Args:
        encoder: Anything that encodes pictures and texts: what `load_encoder` gives, or your own.
        pairs: Pictures with their captions, as `open_pairs` gives them; a picture may have several.
        on_progress: Called with (done, total) pictures.

    Returns:
        What it made of them. Pictures that do not decode are left out with their captions, and named in it.

    Raises:
        NothingReadable: No picture decodes.
    """
    items = each_once(pairs)
    vectors, kept, skipped = [], [], []
    for batch in encoding.encode(items, encoder):
        vectors.append(batch.vectors)
        kept += batch.items
        skipped += batch.skipped
        on_progress(len(kept) + len(skipped), len(items))
    if not kept:
        raise _nothing(skipped, "check the paths in the source, or give another SOURCE")
    place = {item.id: number for number, item in enumerate(kept)}
    pairs = [pair for pair in pairs if pair.item.id in place]
    owner = np.array([place[pair.item.id] for pair in pairs])
    texts = encoder.encode_texts([pair.caption for pair in pairs])
    return Measured(encoder.name, encoder.fingerprint, kept, pairs, np.concatenate(vectors), texts, owner, skipped)


def require_readable(option: str, source: str, pairs: Sequence[Pair]) -> None:
    """Raise NothingReadable where no picture of the pairs decodes: asked before the work that they are to measure.

    option: the one that names the source on the command line, as --eval. Pictures are tried until one decodes.
    """
    skipped = []
    for item in each_once(pairs):
        try:
            load.load(item)
            return
        except ImageError as error:
            skipped.append((item.uri, str(error)))
    raise _nothing(skipped, f"check its paths, or give another {option}", f"{option} {source}: ")


def each_once(pairs: Sequence[Pair]) -> list[Item]:
    """The pictures of the pairs, each once, in their order."""
    items: dict[str, Item] = {}
    for pair in pairs:
        items.setdefault(pair.item.id, pair.item)
    return list(items.values())


def _nothing(skipped: Sequence[tuple[str, str]], hint: str, of: str = "") -> NothingReadable:
    return NothingReadable(f"{of}none of the {len(skipped)} pictures can be read: {hint}", skipped)
