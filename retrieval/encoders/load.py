"""Encoders by name.

    load_encoder("builtin")                               made of packages' weights (builtin.py)
    load_encoder("small")                                 a preset (presets.py)
    load_encoder("open_clip:ViT-B-32-256/weights.pt")     open_clip's own loading: NAME/TAG or NAME/FILE
    load_encoder("runs/flickr")                           a run folder, what `mmr train` wrote

A name is `scheme:rest`; to add a scheme, write `f(rest) -> DualEncoder` and name it in ENCODERS.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from indexes.distribution import UPGRADE
from indexes.typed import Malformed
from retrieval import engine, towers
from retrieval.encoders import builtin, manifest
from retrieval.encoders.build import from_spec
from retrieval.encoders.encoder import FORMAT_VERSION, MANIFEST, WEIGHTS, DualEncoder, EncoderSpec
from retrieval.encoders.manifest import RunManifest
from retrieval.encoders.preprocess import Preprocess
from retrieval.encoders.presets import PRESETS, require, unknown
from retrieval.encoders.protocol import Tokenizer
from retrieval.encoders.tokenizers import open_clip, saved
from retrieval.encoders.tokenizers.captions import CaptionTokenizer
from retrieval.encoders.tokenizers.of_tower import require_fit
from retrieval.errors import BadRequest, MissingModel
from retrieval.specs import check_spec
from retrieval.towers import frames, open_clip_towers
from retrieval.towers.ears import build_ears
from retrieval.towers.tower import Spec


def load_encoder(name: str, device: str = "cpu") -> DualEncoder:
    """Load an encoder by its name.

    Args:
        name: `builtin`, a preset (`small`, `base`, ...; presets.py), `open_clip:NAME/TAG`, `open_clip:NAME/FILE`, or
            the folder of a run.
        device: "cpu", "cuda", or "auto" for the second where there is one.

    Returns:
        The encoder in eval mode, on the device.

    Raises:
        BadRequest: open_clip has no such model or tag, or the device is not here.
        MissingModel: There is no encoder of that name, its run is damaged, unfinished or of a newer version, or its
            weights are neither here nor to be had.

    Examples:
        >>> encoder = load_encoder("small")
        >>> encoder.encode_texts(["a dog"]).shape
        (1, 512)
    """
    where = engine.resolve_device(device)
    encoder = _load(name).to(where)
    encoder.name = name
    return encoder.eval()


def _load(name: str) -> DualEncoder:
    if Path(name).is_dir():
        return load_run(name)
    require(name)
    if name == builtin.NAME:
        return builtin.load()
    scheme, _, rest = (PRESETS[name].model if name in PRESETS else name).partition(":")
    if not rest or scheme not in ENCODERS:
        raise unknown(name)
    return ENCODERS[scheme](rest)


def load_run(folder: Path | str) -> DualEncoder:
    """The encoder of a run folder. Raises MissingModel where the folder is none, unfinished, newer or damaged."""
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        unfinished = (folder / "config.json").is_file()
        way = f"go on with `mmr train SOURCE --out {folder} --resume`" if unfinished else "give the folder of a run"
        raise MissingModel(f"{folder} holds no trained encoder: {way}")
    try:
        said = manifest.of_run(folder / MANIFEST)
        if said.format > FORMAT_VERSION:
            raise MissingModel(f"{folder} was written by a newer mmr: upgrade with `{UPGRADE}`")
        return _read_run(folder, said)
    except MissingModel:
        raise
    # Whatever a damaged file makes of it: JSON, keys, shapes and safetensors' own errors (a subclass of Exception).
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        reason = reason.replace(f"{folder}/", "")  # which the message says already
        raise MissingModel(f"{folder} is damaged ({reason[:120]}): restore it or train again") from error


def _read_run(folder: Path, said: RunManifest) -> DualEncoder:
    shapes = manifest.shapes_in(folder / WEIGHTS)
    for spec in (said.image, said.text, said.frames or {}, said.ears or {}):
        check_spec(spec, len(shapes))
    tokenizer = saved.load(folder, said.tokenizer) if said.tokenizer else _tokenizer_of(folder, said.text)
    with torch.device("meta"):  # its shapes, and no memory
        manifest.require_fit(_made(said, tokenizer, "logit_bias" in shapes), shapes)
    encoder = _made(said, tokenizer, "logit_bias" in shapes)
    encoder.load_state_dict(load_file(folder / WEIGHTS))
    require_fit(encoder.text_tower, tokenizer)
    encoder.languages, encoder.extends = said.languages, said.extends
    return encoder


def _made(said: RunManifest, tokenizer: Tokenizer, bias: bool) -> DualEncoder:
    """The encoder that a manifest describes, with weights of any kind."""
    if said.image == said.text:  # a whole model of open_clip
        name = said.image["name"]
        encoder = _wrap_open_clip(name, open_clip_towers.open_clip_model(name))
        encoder.preprocess = said.preprocess
        encoder.frame_pool = frames.build_frames(encoder.dim, said.frames) if said.frames else None
    else:
        sides: EncoderSpec = {"image": said.image, "text": said.text}
        encoder = from_spec(
            sides if said.frames is None else {**sides, "frames": said.frames}, said.dim, said.preprocess, tokenizer
        )
    if said.ears:
        encoder.ears = build_ears(said.dim, said.ears, partial(towers.build, towers.IMAGE_TOWERS)).requires_grad_(False)
    if bias and encoder.logit_bias is None:
        encoder.logit_bias = nn.Parameter(torch.zeros(()))
    return encoder


def _tokenizer_of(folder: Path, text: Spec) -> Tokenizer:
    if text["type"] == "ensemble":  # of parts that read words alike
        return _tokenizer_of(folder, text["parts"][0])
    if text["type"] == "anchored":
        return _tokenizer_of(folder, text["tower"])
    if text["type"] == "open_clip":
        return open_clip.OpenClipTokenizer.of_model(text["name"])
    if text["type"] in ("package", "sentence", "static", "beside", "builtin", "bridged"):
        raise Malformed("its text tower has no tokenizer")
    return CaptionTokenizer.from_json((folder / "tokenizer.json").read_text("utf-8"), text["context"])


def load_open_clip(rest: str) -> DualEncoder:
    """`NAME/TAG` or `NAME/FILE`, through open_clip's own loading.

    Raises BadRequest for an unknown name or tag, MissingModel where the weights are neither here nor to be had.
    """
    name, weights = open_clip_towers.split_name(rest)
    if not weights:
        raise BadRequest(f"which weights of {name}? write open_clip:{name}/TAG or open_clip:{name}/FILE")
    return _wrap_open_clip(name, open_clip_towers.open_clip_model(name, weights))


def _wrap_open_clip(name: str, model: open_clip_towers.OpenClipModel) -> DualEncoder:
    """A whole model of open_clip, both sides of it as they are."""
    fields = open_clip_towers.facts_of(name, model)
    preprocess = Preprocess(
        size=fields["size"][0] if isinstance(fields["size"], tuple | list) else fields["size"],
        mode=fields.get("resize_mode", "shortest"), mean=tuple(fields["mean"]), std=tuple(fields["std"]),
        interpolation=fields.get("interpolation", "bicubic"), fill=fields.get("fill_color", 0),
    )  # fmt: skip
    side: Spec = {"type": "open_clip", "name": name}
    spec: EncoderSpec = {"image": side, "text": side}
    image = open_clip_towers.OpenClipImageTower(model, side)
    text = open_clip_towers.OpenClipTextTower(model, side)
    encoder = DualEncoder(image, text, preprocess, open_clip.OpenClipTokenizer.of_model(name), fields["dim"], spec)
    encoder.log_logit_scale = _scalar(model.logit_scale)
    bias = getattr(model, "logit_bias", None)
    encoder.logit_bias = None if bias is None else _scalar(bias)
    return encoder


def _scalar(tensor: torch.Tensor) -> nn.Parameter:
    """A parameter of that one number; no number is asked of it, which on the device "meta" has none."""
    return nn.Parameter(tensor.detach().clone().reshape(()))


ENCODERS: dict[str, Callable[[str], DualEncoder]] = {"open_clip": load_open_clip}
