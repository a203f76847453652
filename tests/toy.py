"""A toy encoder: exact expectations, no weights."""

import re

import numpy as np

from retrieval.encoders.preprocess import Preprocess


class ToyEncoder:
    """Sees the mean colour of a picture, reads the names of colours: exact expectations, no weights.

    red, green and blue are the axes; any other word adds to a fourth.
    """

    name, dim, preprocess = "toy", 4, Preprocess(8)
    lanes, bulk = 1, 32

    def __init__(self, fingerprint="toy-fingerprint"):
        self.fingerprint = fingerprint
        self.images_seen = 0

    def encode_images(self, images):
        self.images_seen += len(images)
        arrays = [i if isinstance(i, np.ndarray) else self.preprocess(i) for i in images]
        rows = [np.append(a.reshape(-1, 3).mean(0), 1e-3) for a in arrays]
        return _unit(np.array(rows, np.float32).reshape(-1, 4))

    def encode_texts(self, texts):
        words = [re.findall(r"\w+", text.lower()) for text in texts]
        rows = [[w.count("red"), w.count("green"), w.count("blue"), 0.01] for w in words]
        return _unit(np.array(rows, np.float32))

    def pool_frames(self, vectors):
        return _unit(vectors.mean(1))


def _unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
