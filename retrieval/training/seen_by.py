"""Sounds learned from pictures: what an encoder sees in clips stands in place of captions (`seen_by=`).

The sound of a clip learns to be where that encoder has the clip's frames. Its words, which were bound to pictures, then
find sounds without a caption of one (ImageBind, Girdhar 2023). A sound without pictures counts with its captions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from retrieval import towers
from retrieval.encoders import encoding
from retrieval.encoders.build import new_encoder
from retrieval.encoders.config import HEARING, split
from retrieval.encoders.encoder import DualEncoder
from retrieval.encoders.load import load_encoder
from retrieval.errors import BadRequest
from retrieval.settings import require
from retrieval.towers.anchored import AnchoredTower
from retrieval.training.config import TrainConfig
from retrieval.training.dataset import TrainingSet


def first_encoder(config: TrainConfig) -> DualEncoder:
    """A new tower that hears beside the words of `config.seen_by`, which stay as they are. Raises BadRequest."""
    require(split(config.image_tower)[0] in HEARING, "image_tower", "must be mel or ast with seen_by")
    require(config.freeze in ("", "text"), "freeze", "must be text, or left out, with seen_by")
    require(not config.encoder, "seen_by", "belongs to an encoder from scratch")
    eyes = load_encoder(config.seen_by)
    if "picture" not in eyes.preprocess.kinds:
        raise BadRequest(f"seen_by={config.seen_by} sees no pictures: give an encoder that does, as seen_by=builtin")
    ears = new_encoder(config, ["a"]).image_tower.spec
    image = towers.build(towers.IMAGE_TOWERS, eyes.dim, ears)
    text = AnchoredTower(eyes.text_tower, eyes.dim).requires_grad_(False)
    preprocess = new_encoder(config, ["a"]).preprocess
    made = DualEncoder(
        image, text, preprocess, eyes.tokenize, eyes.dim, {"image": image.spec, "text": text.spec},
        logit_scale=config.logit_scale,
    )  # fmt: skip
    made.languages = eyes.languages
    return made


class SeenBy(TrainingSet):
    """A TrainingSet whose captions are vectors of what belongs to a sound, float32 rows (dim,)."""

    def _read(self, encoder: DualEncoder, texts: Sequence[Sequence[str]]) -> list[Any]:
        eyes = load_encoder(self.config.seen_by)
        clips = [item for item in self._items if item.kind == "clip"]
        seen: dict[str, np.ndarray] = {}
        for batch in encoding.encode(clips, eyes):
            seen |= {item.id: row for item, row in zip(batch.items, batch.vectors, strict=True)}
            self.skipped += batch.skipped
        rows = []
        for item, several in zip(self._items, texts, strict=True):
            said = [text for text in several if text]
            if item.id not in seen and not said:
                raise BadRequest(f"{item.uri} has neither pictures that can be seen nor captions: leave it out")
            rows.append(seen[item.id][None] if item.id in seen else eyes.encode_texts(said))
        return rows

    def _padded(self, rows: Sequence[Any]) -> torch.Tensor:
        return torch.from_numpy(np.stack(rows))
