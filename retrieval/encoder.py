"""DualEncoder: two towers, their preprocess and their tokenizer in one object; how it is loaded, saved and told apart.

    load_encoder("small")                                 a preset (presets.py)
    load_encoder("open_clip:ViT-B-32-256/weights.pt")     open_clip's own loading: NAME/TAG or NAME/FILE
    load_encoder("runs/flickr")                           a run folder, what `mmr train` wrote

A name is `scheme:rest`; to add a scheme, write `f(rest) -> DualEncoder` and name it in ENCODERS. A run folder holds
config.json, encoder.safetensors, tokenizer.json and, written last, encoder.json: without it the folder is no encoder.
"""

import dataclasses
import difflib
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor, nn

from indexes import durable
from retrieval import engine, towers
from retrieval.datatypes import Features
from retrieval.errors import BadRequest, MissingModel
from retrieval.preprocess import Preprocess
from retrieval.presets import PRESETS
from retrieval.tokenizer import CaptionTokenizer
from retrieval.towers import frames, open_clip_towers
from retrieval.views import encode_views

MANIFEST = "encoder.json"
WEIGHTS = "encoder.safetensors"
FORMAT_VERSION = 1


class DualEncoder(nn.Module):
    """Two towers into one space of `dim` numbers, with everything that belongs to them.

    name: for people. preprocess: a picture to uint8 (s, s, 3). tokenize: texts to int64 (n, l). spec: what the towers
    are built from. frame_pool: how the frames of a clip become one vector (towers/frames.py), None is their mean.
    `encode_images` and `encode_texts` give unit rows as NumPy; `forward` gives Features with gradient.
    """

    def __init__(
        self, image_tower: nn.Module, text_tower: nn.Module, preprocess: Preprocess,
        tokenize: Callable[[Sequence[str]], np.ndarray], dim: int, spec: dict, name: str = "",
        logit_scale: float = 1 / 0.07, logit_bias: float | None = None, frame_pool: nn.Module | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.image_tower, self.text_tower, self.frame_pool = image_tower, text_tower, frame_pool
        self.preprocess, self.tokenize = preprocess, tokenize
        self.dim, self.spec, self.name = dim, spec, name
        self.log_logit_scale = nn.Parameter(torch.tensor(float(logit_scale)).log())
        self.logit_bias = nn.Parameter(torch.tensor(float(logit_bias))) if logit_bias is not None else None
        self._fingerprint: str | None = None

    # ---------------------------------------------------------------- in training

    def forward(self, images: Tensor | None = None, tokens: Tensor | None = None) -> Features:
        """images uint8 or float (b, s, s, c) in 0..255, tokens (b, l). Either may be None; so is its side then.

        Of clips, (b, frames, s, s, c), each frame goes through the tower, and their vectors are pooled.
        """
        image = text = None
        if images is not None:
            pictures = images.flatten(0, 1) if images.ndim == 5 else images
            looks = 1 if self.training else self.preprocess.views
            image = encode_views(self.image_tower, self.preprocess.normalize(pictures), looks)
            if images.ndim == 5:
                image = self._pool(image.unflatten(0, images.shape[:2]))
        if tokens is not None:
            text = F.normalize(self.text_tower(tokens), dim=-1)
        return Features(image, text, self.log_logit_scale.exp(), self.logit_bias)

    def _pool(self, vectors: Tensor) -> Tensor:
        """Unit vectors of frames (b, frames, dim) to those of clips (b, dim)."""
        return self.frame_pool(vectors) if self.frame_pool else F.normalize(vectors.mean(1), dim=-1)

    # ---------------------------------------------------------------- for everyone else

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.log_logit_scale.device

    @property
    def lanes(self) -> int:
        """How many threads may encode pictures beside each other: one a core on a CPU, one on a GPU or in training."""
        return 1 if self.training or self.device.type != "cpu" else torch.get_num_threads()

    @property
    def bulk(self) -> int:
        """Pictures that are best encoded together."""
        return 32 if self.device.type == "cpu" else 256

    @torch.inference_mode()
    def encode_images(self, images: Sequence[Image.Image | np.ndarray], batch_size: int = 128) -> np.ndarray:
        """RGB pictures, or arrays that `preprocess` made of them, to float32 (n, dim) of unit length."""
        return self._in_batches(images, batch_size, self._encode_image_batch)

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str], batch_size: int = 512) -> np.ndarray:
        """Texts to float32 (n, dim) of unit length."""
        return self._in_batches(texts, batch_size, self._encode_text_batch)

    def use_frames(self, spec: dict | None) -> None:
        """Pool clips anew, by a module that is to be trained. None, or what it does already, changes nothing."""
        if spec and (self.frame_pool is None or self.frame_pool.spec["type"] != spec["type"]):
            self.frame_pool = frames.build_frames(self.dim, spec).to(self.device)

    @torch.inference_mode()
    def pool_frames(self, vectors: np.ndarray) -> np.ndarray:
        """The frames of clips, unit rows (b, frames, dim) in the order of their time, to float32 (b, dim)."""
        return self._pool(torch.from_numpy(vectors).to(self.device)).float().cpu().numpy()

    @property
    def sequences(self) -> tuple[str, ...]:
        """What the towers can give of a picture or text in parts: "words", "patches"."""
        words = hasattr(self.text_tower, "words") or hasattr(self.text_tower.body, "token_embedding")
        return (*["words"] * words, *["patches"] * hasattr(self.image_tower, "patches"))

    @torch.inference_mode()
    def encode_words(self, texts: Sequence[str], batch_size: int = 512) -> tuple[np.ndarray, np.ndarray]:
        """Texts to the vectors of their words, float32 (n, l, width), and which are there, bool (n, l)."""
        tokens = torch.from_numpy(self.tokenize(texts)).to(self.device)
        parts = [self.text_tower.word_vectors(part) for part in tokens.split(batch_size)]
        vectors, seen = (torch.cat(column) for column in zip(*parts, strict=True))
        longest = max(1, int(seen.sum(1).max()))
        return vectors[:, :longest].float().cpu().numpy(), seen[:, :longest].cpu().numpy()

    @torch.inference_mode()
    def encode_patches(self, images: Sequence[Image.Image | np.ndarray], batch_size: int = 128) -> np.ndarray:
        """Pictures, as for encode_images, to the vectors of their places: float32 (n, places, channels)."""
        return self._in_batches(images, batch_size, self._encode_patch_batch)

    def _pixels(self, images: Sequence) -> Tensor:
        pixels = np.stack([i if isinstance(i, np.ndarray) else self.preprocess(i) for i in images])
        return torch.from_numpy(pixels).to(self.device)

    def _encode_image_batch(self, images: Sequence) -> Tensor:
        return self(images=self._pixels(images)).image

    def _encode_patch_batch(self, images: Sequence) -> Tensor:
        return self.image_tower.patches(self.preprocess.normalize(self._pixels(images)))

    def _encode_text_batch(self, texts: Sequence[str]) -> Tensor:
        return self(tokens=torch.from_numpy(self.tokenize(texts)).to(self.device)).text

    def _in_batches(self, inputs: Sequence, size: int, encode: Callable[[Sequence], Tensor]) -> np.ndarray:
        was_training = self.training
        self.eval()
        parts = [encode(inputs[i : i + size]).float().cpu().numpy() for i in range(0, len(inputs), size)]
        self.train(was_training)
        return np.concatenate(parts) if parts else np.empty((0, self.dim), np.float32)

    def to_fast_precision(self, precision: str = "auto") -> "DualEncoder":
        """Put the image tower's body in the fastest type that is right on this device (engine.resolve_precision).

        What no answer reads is left out (towers/last_block.py).
        The text tower stays in float32: texts are few, and it is what a query is exported from.
        """
        _ = self.fingerprint  # of the weights as they were loaded
        dtype = engine.resolve_precision(precision, self.device)
        self.image_tower.body.to(dtype, memory_format=torch.channels_last)  # as pictures lie in memory
        if hasattr(self.image_tower, "skip_unread"):
            self.image_tower.skip_unread()
        return self

    # ---------------------------------------------------------------- identity

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the SHA-256 of the weights, by name, and of all else that decides a vector.

        It is that of the weights as they were loaded: `to_fast_precision` keeps it.
        """
        if self._fingerprint is None:
            digest = hashlib.sha256(json.dumps(self._manifest(), sort_keys=True).encode())
            for name, tensor in sorted(self.state_dict().items()):
                if not name.startswith(("log_logit_scale", "logit_bias")):  # they decide no vector
                    digest.update(f"{name}{tuple(tensor.shape)}".encode())
                    digest.update(np.ascontiguousarray(tensor.detach().float().cpu().numpy()).data)
            if isinstance(self.tokenize, CaptionTokenizer):
                digest.update(self.tokenize.to_json().encode())
            self._fingerprint = digest.hexdigest()[:16]
        return self._fingerprint

    def forget_fingerprint(self) -> None:
        """The weights changed."""
        self._fingerprint = None

    def _manifest(self) -> dict:
        clips = {"frames": self.frame_pool.spec} if self.frame_pool else {}
        return {
            "format": FORMAT_VERSION,
            "dim": self.dim,
            "preprocess": self.preprocess.to_json(),
            **self.spec,
            **clips,
        }

    def save(self, folder: Path | str) -> None:
        """Write the encoder into a folder. The manifest is written last: with it the folder is whole."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        durable.write_bytes(folder / WEIGHTS, save(tensors))
        if isinstance(self.tokenize, CaptionTokenizer):
            durable.write_bytes(folder / "tokenizer.json", self.tokenize.to_json().encode())
        manifest = self._manifest() | {"fingerprint": self.fingerprint}
        durable.write_bytes(folder / MANIFEST, json.dumps(manifest, indent=2).encode())

    def export(self) -> Path | None:
        """Put what a cold text query needs into the user's cache (runtime.py); its folder, or None if it cannot be."""
        from retrieval import runtime

        return runtime.export(self)


# ---------------------------------------------------------------- new ones


def small_encoder(
    captions: Sequence[str], *, dim: int = 256, image_size: int = 96, image: dict | None = None,
    text: dict | None = None, vocabulary: int = 8192, context: int = 64, resize: str = "squash",
    logit_scale: float = 1 / 0.07, logit_bias: float | None = None, frames: dict | None = None, views: int = 1,
) -> DualEncoder:  # fmt: skip
    """An untrained encoder: by itself a CNN, a transformer, and a tokenizer learned from `captions`.

    image, text: specs of the towers beyond that, {"type": "vit", "layers": 4} say; frames: of the pooling of clips
    (retrieval/towers); views: how often a picture is looked at (views.py). Random weights come from torch's generator.
    Raises BadRequest and MissingModel where a tower of timm or open_clip cannot be had.
    """
    spec = {"image": {"type": "conv", **(image or {})}, "text": {"type": "transformer", **(text or {})}}
    if spec["text"]["type"] == "open_clip":
        tokenizer = open_clip_towers.OpenClipTokenizer.of_model(spec["text"]["name"])
    else:
        tokenizer = CaptionTokenizer.learn(captions, vocabulary, context)
        spec["text"] |= {"vocabulary": len(tokenizer), "context": context}
    encoder = _from_spec(spec | ({"frames": frames} if frames else {}), dim, None, tokenizer)
    seen = _preprocess_for(encoder.image_tower, image_size, resize, spec["image"].get("channels", 3))
    encoder.preprocess = dataclasses.replace(seen, views=views)
    with torch.no_grad():
        encoder.log_logit_scale.fill_(math.log(logit_scale))
    if logit_bias is not None:
        encoder.logit_bias = nn.Parameter(torch.tensor(logit_bias))
    return encoder


def _preprocess_for(tower: nn.Module, size: int, resize: str, channels: int) -> Preprocess:
    """As the tower was pretrained, where it was; else with CLIP's colours, or mid-grey for other channels."""
    mean, std = getattr(tower, "mean", None), getattr(tower, "std", None)
    if mean:
        return Preprocess(size, resize, mean=mean, std=std)
    if channels == 3:
        return Preprocess(size, resize)
    return Preprocess(size, resize, mean=(0.5,) * channels, std=(0.25,) * channels)


def _from_spec(spec: dict, dim: int, preprocess: Preprocess | None, tokenizer: Callable) -> DualEncoder:
    image = towers.build(towers.IMAGE_TOWERS, dim, spec["image"])
    text = towers.build(towers.TEXT_TOWERS, dim, spec["text"])
    pool = frames.build_frames(dim, spec["frames"]) if "frames" in spec else None
    sides = {"image": image.spec, "text": text.spec}
    return DualEncoder(image, text, preprocess, tokenizer, dim, sides, frame_pool=pool)


# ---------------------------------------------------------------- loading


def load_encoder(name: str, device: str = "cpu") -> DualEncoder:
    """The encoder of that name, in eval mode on the device. Raises MissingModel or BadRequest with the way on."""
    where = engine.resolve_device(device)
    encoder = _load(name).to(where)
    encoder.name = name
    return encoder.eval()


def _load(name: str) -> DualEncoder:
    if Path(name).is_dir():
        return load_run(name)
    if name in PRESETS:
        name = PRESETS[name].model
    scheme, _, rest = name.partition(":")
    if rest and scheme in ENCODERS:
        return ENCODERS[scheme](rest)
    if Path(name).exists():
        raise BadRequest(f"{name} is a file: name its architecture too, as in --model open_clip:ViT-B-32-256/{name}")
    near = difflib.get_close_matches(name, PRESETS, 1)
    hint = f"did you mean `{near[0]}`?" if near else f"use {', '.join(PRESETS)}, open_clip:NAME/TAG, or a run folder"
    raise MissingModel(f"no encoder `{name}`: {hint}")


def load_run(folder: Path | str) -> DualEncoder:
    """The encoder of a run folder. Raises MissingModel where the folder is none, unfinished, newer or damaged."""
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        unfinished = (folder / "config.json").is_file()
        way = f"go on with `mmr train SOURCE --out {folder} --resume`" if unfinished else "give the folder of a run"
        raise MissingModel(f"{folder} holds no trained encoder: {way}")
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        if manifest["format"] > FORMAT_VERSION:
            raise MissingModel(f"{folder} was written by a newer mmr: upgrade with `pip install -U mmr`")
        return _read_run(folder, manifest)
    except MissingModel:
        raise
    # Whatever a damaged file makes of it: JSON, keys, shapes and safetensors' own errors (a subclass of Exception).
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MissingModel(f"{folder} is damaged ({reason[:120]}): restore it or train again") from error


def _read_run(folder: Path, manifest: dict) -> DualEncoder:
    spec = {side: manifest[side] for side in ("image", "text", "frames") if side in manifest}
    preprocess = Preprocess.from_json(manifest["preprocess"])
    if spec["image"] == spec["text"]:  # a whole model of open_clip
        name = spec["image"]["name"]
        encoder = _wrap_open_clip(name, open_clip_towers.open_clip_model(name))
        encoder.preprocess = preprocess
        encoder.frame_pool = frames.build_frames(encoder.dim, spec["frames"]) if "frames" in spec else None
    else:
        encoder = _from_spec(spec, manifest["dim"], preprocess, _tokenizer_of(folder, spec["text"]))
    tensors = load_file(folder / WEIGHTS)
    if "logit_bias" in tensors and encoder.logit_bias is None:
        encoder.logit_bias = nn.Parameter(torch.zeros(()))
    encoder.load_state_dict(tensors)
    return encoder


def _tokenizer_of(folder: Path, text: dict) -> Callable[[Sequence[str]], np.ndarray]:
    if text["type"] == "ensemble":  # of parts that read words alike
        return _tokenizer_of(folder, text["parts"][0])
    if text["type"] == "open_clip":
        return open_clip_towers.OpenClipTokenizer.of_model(text["name"])
    return CaptionTokenizer.from_json((folder / "tokenizer.json").read_text(), text["context"])


def load_open_clip(rest: str) -> DualEncoder:
    """`NAME/TAG` or `NAME/FILE`, through open_clip's own loading.

    Raises BadRequest for an unknown name or tag, MissingModel where the weights are neither here nor to be had.
    """
    name, weights = open_clip_towers.split_name(rest)
    if not weights:
        raise BadRequest(f"which weights of {name}? write open_clip:{name}/TAG or open_clip:{name}/FILE")
    return _wrap_open_clip(name, open_clip_towers.open_clip_model(name, weights))


def _wrap_open_clip(name: str, model: nn.Module) -> DualEncoder:
    """A whole model of open_clip, both sides of it as they are."""
    fields = open_clip_towers.facts_of(name, model)
    preprocess = Preprocess(
        size=fields["size"][0] if isinstance(fields["size"], tuple | list) else fields["size"],
        mode=fields.get("resize_mode", "shortest"), mean=tuple(fields["mean"]), std=tuple(fields["std"]),
        interpolation=fields.get("interpolation", "bicubic"), fill=fields.get("fill_color", 0),
    )  # fmt: skip
    image, text = open_clip_towers.OpenClipImageTower(model), open_clip_towers.OpenClipTextTower(model)
    spec = {side: {"type": "open_clip", "name": name} for side in ("image", "text")}
    bias = getattr(model, "logit_bias", None)
    return DualEncoder(
        image, text, preprocess, open_clip_towers.OpenClipTokenizer.of_model(name), fields["dim"], spec,
        logit_scale=model.logit_scale.exp().item(), logit_bias=None if bias is None else bias.item(),
    )  # fmt: skip


ENCODERS: dict[str, Callable[[str], DualEncoder]] = {"open_clip": load_open_clip}
