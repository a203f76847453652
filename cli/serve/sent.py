"""Pictures that were sent as queries: what is kept of them is their vector, under the name of their content."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Mapping

import numpy as np

from cli.serve.shelf import Shelf
from retrieval.encoders import encoding
from retrieval.encoders.protocol import Encoder
from retrieval.errors import BadRequest
from retrieval.images import load
from retrieval.images.regions import Region
from retrieval.search import query

KEPT = 512  # pictures


class Sent:
    """The vectors of the pictures that were sent last, for one encoder each. Threads may share it."""

    def __init__(self) -> None:
        self._vectors: OrderedDict[str, tuple[str, np.ndarray]] = OrderedDict()  # with the encoder's fingerprint
        self._lock = threading.Lock()

    def vectors(self, encoder: Encoder) -> Mapping[str, np.ndarray]:
        """By the names that `keep` gave: those of an encoder, as others say nothing to it."""
        own = encoder.fingerprint
        with self._lock:
            return {name: vector for name, (fingerprint, vector) in self._vectors.items() if fingerprint == own}

    def keep(self, content: bytes, crop: Region | None, shelf: Shelf) -> str:
        """Decode and encode a picture; its name. Raises ImageError, BadRequest for a crop that is none."""
        encoder = shelf.retriever.encoder
        said = f"{encoder.fingerprint}\0{crop}\0".encode()
        name = hashlib.sha256(said + content).hexdigest()[:32]
        with self._lock:
            if name in self._vectors:
                self._vectors.move_to_end(name)
                return name
        if encoder.preprocess.hears("picture"):  # it sees none: what was sent is a sound
            (vector,) = query.seen([encoding.taken_in(content, encoder.preprocess)], encoder)
        else:
            image = load.decode(content, None if crop else encoder.preprocess.size)
            (vector,) = encoder.encode_images([image if crop is None else crop.of(image)])
        self._put(name, encoder.fingerprint, vector)
        return name

    def keep_vector(self, vector: np.ndarray, shelf: Shelf) -> str:
        """Keep a unit vector of an index's encoder that came as numbers; its name."""
        fingerprint = shelf.retriever.encoder.fingerprint
        name = hashlib.sha256(fingerprint.encode() + vector.tobytes()).hexdigest()[:32]
        self._put(name, fingerprint, vector)
        return name

    def _put(self, name: str, fingerprint: str, vector: np.ndarray) -> None:
        with self._lock:
            self._vectors[name] = fingerprint, vector
            while len(self._vectors) > KEPT:
                self._vectors.popitem(last=False)


def parse_crop(text: str | None) -> Region | None:
    """ "x,y,width,height" in shares of the picture's. Raises BadRequest."""
    if not text:
        return None
    try:
        x, y, width, height = (float(part) for part in text.split(","))
    except ValueError:
        raise BadRequest(f"{text[:60]} is no crop: give crop=x,y,width,height in shares of the picture's") from None
    return Region.of_shares(x, y, width, height, text=text, option="crop=")
