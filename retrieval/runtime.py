"""QueryEncoder: the text tower as ONNX with its tokenizer, so that a cold query imports no torch.

It is exported once for each encoder, at index time, into the user's cache under the encoder's fingerprint
(`~/.cache/mmr/query/`, or $MMR_CACHE, or $XDG_CACHE_HOME/mmr), and may be deleted at any time: a query then loads the
encoder itself. Encoders with a tokenizer of their own (open_clip's) are not exported yet.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexes import durable

if TYPE_CHECKING:
    from retrieval.encoder import DualEncoder

MANIFEST, TEXT, TOKENIZER = "manifest.json", "text.onnx", "tokenizer.json"
_OPSET = 18


def cache_folder() -> Path:
    """Where exported encoders are kept."""
    given = os.environ.get("MMR_CACHE")
    base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmr"
    return base / "query"


class QueryEncoder:
    """Encodes texts without torch. Pictures, which are rare as queries, go to the whole encoder, loaded when needed."""

    def __init__(self, folder: Path, load: Callable[[], "DualEncoder"]) -> None:
        import onnxruntime

        from retrieval.tokenizer import CaptionTokenizer

        manifest = json.loads((folder / MANIFEST).read_text())
        self.name, self.dim, self.fingerprint = manifest["name"], manifest["dim"], manifest["fingerprint"]
        self.tokenize = CaptionTokenizer.from_json((folder / TOKENIZER).read_text(), manifest["context"])
        options = onnxruntime.SessionOptions()
        # A query runs the tower once: packing its weights for speed takes longer than it saves.
        options.add_session_config_entry("session.disable_prepacking", "1")
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(folder / TEXT, options, providers=["CPUExecutionProvider"])
        self._load, self._whole = load, None

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Texts to float32 (n, dim) of unit length."""
        (vectors,) = self._session.run(None, {"tokens": self.tokenize(texts)})
        return vectors

    @property
    def preprocess(self):  # noqa: ANN201 - the whole encoder's
        """How pictures become pixels."""
        return self._encoder().preprocess

    def encode_images(self, images: Sequence) -> np.ndarray:
        """Pictures to float32 (n, dim) of unit length, by the whole encoder."""
        return self._encoder().encode_images(images)

    def _encoder(self) -> "DualEncoder":
        if self._whole is None:
            self._whole = self._load()
        return self._whole


def open_query_encoder(fingerprint: str, load: Callable[[], "DualEncoder"]) -> QueryEncoder | None:
    """The exported encoder of that fingerprint, or None where there is none, or it cannot be used."""
    folder = cache_folder() / fingerprint
    if not (folder / MANIFEST).is_file():
        return None
    try:
        return QueryEncoder(folder, load)
    # A damaged cache must never stop a query: onnxruntime, JSON and tokenizers each raise their own.
    except Exception:
        return None


def export(encoder: "DualEncoder") -> Path | None:
    """Export the text tower into the cache, unless it is there; its folder, or None for a foreign tokenizer."""
    import torch

    from retrieval.tokenizer import CaptionTokenizer

    folder = cache_folder() / encoder.fingerprint
    if not isinstance(encoder.tokenize, CaptionTokenizer):
        return None
    if open_query_encoder(encoder.fingerprint, lambda: encoder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".partial-"))
    try:
        with torch.inference_mode():
            _export_text(encoder, beside / TEXT)
        durable.write_bytes(beside / TOKENIZER, encoder.tokenize.to_json().encode())
        manifest = {
            "name": encoder.name,
            "fingerprint": encoder.fingerprint,
            "dim": encoder.dim,
            "context": encoder.tokenize.context,
        }
        durable.write_bytes(beside / MANIFEST, json.dumps(manifest).encode())
        shutil.rmtree(folder, ignore_errors=True)  # damaged, or half deleted
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def _export_text(encoder: "DualEncoder", file: Path) -> None:
    import copy
    import warnings

    import torch

    class Text(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tower = copy.deepcopy(encoder.text_tower).cpu().float().eval()

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.normalize(self.tower(tokens), dim=-1)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracing exporter: deprecated, but it needs no further package
        torch.onnx.export(
            Text(),
            (torch.ones(2, 5, dtype=torch.int64),),
            str(file),
            input_names=["tokens"],
            output_names=["vectors"],
            dynamic_axes={"tokens": {0: "texts", 1: "length"}, "vectors": {0: "texts"}},
            opset_version=_OPSET,
            dynamo=False,
        )
