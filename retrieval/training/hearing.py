"""Ears for an encoder that sees: a map from a sound encoder's space into its own, in closed form.

    both = with_ears(load_encoder("builtin"), load_encoder("runs/sounds"), open_pairs("pairs.csv"))

A sound's vector is mapped to where the captions that the picture encoder has of it are likely, or, of a clip, the
pictures it belongs to (sound_map.py). Pictures, words and their vectors stay as they are, so that sounds are found in
an index that is there.
"""

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import torch

from retrieval import towers
from retrieval.callbacks import OnProgress, no_progress
from retrieval.datatypes import Item, Pair
from retrieval.encoders import encoding
from retrieval.encoders.encoder import DualEncoder
from retrieval.encoders.prompts import prompts
from retrieval.errors import BadRequest, NothingReadable
from retrieval.towers.ears import Ears
from retrieval.training.sound_map import fit

LEAST = 10  # sounds


def with_ears(
    eyes: DualEncoder, ears: DualEncoder, pairs: Sequence[Pair], among: np.ndarray | None = None,
    on_progress: OnProgress = no_progress,
) -> DualEncoder:  # fmt: skip
    """An encoder that sees as `eyes` does, and hears what `ears` hears.

    Args:
        eyes: Sees pictures. It is changed: what comes out is it, with ears.
        ears: Hears sounds, as `mmr train` makes it of sounds.
        pairs: Sounds with captions; a clip counts with its frames in place of its captions.
        among: Vectors of pictures among which sounds are to be found, unit rows (n, dim); None is the bank of prompts.
            Words are nearer to words than to pictures (the modality gap, Liang 2022): sounds are as near to captions
            that are not theirs as these are.
        on_progress: Called with (done, total) sounds.

    Returns:
        The encoder. Its `extends` is the fingerprint that it had without ears: what has an index of that one takes it.

    Raises:
        BadRequest: One of them hears already, or does not; clips are pooled in a learned way; or the pairs are few.
    """
    _check(eyes, ears)
    sounds, targets = _matched(eyes, ears, pairs, on_progress)
    if len(sounds) < LEAST:
        raise NothingReadable(
            f"{len(sounds)} usable sound(s): the map needs at least {LEAST}, better 300: add some", []
        )
    extends = eyes.fingerprint
    bank = eyes.encode_texts(prompts())
    found = fit(sounds, targets, bank if among is None else among, bank)
    made = Ears(towers.build(towers.IMAGE_TOWERS, ears.dim, ears.image_tower.spec), ears.dim, eyes.dim)
    made.tower.load_state_dict(ears.image_tower.state_dict())
    made.start(**{name: torch.tensor(value, dtype=torch.float32) for name, value in asdict(found).items()})
    eyes.use_ears(made, ears.preprocess, extends)
    return eyes


def _check(eyes: DualEncoder, ears: DualEncoder) -> None:
    if ears.preprocess.kinds != {"clip", "sound"}:
        raise BadRequest(f"{ears.name or 'it'} hears nothing: give a run that `mmr train SOUNDS --recipe sound` made")
    if "sound" in eyes.preprocess.kinds:
        raise BadRequest(f"{eyes.name or 'it'} hears already: give the encoder that sees pictures only")
    if eyes.frame_pool or eyes.preprocess.channels == 1:
        raise BadRequest(f"{eyes.name or 'it'} pools clips in its own way, or sees gray pictures: give another encoder")


def _matched(
    eyes: DualEncoder, ears: DualEncoder, pairs: Sequence[Pair], on_progress: OnProgress
) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows of the sounds that can be heard, (n, inner), and where the eyes have what belongs to each, (n, dim)."""
    items = list({pair.item.id: pair.item for pair in pairs}.values())
    heard = _rows(items, ears, on_progress)
    seen = _rows([item for item in items if item.kind == "clip" and item.id in heard], eyes)
    texts: dict[str, list[str]] = {}
    for pair in pairs:
        if pair.item.kind != "clip" and pair.item.id in heard:
            texts.setdefault(pair.item.id, []).append(pair.caption)
    read = iter(eyes.encode_texts([text for several in texts.values() for text in several]))
    means = {id_: np.mean([next(read) for _ in several], 0) for id_, several in texts.items()}
    targets = seen | {id_: mean / np.linalg.norm(mean) for id_, mean in means.items()}
    kept = [id_ for id_ in heard if id_ in targets]
    return np.array([heard[id_] for id_ in kept]), np.array([targets[id_] for id_ in kept])


def _rows(items: Sequence[Item], encoder: DualEncoder, on_progress: OnProgress = no_progress) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for batch in encoding.encode(items, encoder):
        found |= {item.id: row for item, row in zip(batch.items, batch.vectors, strict=True)}
        on_progress(len(found), len(items))
    return found
