"""QueryEncoder: the towers as ONNX with their tokenizer, so that a cold query imports no torch and no open_clip.

The text tower is exported once for each encoder, at index time, into the user's cache under the encoder's fingerprint
(`~/.cache/mmr/query/`, or $MMR_CACHE, or $XDG_CACHE_HOME/mmr); the picture tower with the first picture that asks. What
is there may be deleted at any time: a query then loads the encoder itself. Weights lie beside the graph, where they are
mapped, not read: a query touches a few rows of the token table only.

    manifest.json   name, dim, fingerprint, preprocess, tokenizer, trim
    text.onnx  text.bin   image.onnx  image.bin   frames.onnx  frames.bin   tokenizer.json or tokenizer.db

frames.onnx pools the frames of clips, where that is learned.
"""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexes import durable
from retrieval import tokenizers_on_disk
from retrieval.preprocess import Preprocess

if TYPE_CHECKING:
    from retrieval.encoder import DualEncoder

MANIFEST, TEXT, IMAGE, FRAMES = "manifest.json", "text.onnx", "image.onnx", "frames.onnx"
IMAGES_AT_ONCE = 16
PARTIAL = ".partial-"  # how the names of folders in the making start


def cache_folder() -> Path:
    """Where exported encoders are kept."""
    given = os.environ.get("MMR_CACHE")
    base = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mmr"
    return base / "query"


class QueryEncoder:
    """Encodes texts and pictures without torch. load: gives the whole encoder, for what is not exported yet."""

    def __init__(self, folder: Path, load: Callable[[], "DualEncoder"]) -> None:
        manifest = json.loads((folder / MANIFEST).read_text())
        self.name, self.dim, self.fingerprint = manifest["name"], manifest["dim"], manifest["fingerprint"]
        self.preprocess = Preprocess.from_json(manifest["preprocess"])
        self.tokenize = tokenizers_on_disk.load(folder, manifest["tokenizer"])
        self._trim, self._folder, self._load = manifest["trim"], folder, load
        self._text, self._image = _session(folder / TEXT), None

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Texts to float32 (n, dim) of unit length."""
        tokens = self.tokenize(texts)
        if self._trim:  # what follows a text's end decides nothing, and is most of the work
            tokens = tokens[:, : max(1, int(np.count_nonzero(tokens, axis=1).max(initial=1)))]
        (vectors,) = self._text.run(None, {"tokens": tokens})
        return vectors

    def encode_images(self, images: Sequence) -> np.ndarray:
        """RGB pictures, or arrays that `preprocess` made of them, to float32 (n, dim) of unit length."""
        if self._image is None and not self._find_image_tower():
            return self._load().encode_images(images)
        parts = [np.empty((0, self.dim), np.float32)]
        for start in range(0, len(images), IMAGES_AT_ONCE):
            part = images[start : start + IMAGES_AT_ONCE]
            pixels = np.stack([i if isinstance(i, np.ndarray) else self.preprocess(i) for i in part])
            parts.append(self._image.run(None, {"pixels": pixels})[0])
        return np.concatenate(parts)

    def pool_frames(self, vectors: np.ndarray) -> np.ndarray:
        """The frames of clips, unit rows (b, frames, dim) in the order of their time, to float32 (b, dim)."""
        if self._image is None and not self._find_image_tower():
            return self._load().pool_frames(vectors)
        if not (self._folder / FRAMES).is_file():
            means = vectors.mean(1)
            return means / np.linalg.norm(means, axis=1, keepdims=True)
        return _session(self._folder / FRAMES).run(None, {"frames": vectors})[0]

    def _find_image_tower(self) -> bool:
        """Open the picture tower, exporting it first where it is not there; False where it cannot be had as ONNX."""
        try:
            if not (self._folder / IMAGE).is_file():
                export_image_tower(self._load(), self._folder)
            self._image = _session(self._folder / IMAGE)
        # A cache that is damaged or cannot be written must never stop a query.
        except Exception:
            return False
        return True


def _session(file: Path):  # noqa: ANN202 - onnxruntime.InferenceSession
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # A query runs the tower once: packing its weights for speed takes longer than it saves, and so does rewriting the
    # graph, which was done when it was exported.
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def preprocess_of(name: str) -> Preprocess | None:
    """How an encoder of that name prepares pictures, as far as it is known without loading it."""
    manifests = [Path(name) / "encoder.json", *sorted(cache_folder().glob(f"*/{MANIFEST}"))]
    for file in manifests:
        try:
            manifest = json.loads(file.read_text())
            if file == manifests[0] or manifest["name"] == name:
                return Preprocess.from_json(manifest["preprocess"])
        except (OSError, ValueError, KeyError, TypeError):  # not there, damaged, or of another version
            continue
    return None


def open_query_encoder(fingerprint: str, load: Callable[[], "DualEncoder"]) -> QueryEncoder | None:
    """The exported encoder of that fingerprint, or None where there is none, or it cannot be used."""
    folder = cache_folder() / fingerprint
    if not (folder / MANIFEST).is_file():
        return None
    with contextlib.suppress(OSError):  # of another user, say
        os.utime(folder / MANIFEST)  # when it was last used: cached.py
    try:
        return QueryEncoder(folder, load)
    # A damaged cache must never stop a query: onnxruntime, JSON and the tokenizers each raise their own.
    except Exception:
        return None


# ---------------------------------------------------------------- export


def export(encoder: "DualEncoder") -> Path | None:
    """Export the text tower into the cache, unless it is there; its folder, or None for a tokenizer that cannot be."""
    folder = cache_folder() / encoder.fingerprint
    if not tokenizers_on_disk.can_save(encoder.tokenize):
        return None
    if open_query_encoder(encoder.fingerprint, lambda: encoder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=PARTIAL))
    try:
        _export_text_tower(encoder, beside)
        manifest = {
            "name": encoder.name, "fingerprint": encoder.fingerprint, "dim": encoder.dim,
            "preprocess": encoder.preprocess.to_json(), "trim": _may_be_trimmed(encoder),
            "tokenizer": tokenizers_on_disk.save(encoder.tokenize, beside),
        }  # fmt: skip
        durable.write_bytes(beside / MANIFEST, json.dumps(manifest).encode())
        shutil.rmtree(folder, ignore_errors=True)  # damaged, or half deleted
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def export_image_tower(encoder: "DualEncoder", folder: Path) -> None:
    """Write the picture tower into an exported encoder's folder; it takes uint8 pixels (n, s, s, c).

    Before it, what pools the frames of clips, where that is learned: with image.onnx both are there.
    """
    import torch

    from retrieval.views import encode_views

    if encoder.frame_pool:
        frames = torch.nn.functional.normalize(torch.randn(2, 3, encoder.dim), dim=-1)
        _write(_copy(encoder.frame_pool), frames, folder / FRAMES, "frames", {0: "clips", 1: "frames"})

    class Image(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tower = _copy(encoder.image_tower)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return encode_views(self.tower, encoder.preprocess.normalize(pixels), encoder.preprocess.views)

    size = encoder.preprocess.size
    pixels = torch.zeros(2, size, size, encoder.preprocess.channels, dtype=torch.uint8)
    _write(Image(), pixels, folder / IMAGE, "pixels", {0: "pictures"})


def _export_text_tower(encoder: "DualEncoder", folder: Path) -> None:
    import torch

    class Text(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tower = _copy(encoder.text_tower)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.normalize(self.tower(tokens), dim=-1)

    tokens = torch.from_numpy(encoder.tokenize(["a dog", "two dogs"]))
    axes = {0: "texts", 1: "length"} if _may_be_trimmed(encoder) or _any_length(encoder) else {0: "texts"}
    _write(Text(), tokens, folder / TEXT, "tokens", axes)


def _any_length(encoder: "DualEncoder") -> bool:
    """True where the tokenizer pads to the longest text, not to the context."""
    return encoder.tokenize(["a"]).shape[1] < encoder.tokenize(["a dog on a table"]).shape[1]


def _may_be_trimmed(encoder: "DualEncoder") -> bool:
    """True where a text's vector does not change when the zeros after its last token are cut off."""
    import torch

    tokens = torch.from_numpy(encoder.tokenize(["a dog running on grass"])).to(encoder.device)
    length = int((tokens != 0).sum())
    if length == tokens.shape[1] or bool((tokens[:, length:] != 0).any()):
        return False
    try:
        with torch.inference_mode():
            whole, short = encoder(tokens=tokens).text, encoder(tokens=tokens[:, :length]).text
    except RuntimeError:  # a tower that takes one length only
        return False
    return bool((whole * short).sum() > 1 - 1e-6)


def _copy(tower):  # noqa: ANN001, ANN202 - an nn.Module
    import copy

    from retrieval.towers import open_clip_towers

    return open_clip_towers.with_plain_attention(copy.deepcopy(tower).cpu().float().eval())


def _write(module, example, file: Path, name: str, axes: dict[int, str]) -> None:  # noqa: ANN001
    """Export, let onnxruntime rewrite the graph once, and keep graph and weights in two files: FILE.onnx, FILE.bin."""
    import onnxruntime

    with tempfile.TemporaryDirectory(dir=file.parent, prefix=PARTIAL) as folder:
        _trace(module, example, Path(folder) / "traced.onnx", name, axes)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(Path(folder) / file.name)
        weights = file.with_suffix(".bin").name
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", weights)
        options.add_session_config_entry("session.optimized_model_external_initializers_min_size_in_bytes", "1024")
        options.log_severity_level = 3
        onnxruntime.InferenceSession(Path(folder) / "traced.onnx", options, providers=["CPUExecutionProvider"])
        for made in (weights, file.name):  # the graph last: with it the tower is whole
            if (Path(folder) / made).exists():
                (Path(folder) / made).replace(file.parent / made)


def _trace(module, example, file: Path, name: str, axes: dict[int, str]) -> None:  # noqa: ANN001
    import warnings

    import torch

    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of the tracing exporter: deprecated, but it needs no further package
        torch.onnx.export(
            module, (example,), str(file), input_names=[name], output_names=["vectors"], opset_version=18, dynamo=False,
            dynamic_axes={name: axes, "vectors": {0: axes[0]}},
        )  # fmt: skip
