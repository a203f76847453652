"""Teachers: what other encoders say of the pairs, asked once of each picture and caption before the first step.

Their vectors are kept as float16, 2 bytes x dim for each picture and caption. They see whole pictures and whole
captions, whatever the student is shown of them. Several teachers speak with one voice: the mean of their logits.
"""

from collections.abc import Sequence

import numpy as np
import torch

from retrieval.datatypes import Features, Item
from retrieval.encoders import encoding
from retrieval.encoders.encoder import DualEncoder
from retrieval.encoders.load import load_encoder
from retrieval.towers.combined import beside


def load_teachers(names: str, device: str, precision: str) -> list[DualEncoder]:
    """The encoders of names with commas between them, none of "". Raises MissingModel and BadRequest."""
    return [load_encoder(name, device).to_fast_precision(precision) for name in names.split(",") if name]


class Teacher:
    """teacher(items, drawn) -> Features of a batch: image (b, d), text (b, draws, d), the teacher's scale and bias.

    Attributes:
        images: Its vectors of the pictures, float16 (n, d).
        texts: Its vectors of all captions, one item's after the other's, float16 (m, d).
    """

    def __init__(self, encoder: DualEncoder, items: Sequence[Item], captions: Sequence[Sequence[str]]) -> None:
        parts = list(encoding.encode(items, encoder))
        place = {item.id: number for number, item in enumerate(items)}
        self.images = np.zeros((len(items), encoder.dim), np.float16)
        for part in parts:
            self.images[[place[item.id] for item in part.items]] = part.vectors
        self._starts = np.cumsum([0, *map(len, captions)])
        self.texts = encoder.encode_texts([text for several in captions for text in several]).astype(np.float16)
        self._scale = encoder.log_logit_scale.detach().exp().cpu()
        self._bias = None if encoder.logit_bias is None else encoder.logit_bias.detach().cpu()

    def __call__(self, items: np.ndarray, drawn: Sequence[Sequence[int]]) -> Features:
        """items (b,): positions; drawn: which captions of each."""
        places = [
            [self._starts[item] + number for number in numbers] for item, numbers in zip(items, drawn, strict=True)
        ]
        image, text = torch.from_numpy(self.images[items]), torch.from_numpy(self.texts[np.array(places)])
        return Features(image.float(), text.float(), self._scale, self._bias)


def in_chorus(said: Sequence[Features]) -> Features:
    """What several teachers say of one batch as if one said it: its logits are the mean of theirs."""
    if len(said) == 1:
        return said[0]
    scales = torch.stack([one.logit_scale for one in said])
    image, text = (beside([getattr(one, side) for one in said], scales / scales.sum()) for side in ("image", "text"))
    biases = [one.bias for one in said if one.bias is not None]
    return Features(image, text, scales.mean(), sum(biases[1:], biases[0]) / len(said) if biases else None)
