"""Export: a DualEncoder's towers as ONNX files in a folder, from which QueryEncoder answers without torch.

    manifest.json   name, dim, fingerprint, preprocess, tokenizer, trim, languages
    text.onnx  text.bin   image.onnx  image.bin   frames.onnx  frames.bin   tokenizer.json or tokenizer.db
    text.seal  image.seal  their digests, with those of what belongs to them (sealed.py)

frames.onnx pools the frames of clips, where that is learned. torch is imported when something is exported: a query
reads the names of these files here.
"""

import copy
import json
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexes import durable
from retrieval import cache
from retrieval.cache import MANIFEST, PARTIAL
from retrieval.encoders import onnx_session, sealed
from retrieval.encoders.tokenizers import saved

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from retrieval.encoders.encoder import DualEncoder

TEXT, IMAGE, FRAMES = "text.onnx", "image.onnx", "frames.onnx"


def export(encoder: "DualEncoder", images: bool = False) -> Path:
    """Write the text tower, its tokenizer and the manifest into the cache; the folder. Raises OSError.

    images: the picture tower too. Where another process was faster, what it wrote stays.
    """
    folder = cache.folder(cache.QUERY) / encoder.fingerprint
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=PARTIAL))
    try:
        _export_text_tower(encoder, beside)
        manifest = {
            "name": encoder.name, "fingerprint": encoder.fingerprint, "dim": encoder.dim,
            "preprocess": encoder.preprocess.to_json(), "trim": _may_be_trimmed(encoder),
            "tokenizer": saved.save(encoder.tokenize, beside), "languages": encoder.languages,
        }  # fmt: skip
        durable.write_bytes(beside / MANIFEST, json.dumps(manifest).encode())
        sealed.seal(beside / TEXT, [file for file in beside.rglob("*") if file.is_file()])
        if images:
            export_image_tower(encoder, beside)
        _put(beside, folder, images)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def _put(beside: Path, folder: Path, images: bool) -> None:
    """Rename what is whole now to where it belongs, in the place of what is damaged or half deleted."""
    wanted = (TEXT, IMAGE) if images else (TEXT,)
    if all(sealed.is_whole(folder / graph) for graph in wanted):
        return
    shutil.rmtree(folder, ignore_errors=True)
    try:
        beside.rename(folder)
    except OSError:  # another process put its own there in this moment
        if not (folder / MANIFEST).is_file():
            raise


def export_image_tower(encoder: "DualEncoder", folder: Path) -> None:
    """Write the picture tower into an exported encoder's folder; it takes uint8 pixels (n, s, s, c).

    Before it, what pools the frames of clips, where that is learned, and behind it the seal of both: with that they are
    there.
    """
    import torch

    from retrieval.encoders.views import encode_views

    if encoder.frame_pool:
        frames = torch.nn.functional.normalize(torch.randn(2, 3, encoder.dim), dim=-1)
        _write(_copy(encoder.frame_pool), frames, folder / FRAMES, "frames", {0: "clips", 1: "frames"})

    preprocess = encoder.preprocess
    _write_of_pixels(encoder, lambda tower, shown: encode_views(tower, shown, preprocess.views), folder / IMAGE)
    sealed.seal(folder / IMAGE, [*folder.glob("image.bin"), *folder.glob("frames.[ob]*")])


def export_features(encoder: "DualEncoder", file: Path) -> None:
    """Write what the picture tower's body says of each view, one after the other: uint8 to (n, views * width)."""
    import torch

    from retrieval.encoders.views import views

    count = encoder.preprocess.views
    _write_of_pixels(
        encoder, lambda tower, shown: torch.cat([tower.features(look) for look in views(shown, count)], 1), file
    )


def _write_of_pixels(encoder: "DualEncoder", ask: "Callable[[Any, Tensor], Tensor]", file: Path) -> None:
    """Write what `ask` gets of the picture tower and pictures that are normalized, as a graph of uint8 (n, s, s, c)."""
    import torch

    from retrieval.towers import timm_tower

    size = encoder.preprocess.size
    pixels = torch.zeros(2, size, size, encoder.preprocess.channels, dtype=torch.uint8)

    class Image(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            looks = encoder.preprocess.normalize(pixels)
            self.tower = timm_tower.with_fixed_padding(_copy(encoder.image_tower), looks)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return ask(self.tower, encoder.preprocess.normalize(pixels))

    _write(Image(), pixels, file, "pixels", {0: "pictures"})


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
    assert whole is not None and short is not None, "tokens were given"
    return bool((whole * short).sum() > 1 - 1e-6)


def _copy(tower: "nn.Module") -> "nn.Module":
    from retrieval.towers import open_clip_towers

    return open_clip_towers.with_plain_attention(copy.deepcopy(tower).cpu().float().eval())


def _write(module: "nn.Module", example: "Tensor", file: Path, name: str, axes: dict[int, str]) -> None:
    """Export, let ONNX Runtime rewrite the graph once, and keep graph and weights in two files: FILE.onnx, FILE.bin."""
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=PARTIAL) as folder:
        _trace(module, example, Path(folder) / "traced.onnx", name, axes)
        weights = file.with_suffix(".bin").name
        onnx_session.optimize(Path(folder) / "traced.onnx", Path(folder) / file.name, weights)
        for made in (weights, file.name):  # the graph last: with it the tower is whole
            if (Path(folder) / made).exists():
                (Path(folder) / made).replace(file.parent / made)


def _trace(module: "nn.Module", example: "Tensor", file: Path, name: str, axes: dict[int, str]) -> None:
    import torch

    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of the tracing exporter: deprecated, but it needs no further package
        torch.onnx.export(
            module, (example,), str(file), input_names=[name], output_names=["vectors"], opset_version=18, dynamo=False,
            dynamic_axes={name: axes, "vectors": {0: axes[0]}},
        )  # fmt: skip
