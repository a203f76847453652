"""An imported index knows the name of its encoder, not its fingerprint: the first one that is loaded is compared.

It encodes a few of the pictures that are as they were, and is recorded where it finds the vectors again. Other programs
decode and resize a little differently, and turn no picture upright, so that is asked of the better part of them only.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from indexes import Record, Store, StoreError, WrongEncoder
from retrieval import images
from retrieval.errors import ImageError
from retrieval.uris import stamp_of

PICTURES = 16
SHARE = 0.25  # of the pictures, at least, that have to agree
AGREEMENT = 0.9  # cosine


def adopt(store: Store, encoder, folder: str | None) -> dict[str, Any]:  # noqa: ANN001
    """Record this encoder as that of an imported index, and return what was recorded.

    folder: that of the pictures on this machine, if there is one. Raises WrongEncoder where the vectors are not
    those of this encoder. Where nothing can be written, the index is used and the next opening compares again.
    """
    name = encoder.name or "this encoder"
    if encoder.dim != store.dim:
        raise WrongEncoder(
            f"{store.path} holds imported vectors of {store.dim}, {name} makes {encoder.dim}: give another --model"
        )
    cosines = _compare(store, encoder, folder)
    agreement = float(np.quantile(cosines, 1 - SHARE)) if len(cosines) else None
    if agreement is not None and agreement < AGREEMENT:
        raise WrongEncoder(
            f"the imported vectors of {store.path} are not those of {name} (cosine {agreement:.2f} to its own, of "
            f"{len(cosines)} pictures): give the encoder that made them with --model"
        )
    run = Path(encoder.name).absolute() if encoder.name and Path(encoder.name).is_dir() else None
    from_here = None if run is None else os.path.relpath(run, store.path.absolute().parent)
    recorded = {"name": encoder.name, "fingerprint": encoder.fingerprint, "folder": from_here}
    compared = {**(store.manifest.get("imported") or {}), "compared": len(cosines), "cosine": agreement}
    _remember(store, encoder=recorded, imported=compared)
    if hasattr(encoder, "export"):
        encoder.export()  # so that the next query need not load it
    return recorded


def _compare(store: Store, encoder, folder: str | None) -> np.ndarray:  # noqa: ANN001
    """Cosines (m,) between stored vectors and the encoder's own, of up to PICTURES pictures."""
    pictures, rows = [], []
    for vector, record in _sample(store) if folder else ():
        path = Path(folder, record.fields["uri"])
        if len(rows) < PICTURES and record.stamp and stamp_of(path) == record.stamp:
            try:
                pictures.append(encoder.preprocess(images.decode(path, at_least=2 * encoder.preprocess.size)))
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


def _remember(store: Store, **values: object) -> None:
    """Put values into the manifest, also where the store was opened for reading, if that can be done."""
    try:
        store.set_manifest(**values)
        return
    except StoreError:  # opened for reading
        store.manifest.update(values)
    try:
        with Store.open(store.path, write=True) as writer:
            if writer.manifest["encoder"]["fingerprint"] is None:
                writer.set_manifest(**values)
    except (StoreError, OSError):  # another process writes, or nothing can be written there
        pass
