"""A head's answers as labels of an index's items (labels.py), which `--where` understands."""

import numpy as np

from indexes import Record, Store
from retrieval.callbacks import OnProgress, no_progress
from retrieval.encoders.protocol import Encoder
from retrieval.errors import BadRequest
from retrieval.heads import labels
from retrieval.heads.head import Head
from retrieval.heads.inputs import IMAGE, SOUND, TEXT, WORDS, Inputs, of_texts, with_vectors
from retrieval.indexing.cards import Card
from retrieval.indexing.catalog import Identity

_AT_ONCE = 10_000  # rows of a commit


def label(
    store: Store, head: Head, encoder: Encoder, field: str = "",
    on_progress: OnProgress = no_progress,
) -> tuple[str, int, int]:  # fmt: skip
    """Write what `head` says of every item into the label `predicted_COLUMN`, with `..._probability` beside it.

    Vectors of pictures are those of the index; captions are encoded. Returns the field, how many items were labelled,
    and how many had nothing that the head goes by. Raises MissingModel for another encoder's index, BadRequest for a
    head that wants what no index holds, and for a field of the source.
    """
    identity = Identity.recorded(store)
    head.require(identity.fingerprint if identity else None, str(store.path))
    strange = [name for name in head.dims if name not in (IMAGE, SOUND, TEXT, WORDS)]
    if strange:
        raise BadRequest(f"the head wants `{strange[0]}`, which no index holds: train one with --set inputs=image,text")
    field = field or f"predicted_{head.column}"
    labels.require_free(store, field)
    rows, total = store.rows(), len(store)
    store.require_sound()
    vectors, done = store.vectors(rows), 0
    for start in range(0, total, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        records = store.records(rows[part])
        changed, kept = _answered(head, encoder, vectors[part], records, field)
        store.add(vectors[part][kept], changed)
        done += len(changed)
        on_progress(min(start + _AT_ONCE, total), total)
    return field, done, total - done


def _answered(
    head: Head, encoder: Encoder, vectors: np.ndarray, records: list[Record], field: str
) -> tuple[list[Record], np.ndarray]:  # fmt: skip
    """Records with the answer among their fields, and which of the rows they are."""
    inputs = Inputs({}, {})
    for name in head.dims:
        if name in (IMAGE, SOUND):
            heard = np.array([encoder.preprocess.hears(Card.of(record).kind) for record in records])
            inputs = with_vectors(inputs, name, vectors * (heard == (name == SOUND))[:, None])
        else:
            found, seen = of_texts([Card.of(record).caption or "" for record in records], encoder, name)
            inputs = Inputs({**inputs.vectors, name: found}, {**inputs.present, name: seen})
    kept = np.flatnonzero(inputs.anything)
    if not len(kept):
        return [], kept
    answers = zip(kept, head.labels(inputs[kept]), strict=True)
    return [labels.written(records[i], labels.said(field, *answer)) for i, answer in answers], kept
