"""Heads are trained on features: what frozen bodies make of each picture and caption, made once and kept in the cache.

A body that is not trained, and is shown every picture as it is, says the same in each pass. Its answers are a few
kilobytes a picture, so that a run on them takes minutes where it would take hours.
"""

import hashlib
import logging
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from retrieval import cache
from retrieval.callbacks import OnProgress
from retrieval.datatypes import Item, Picture
from retrieval.encoders import encoding, kept, onnx_export
from retrieval.encoders.encoder import DualEncoder
from retrieval.encoders.kept import Pool
from retrieval.encoders.onnx_session import Session
from retrieval.encoders.preprocess import Preprocess
from retrieval.encoders.protocol import KeptTokenizer
from retrieval.encoders.views import views
from retrieval.towers.tower import Tower
from retrieval.training.config import TrainConfig
from retrieval.training.dataset import TrainingSet
from retrieval.training.trainable import SIDES

_FEW = 100  # pictures that are asked sooner than a graph is made
HEAD = "project."  # how the names of a head's weights begin


def what_changes(encoder: DualEncoder, config: TrainConfig) -> str:
    """The setting for which bodies have to be asked in each pass, as "crop=0.5"; "" where once is enough.

    The encoder's frozen part is chosen.
    """
    still = {"crop": 1.0, "color_jitter": 0.0, "word_dropout": 0.0, "patch_dropout": 0.0, "frames": 1}
    for name, value in still.items():
        if getattr(config, name) != value:
            return f"{name}={getattr(config, name)}"
    towers: dict[str, Tower] = {"image_tower": encoder.image_tower, "text_tower": encoder.text_tower}
    for name, tower in towers.items():
        if not tower.has_features:
            return f"{name}={getattr(config, name)}"
    if all(map(_is_still, towers.values())):
        return ""
    return f"unfreeze={config.unfreeze}" if config.freeze == "both" else f"freeze={config.freeze}"


def sees_the_same(encoder: DualEncoder, config: TrainConfig) -> bool:
    """Does the image tower's body say the same of a picture in each pass, whatever the text tower learns?"""
    still = config.crop == 1 and not config.color_jitter and not config.patch_dropout and config.frames == 1
    plain = config.flip == "no" and config.views == 1 and not config.train_size and not config.small_share
    return still and plain and encoder.image_tower.has_features and _is_still(encoder.image_tower)


def _is_still(tower: Tower) -> bool:
    """Is nothing of its body trained?"""
    trained = (name for name, weight in tower.named_parameters() if weight.requires_grad)
    return all(name.startswith(HEAD) for name in trained)


class FeatureSet(TrainingSet):
    """A TrainingSet whose pictures are features, float32 (n, views, width), and whose tokens are rows of them too.

    A step sees each picture by one of its views, drawn anew.
    """

    def _look(self, encoder: DualEncoder, on_progress: OnProgress) -> np.ndarray | None:
        view = _Seen(encoder)
        made_by = f"image {body_fingerprint(encoder, 'image')} {view.preprocess.to_json()} {view.preprocess.views}"
        pool = Pool(cache.FEATURES, made_by, view.preprocess.views * encoder.image_tower.width)
        names = {item.id: kept.name_of(item) for item in self._items}
        lacking = [item for item in self._items if names[item.id] not in pool]
        rows, read = self._encode(view, lacking, on_progress)
        if read:
            pool.add([names[item.id] for item in read], rows)
        self._items = [item for item in self._items if names[item.id] in pool]
        found = pool.rows([names[item.id] for item in self._items])
        return found.reshape(len(self._items), view.preprocess.views, encoder.image_tower.width)

    def _encode(
        self, view: "_Seen", items: Sequence[Item], on_progress: OnProgress
    ) -> tuple[np.ndarray, list[Item]]:  # fmt: skip
        """The features of those items that can be read, and which they are; the others are skipped."""
        rows, read = [], list[Item]()
        for batch in encoding.encode(items, view):
            rows.append(batch.vectors)
            read += batch.items
            self.skipped += batch.skipped
            on_progress(len(read) + len(self.skipped), len(items))
        return np.concatenate([part for part in rows if len(part)] or [np.empty((0, 0), np.float32)]), read

    def _read(self, encoder: DualEncoder, texts: Sequence[Sequence[str]]) -> list[Any]:
        made_by = f"text {body_fingerprint(encoder, 'text')} {words_of(encoder)}"
        pool = Pool(cache.FEATURES, made_by, encoder.text_tower.width)
        every = [text for several in texts for text in several]
        lacking = [text for text in dict.fromkeys(every) if kept.name_of_text(text) not in pool]
        if lacking:
            pool.add([kept.name_of_text(text) for text in lacking], _of_texts(encoder, lacking))
        rows = pool.rows([kept.name_of_text(text) for text in every])
        return np.split(rows, np.cumsum([len(several) for several in texts])[:-1])

    def _padded(self, rows: Sequence[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.stack(rows))

    def _shown_of(self, items: np.ndarray, mine: slice, step: int, generator: torch.Generator) -> torch.Tensor:
        assert self.pixels is not None  # features are always kept
        drawn = torch.randint(self.pixels.shape[1], (len(items),), generator=generator).numpy()
        return torch.from_numpy(self.pixels[items[mine], drawn[mine]])

    def share_of(self, step: int) -> float:
        """The share of the run's work that its first `step` steps are: all are alike."""
        return step / max(1, self.steps)


class SeenOnce(FeatureSet):
    """A FeatureSet of pictures alone: captions are tokens, for a text tower that is trained."""

    def _read(self, encoder: DualEncoder, texts: Sequence[Sequence[str]]) -> list[Any]:
        return TrainingSet._read(self, encoder, texts)

    def _padded(self, rows: Sequence[Any]) -> torch.Tensor:
        return TrainingSet._padded(self, rows)


class _Seen:
    """An encoder whose vectors of pictures are their features, one view's after the other's.

    On a CPU by ONNX Runtime, which computes most bodies several times as fast as torch does.
    """

    bulk = 8  # what a core computes stays in its cache
    numbers = "float32"

    def __init__(self, encoder: DualEncoder) -> None:
        self.preprocess: Preprocess = encoder.preprocess
        self._encoder, self._making = encoder, threading.Lock()
        self._session: Session | None = None
        self._tried = encoder.device.type != "cpu"
        self.lanes = 1 if self._tried else torch.get_num_threads()

    @torch.inference_mode()
    def encode_images(self, images: Sequence[Picture]) -> np.ndarray:
        """float32 (n, views * width)."""
        if not images:
            return np.empty((0, 0), np.float32)
        pixels = np.stack([one if isinstance(one, np.ndarray) else self.preprocess(one) for one in images])
        if session := self._by_onnx():
            return session(pixels=pixels)
        shown = self.preprocess.normalize(torch.from_numpy(pixels).to(self._encoder.device))
        looks = map(self._encoder.image_tower.features, views(shown, self.preprocess.views))
        return torch.cat([*looks], 1).float().cpu().numpy()

    def _by_onnx(self) -> Session | None:
        """The body as a graph, made with the first pictures; None where it cannot be."""
        with self._making:
            if not self._tried:
                self._tried = True
                with tempfile.TemporaryDirectory() as folder:
                    try:
                        onnx_export.export_features(self._encoder, Path(folder) / "features.onnx")
                        self._session = Session(Path(folder) / "features.onnx", bulk=True)
                    # Of torch's exporter, whose errors are many: some bodies it does not know.
                    except Exception as error:
                        logging.getLogger(__name__).info("features are asked of torch: %s", error)
            return self._session

    def pool_frames(self, vectors: np.ndarray) -> np.ndarray:
        """Frames of clips (b, frames, n) to their means (b, n)."""
        return vectors.mean(1)


@torch.inference_mode()
def _of_texts(encoder: DualEncoder, texts: Sequence[str], at_once: int = 512) -> np.ndarray:
    parts = [np.empty((0, 0), np.float32)]
    for start in range(0, len(texts), at_once):
        tokens = torch.from_numpy(encoder.tokenize(texts[start : start + at_once])).to(encoder.device)
        parts.append(encoder.text_tower.features(tokens).float().cpu().numpy())
    return np.concatenate(parts[1:] or parts)


def words_of(encoder: DualEncoder) -> str:
    """A digest of the tokenizer, "" for one that is no part of a run: the same body reads other words otherwise."""
    kept_one = encoder.tokenize if isinstance(encoder.tokenize, KeptTokenizer) else None
    return hashlib.sha256(kept_one.content()).hexdigest()[:16] if kept_one else ""


def body_fingerprint(encoder: DualEncoder, side: str) -> str:
    """16 hex digits of all of a tower that is not trained. side: "image" or "text"."""
    (name,) = SIDES[side]
    digest = hashlib.sha256()
    for key, tensor in sorted(encoder.get_submodule(name).state_dict(keep_vars=True).items()):
        if not tensor.requires_grad:
            digest.update(f"{key}{tensor.dtype}{tuple(tensor.shape)}".encode())
            digest.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()[:16]
