"""What a head sees: named modalities, each a unit vector (or a sequence of them) a row, and which of them are there.

Vectors come from one encoder and are kept in the user's cache under its fingerprint and the source's content
(`$MMR_CACHE/heads/`), so that the second head of a source is fitted in seconds. What is there may be deleted.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from retrieval import cache
from retrieval.callbacks import OnProgress, no_progress
from retrieval.datatypes import Item
from retrieval.encoders import encoding, kept
from retrieval.encoders.protocol import Encoder, EncodesParts, Sees
from retrieval.errors import BadRequest

IMAGE, TEXT, WORDS, PATCHES, SOUND = "image", "text", "words", "patches", "sound"


@dataclass(frozen=True)
class Inputs:
    """vectors: name -> float32 (n, d) or (n, l, d). present: name -> bool (n,) or (n, l). skipped: (uri, reason)."""

    vectors: dict[str, np.ndarray]
    present: dict[str, np.ndarray]
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(next(iter(self.vectors.values())))

    def __getitem__(self, rows: np.ndarray) -> "Inputs":
        """Some of the rows, in that order."""
        return Inputs({k: v[rows] for k, v in self.vectors.items()}, {k: v[rows] for k, v in self.present.items()})

    def only(self, names: Sequence[str]) -> "Inputs":
        """Some of the modalities. Raises BadRequest where one is not there."""
        missing = [name for name in names if name not in self.vectors]
        if missing:
            raise BadRequest(f"no vectors for `{missing[0]}`: give them with --vectors {missing[0]}=FILE.npy")
        return Inputs({n: self.vectors[n] for n in names}, {n: self.present[n] for n in names}, self.skipped)

    def there(self) -> "Inputs":
        """Without the modalities that no row has."""
        return self.only([name for name, mask in self.present.items() if mask.any()])

    @property
    def anything(self) -> np.ndarray:
        """bool (n,): rows with at least one modality."""
        return np.any(np.stack([p.reshape(len(p), -1).any(1) for p in self.present.values()]), axis=0)

    @property
    def dims(self) -> dict[str, int]:
        """Numbers in a vector of each modality."""
        return {name: v.shape[-1] for name, v in self.vectors.items()}


def known_to(encoder: Encoder) -> tuple[str, ...]:
    """The modalities that an encoder gives: pictures where it sees, sounds where it hears."""
    taken = encoder.preprocess.kinds
    seen = (IMAGE,) if "picture" in taken else ()
    heard = (SOUND,) if "sound" in taken else ()
    return (*seen, *heard, TEXT, *(encoder.sequences if isinstance(encoder, EncodesParts) else ()))


def _has(item: Item, name: str, encoder: Encoder) -> bool:
    """May an item have that modality? A picture has no sound, a sound no picture, a clip may have both."""
    if name == SOUND or "picture" not in encoder.preprocess.kinds:
        return item.kind != "picture"
    return item.kind != "sound"


def chosen(asked: str, encoder: Encoder, own: Sequence[str]) -> tuple[str, ...]:
    """The modalities of `HeadConfig.inputs`; "" is all but patches, which are many. Raises BadRequest."""
    known = (*known_to(encoder), *own)
    names = tuple(dict.fromkeys(name.strip() for name in asked.split(",") if name.strip()))
    for name in names:
        if name not in known:
            raise BadRequest(f"no input `{name}`: use --set inputs= with some of {', '.join(known)}")
    return names or tuple(name for name in known if name != PATCHES)


def encode(
    items: Sequence[Item], encoder: Encoder, names: Sequence[str] = (IMAGE, TEXT),
    on_progress: OnProgress = no_progress,
) -> Inputs:  # fmt: skip
    """Pictures, sounds and texts of items as an encoder has them: the modalities in `names` that it knows.

    A picture or a sound that does not decode is missing and listed in `skipped`. A blank text is missing, and so are
    the sound of a picture, the picture of a sound, and the sound of a clip that has none.
    """
    found, skipped = Inputs({}, {}), list[tuple[str, str]]()
    for name in names:
        if name in (IMAGE, PATCHES, SOUND):
            vectors, seen, lost = _files(items, encoder, name, on_progress)
            skipped += [one for one in lost if one not in skipped]
        elif name in (TEXT, WORDS):
            vectors, seen = of_texts([item.caption or "" for item in items], encoder, name)
        else:
            continue
        found = Inputs({**found.vectors, name: vectors}, {**found.present, name: seen})
    return Inputs(found.vectors, found.present, skipped)


def of_texts(texts: Sequence[str], encoder: Encoder, name: str = TEXT) -> tuple[np.ndarray, np.ndarray]:
    """Texts as unit vectors (n, d), or as the vectors of their words (n, l, w); which are there. Blank ones are not."""
    texts = [text.strip() for text in texts]
    written = np.array([bool(text) for text in texts], bool)
    if name == WORDS:
        vectors, seen = in_parts(encoder).encode_words([text or "." for text in texts])
        return np.where(written[:, None, None], vectors, 0.0), seen & written[:, None]
    vectors = np.zeros((len(texts), encoder.dim), np.float32)
    if written.any():
        vectors[written] = encoder.encode_texts([text for text in texts if text])
    return vectors, written


def in_parts(encoder: Encoder) -> EncodesParts:
    """The encoder, which must know words or patches. Raises BadRequest where it does not."""
    if not isinstance(encoder, EncodesParts):
        raise BadRequest(f"the encoder {encoder.name} gives no words and no patches: use --set inputs=image,text")
    return encoder


def _files(
    items: Sequence[Item], encoder: Encoder, name: str, on_progress: OnProgress
) -> tuple[np.ndarray, np.ndarray, list[tuple[str, str]]]:
    """`_encoded` of those items that may have the modality; the others miss it."""
    rows = [row for row, item in enumerate(items) if _has(item, name, encoder)]
    some = [items[row] for row in rows]
    if name == SOUND:  # that of a clip is listened to
        some = [replace(item, kind="sound") for item in some]
    vectors, seen, skipped = _encoded(some, encoder, name, on_progress)
    if name == SOUND:
        silent = {items[row].uri for row in rows if items[row].kind == "clip"}
        skipped = [one for one in skipped if one[0] not in silent]
    if len(rows) == len(items):
        return vectors, seen, skipped
    everything = np.zeros((len(items), *vectors.shape[1:]), np.float32)
    there = np.zeros((len(items), *seen.shape[1:]), bool)
    everything[rows], there[rows] = vectors, seen
    return everything, there, skipped


def _encoded(
    items: Sequence[Item], encoder: Encoder, name: str, on_progress: OnProgress
) -> tuple[np.ndarray, np.ndarray, list[tuple[str, str]]]:
    key = kept.key_of(items, f"{name} {encoder.fingerprint}")
    before = kept.read(cache.HEADS, key) if key else None
    if before is not None:
        return before["vectors"], before["seen"], []
    vectors: np.ndarray | None = None
    seen, skipped = np.zeros(len(items), bool), list[tuple[str, str]]()
    place = {item.id: row for row, item in enumerate(items)}
    view: Sees = _Patches(encoder) if name == PATCHES else encoder
    for batch in encoding.encode(items, view):
        if vectors is None and len(batch.vectors):
            vectors = np.zeros((len(items), *batch.vectors.shape[1:]), np.float32)
        rows = [place[item.id] for item in batch.items]
        if rows and vectors is not None:
            vectors[rows], seen[rows] = batch.vectors, True
        skipped += batch.skipped
        on_progress(int(seen.sum()) + len(skipped), len(items))
    if vectors is None:
        vectors = np.zeros((len(items), encoder.dim), np.float32)
    if vectors.ndim == 3:
        seen = np.repeat(seen[:, None], vectors.shape[1], 1)
    if key and not skipped:
        kept.write(cache.HEADS, key, {"vectors": vectors, "seen": seen})
    return vectors, seen, skipped


class _Patches:
    """An encoder whose vectors of pictures are those of their places."""

    lanes, bulk, numbers = 1, 32, "float32"

    def __init__(self, encoder: Encoder) -> None:
        self.preprocess, self._parts = encoder.preprocess, in_parts(encoder)

    def encode_images(self, images: Sequence[Image.Image | np.ndarray]) -> np.ndarray:
        """float32 (n, places, channels)."""
        return self._parts.encode_patches(images)

    def pool_frames(self, vectors: np.ndarray) -> np.ndarray:
        """The places of clips' frames (b, frames, places, channels) to their mean directions (b, places, channels)."""
        means = vectors.mean(1)
        return means / np.linalg.norm(means, axis=1, keepdims=True)


def read_vectors(name: str, file: Path, total: int) -> np.ndarray:
    """float32 (total, d) of unit length from a .npy: a modality of your own, a row for each row of the source.

    Raises BadRequest: no such file, no matrix of numbers, another number of rows, NaN.
    """
    try:
        rows = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise BadRequest(
            f"{file} is no .npy of numbers ({str(error).splitlines()[0][:80]}): check --vectors"
        ) from error
    if rows.ndim != 2 or rows.dtype.kind not in "fiu" or not rows.shape[1]:
        raise BadRequest(f"{file} holds {rows.dtype} {rows.shape}: write floats (rows, numbers) for --vectors {name}=")
    if len(rows) != total:
        raise BadRequest(f"{file} has {len(rows)} rows, the source {total}: write one for each row, for --vectors")
    rows = rows.astype(np.float32)
    bad = ~np.isfinite(rows).all(1)
    if bad.any():
        raise BadRequest(f"{file}: row {int(bad.argmax())} has NaN or infinity ({bad.sum()} rows): repair it")
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(length > 0, length, 1)


def with_vectors(inputs: Inputs, name: str, vectors: np.ndarray) -> Inputs:
    """The inputs with the vectors of one modality more; where a row is zeros it is missing."""
    present = np.abs(vectors).max(1) > 0
    return Inputs({**inputs.vectors, name: vectors}, {**inputs.present, name: present}, inputs.skipped)
