"""What encoder.json of a run and manifest.json of an exported encoder say, with types; do their weights fit that?

A run that somebody sends is believed in nothing: its shapes are compared with its weights' header before anything of
their size is made, and it names no other file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from indexes import typed
from indexes.typed import Malformed, Meta
from retrieval.encoders.preprocess import Preprocess

if TYPE_CHECKING:
    from torch import nn

RUN = "encoder.json"  # in a run's folder, written last
Size = Annotated[int, Meta(ge=1, le=1 << 16)]  # numbers of a vector, pixels of a side, tokens of a text
# Codes as "de" or "zh-TW"; of a few hundred languages at the most.
Languages = Annotated[tuple[Annotated[str, Meta(max_length=35)], ...], Meta(max_length=512)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunManifest:
    """encoder.json.

    image, text, frames, ears: specs (towers/tower.py); frames is None where clips are a mean, ears where nothing is
    heard beside pictures. extends: the fingerprint of the encoder without its ears. languages: that are surely
    all it reads; () where that is not known. tokenizer: as tokenizers/saved.py reads it; None for one that was learned
    from captions, or that open_clip has.
    """

    format: Annotated[int, Meta(ge=1)]
    dim: Size
    preprocess: Preprocess
    image: dict[str, Any]
    text: dict[str, Any]
    frames: dict[str, Any] | None = None
    ears: dict[str, Any] | None = None
    tokenizer: dict[str, Any] | None = None
    languages: Languages = ()
    extends: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportManifest:
    """manifest.json of an encoder in the cache.

    trim: what follows a text's end decides nothing. tokenizer: as tokenizers/saved.py reads it. languages,
    extends: as in RunManifest.
    """

    name: str
    fingerprint: str
    dim: Size
    preprocess: Preprocess
    trim: bool
    tokenizer: dict[str, Any]
    languages: Languages = ()
    extends: str = ""


def of_run(file: Path) -> RunManifest:
    """Read encoder.json. Raises Malformed, OSError."""
    return typed.read(file, RunManifest)


def of_export(file: Path) -> ExportManifest:
    """Read manifest.json. Raises Malformed, OSError."""
    return typed.read(file, ExportManifest)


def shapes_in(file: Path) -> dict[str, list[int]]:
    """Name -> shape of the tensors of a safetensors file, by its header alone."""
    from safetensors import safe_open

    with safe_open(file, "pt") as opened:
        return {name: opened.get_slice(name).get_shape() for name in opened.keys()}  # noqa: SIM118 - no mapping


def require_fit(module: "nn.Module", shapes: dict[str, list[int]]) -> None:
    """Raise Malformed where a module, whose tensors may be on the device "meta", has other tensors than a file."""
    own = {name: list(tensor.shape) for name, tensor in module.state_dict().items()}
    for name in sorted(own.keys() ^ shapes.keys()):
        raise Malformed(f"its weights {'have a' if name in shapes else 'lack'} `{name}`")
    for name, shape in own.items():
        if shape != shapes[name]:
            raise Malformed(f"`{name}` is {shape} by its manifest and {shapes[name]} in its weights")
