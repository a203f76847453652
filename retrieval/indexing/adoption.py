"""An imported index knows the name of its encoder, not its fingerprint: the first one that is loaded is compared.

It encodes a few of the pictures that are as they were, and is recorded where it finds the vectors again. Other programs
decode and resize a little differently, and turn no picture upright, so that is asked of the better part of them only.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from indexes import Record, Store, StoreError, WrongEncoder
from retrieval.encoders.protocol import Encoder
from retrieval.encoders.query_encoder import ensure_exported
from retrieval.errors import ImageError
from retrieval.indexing.cards import Card
from retrieval.indexing.catalog import Identity, Imported, root_of
from retrieval.sources.uri import stamp_of

PICTURES = 16
SHARE = 0.25  # of the pictures, at least, that have to agree
AGREEMENT = 0.9  # cosine


def require_same(store: Store, encoder: Encoder) -> None:
    """Raise WrongEncoder, and close the store, where this is not the encoder of its vectors.

    That of an imported index is not known by its fingerprint: it is compared now, and recorded (`adopt`).
    """
    try:
        recorded = Identity.required(store)
        if recorded.fingerprint is None:
            recorded = adopt(store, encoder)
        if not recorded.is_of(encoder):
            name = encoder.name or "this encoder"
            raise WrongEncoder(
                f"{store.path} was made with encoder {recorded.name} ({recorded.fingerprint}), and {name} is "
                f"{encoder.fingerprint}: give --model {recorded.name}, or encode all again with "
                f"`mmr index --model {name}`"
            )
    except BaseException:
        store.close()
        raise


def remember_place(store: Store, encoder: Encoder, ears: bool = False) -> None:
    """Record where the encoder of an index is now, if that is another place than before; nothing where it cannot be.

    ears: sounds are to be taken in, and the encoder is another that has ears beside the same eyes (towers/ears.py):
    it is that of the index from now on. Who only asks with it changes nothing.
    """
    recorded, now = Identity.required(store), Identity.of(encoder, store.path)
    has_ears = recorded.is_of(encoder) and recorded.fingerprint != now.fingerprint
    if recorded.is_elsewhere(now) or (ears and has_ears):
        _remember(store, now.entry(), recorded.fingerprint)


def adopt(store: Store, encoder: Encoder) -> Identity:
    """Record this encoder as that of an imported index, and return what was recorded.

    Raises WrongEncoder where the vectors are not those of this encoder. Where nothing can be written, the index is used
    and the next opening compares again.
    """
    name = encoder.name or "this encoder"
    if encoder.dim != store.dim:
        raise WrongEncoder(
            f"{store.path} holds imported vectors of {store.dim}, {name} makes {encoder.dim}: give another --model"
        )
    cosines = _compare(store, encoder, root_of(store))
    agreement = float(np.quantile(cosines, 1 - SHARE)) if len(cosines) else None
    if agreement is not None and agreement < AGREEMENT:
        raise WrongEncoder(
            f"the imported vectors of {store.path} are not those of {name} (cosine {agreement:.2f} to its own, of "
            f"{len(cosines)} pictures): give the encoder that made them with --model"
        )
    recorded = Identity.of(encoder, store.path)
    imported = Imported.recorded(store) or Imported(None)
    compared = replace(imported, compared=len(cosines), cosine=agreement)
    _remember(store, recorded.entry() | compared.entry(), None)
    ensure_exported(encoder)  # so that the next query need not load it
    return recorded


def _compare(store: Store, encoder: Encoder, root: str | None) -> np.ndarray:
    """Cosines (m,) between stored vectors and the encoder's own, of up to PICTURES pictures below the root."""
    from retrieval.images import load  # each search opens this module, few compare

    pictures: list[np.ndarray] = []
    rows: list[np.ndarray] = []
    if root is None:
        return np.empty(0)
    for vector, record in _sample(store):
        path = Path(root, Card.of(record).uri)
        if len(rows) < PICTURES and record.stamp and stamp_of(path) == record.stamp:
            try:
                pictures.append(encoder.preprocess(load.decode(path, at_least=2 * encoder.preprocess.size)))
                rows.append(vector)
            except ImageError:
                continue
    return np.sum(encoder.encode_images(pictures) * np.stack(rows), axis=1) if rows else np.empty(0)


def _sample(store: Store) -> Iterator[tuple[np.ndarray, Record]]:
    """Some rows from all over the store, with their records."""
    chosen = np.random.default_rng(0).permutation(store.rows())[: 8 * PICTURES]
    for row in chosen:
        for segment in store.segments:
            (offset,) = segment.offsets(np.array([row]))
            if offset >= 0:
                yield segment.vectors[offset].astype(np.float32), store.records([row])[0]


def _remember(store: Store, values: dict[str, Any], before: str | None) -> None:
    """Put these into the manifest, also where the store was opened for reading, if that can be done.

    before: the fingerprint that is recorded, and still must be when it is written.
    """
    try:
        store.set_manifest(**values)
        return
    except StoreError:  # opened for reading
        store.manifest.update(values)
    try:
        with Store.open(store.path, write=True) as writer:
            if Identity.required(writer).fingerprint == before:
                writer.set_manifest(**values)
    except (StoreError, OSError):  # another process writes, or nothing can be written there
        pass
