"""Export: a DualEncoder's towers as ONNX files in a folder, from which QueryEncoder answers without torch.

    manifest.json   name, dim, fingerprint, preprocess, tokenizer, trim, languages, extends
    text.onnx  text.bin   image.onnx  image.bin   frames.onnx  frames.bin   tokenizer.json or tokenizer.db
    text.seal  image.seal  their digests, with those of what belongs to them (sealed.py)
    image_int8.onnx  image_int8.bin  image_int8.seal   for many pictures, where that may be faster (quantized.py)
    source.json  engines.json   what it was loaded of (weights.py), and how fast it is here (engines.py)

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
from retrieval.encoders import onnx_session, quantized, sealed
from retrieval.encoders.tokenizers import saved

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

    from retrieval.encoders.encoder import DualEncoder

TEXT, IMAGE, FRAMES = "text.onnx", "image.onnx", "frames.onnx"
IMAGE_INT8 = "image_int8.onnx"


def export(encoder: "DualEncoder", images: bool = False) -> Path:
    """Write the text tower, its tokenizer and the manifest into the cache; the folder. Raises OSError.

    images: the picture tower too, in all forms for many pictures. Where another process was faster, its own stays.
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
            "extends": encoder.extends,
        }  # fmt: skip
        durable.write_bytes(beside / MANIFEST, json.dumps(manifest).encode())
        sealed.seal(beside / TEXT, [file for file in beside.rglob("*") if file.is_file()])
        if images:
            export_image_tower(encoder, beside, IMAGE_INT8)
        _put(encoder, beside, folder, images)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return folder


def exported(encoder: "DualEncoder", images: bool = True) -> Path | None:
    """Where its towers lie in the cache, as they were written; None where they do not. images: that of pictures too."""
    folder = cache.folder(cache.QUERY) / encoder.fingerprint
    wanted = [TEXT, *([IMAGE] if images else [])]
    wanted += [IMAGE_INT8] if images and (folder / IMAGE_INT8).exists() else []
    return folder if all(sealed.is_whole(folder / graph) for graph in wanted) else None


def _put(encoder: "DualEncoder", beside: Path, folder: Path, images: bool) -> None:
    """Rename what is whole now to where it belongs, in the place of what is damaged or half deleted."""
    if exported(encoder, images):
        return
    shutil.rmtree(folder, ignore_errors=True)
    try:
        beside.rename(folder)
    except OSError:  # another process put its own there in this moment
        if not (folder / MANIFEST).is_file():
            raise


def export_image_tower(encoder: "DualEncoder", folder: Path, int8: str = "") -> None:
    """Write the picture tower into an exported encoder's folder; it takes uint8 pixels (n, s, s, c).

    int8: the name of its int8 form, which is written too where that may be faster. Before all, what pools the frames of
    clips, where that is learned, and last the seal: with that they are there.
    """
    import torch

    from retrieval.encoders.views import encode_views

    if encoder.frame_pool:
        frames = torch.nn.functional.normalize(torch.randn(2, 3, encoder.dim), dim=-1)
        _write(_copy(encoder.frame_pool), frames, folder / FRAMES, "frames", {0: "clips", 1: "frames"})

    preprocess = encoder.preprocess
    _write_of_pixels(encoder, lambda tower, shown: encode_views(tower, shown, preprocess.views), folder / IMAGE, int8)
    if int8 and (folder / int8).is_file():
        sealed.seal(folder / int8, folder.glob(f"{Path(int8).stem}.bin"))
    sealed.seal(folder / IMAGE, [*folder.glob("image.bin"), *folder.glob("frames.[ob]*")])


def export_features(encoder: "DualEncoder", file: Path) -> None:
    """Write what the picture tower's body says of each view, one after the other: uint8 to (n, views * width)."""
    import torch

    from retrieval.encoders.views import views

    count = encoder.preprocess.views
    _write_of_pixels(
        encoder, lambda tower, shown: torch.cat([tower.features(look) for look in views(shown, count)], 1), file
    )


def _write_of_pixels(
    encoder: "DualEncoder", ask: "Callable[[Any, Tensor], Tensor]", file: Path, int8: str = ""
) -> None:  # fmt: skip
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

    _write(Image(), pixels, file, "pixels", {0: "pictures"}, int8)


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


def _write(
    module: "nn.Module", example: "Tensor", file: Path, name: str, axes: dict[int, str], int8: str = ""
) -> None:  # fmt: skip
    """Export, let ONNX Runtime rewrite the graph once, and keep graph and weights in two files: FILE.onnx, FILE.bin.

    int8: the name of a file for its int8 form, which is written too where it pays.
    """
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=PARTIAL) as folder:
        traced = Path(folder) / "traced.onnx"
        _trace(module, example, traced, name, axes)
        _put_optimized(traced, file)
        if int8 and quantized.pays(traced) and quantized.write(traced, Path(folder) / "quantized.onnx"):
            _put_optimized(Path(folder) / "quantized.onnx", file.parent / int8)


def _put_optimized(traced: Path, file: Path) -> None:
    weights = file.with_suffix(".bin").name
    onnx_session.optimize(traced, traced.parent / file.name, weights)
    for made in (weights, file.name):  # the graph last: with it the tower is whole
        if (traced.parent / made).exists():
            (traced.parent / made).replace(file.parent / made)


def _trace(module: "nn.Module", example: "Tensor", file: Path, name: str, axes: dict[int, str]) -> None:
    import torch

    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # of the tracing exporter: deprecated, but it needs no further package
        torch.onnx.export(
            module, (example,), str(file), input_names=[name], output_names=["vectors"], opset_version=18, dynamo=False,
            dynamic_axes={name: axes, "vectors": {0: axes[0]}},
        )  # fmt: skip
