"""A teacher: what another encoder says of the pairs, asked once of each picture and caption before the first step.

Its vectors are kept as float16, 2 bytes x dim for each picture and caption. It sees whole pictures and whole captions,
whatever the student is shown of them.
"""

from collections.abc import Sequence

import numpy as np
import torch

from retrieval import pipeline
from retrieval.datatypes import Features, Item
from retrieval.encoder import DualEncoder


class Teacher:
    """teacher(items, drawn) -> Features of a batch: image (b, d), text (b, draws, d), the teacher's scale and bias."""

    def __init__(self, encoder: DualEncoder, items: Sequence[Item], captions: Sequence[Sequence[str]]) -> None:
        parts = list(pipeline.encode(items, encoder))
        place = {item.id: number for number, item in enumerate(items)}
        self._images = np.zeros((len(items), encoder.dim), np.float16)
        for part in parts:
            self._images[[place[item.id] for item in part.items]] = part.vectors
        self._starts = np.cumsum([0, *map(len, captions)])
        self._texts = encoder.encode_texts([text for several in captions for text in several]).astype(np.float16)
        self._scale = encoder.log_logit_scale.detach().exp().cpu()
        self._bias = None if encoder.logit_bias is None else encoder.logit_bias.detach().cpu()

    def __call__(self, items: np.ndarray, drawn: Sequence[Sequence[int]]) -> Features:
        """items (b,): positions; drawn: which captions of each."""
        places = [
            [self._starts[item] + number for number in numbers] for item, numbers in zip(items, drawn, strict=True)
        ]
        image, text = torch.from_numpy(self._images[items]), torch.from_numpy(self._texts[np.array(places)])
        return Features(image.float(), text.float(), self._scale, self._bias)
