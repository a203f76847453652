"""Pretrained encoders by short names, with the size of their download, their license and their recall.

Recall is zero-shot COCO 5k text-to-image / image-to-text recall@1 in percent, as published (open_clip's
docs/openclip_retrieval_results.csv; MobileCLIP2's results files; SigLIP 2's README). None was measured here.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path

from retrieval import hub
from retrieval.encoders import builtin
from retrieval.errors import BadRequest, MissingModel


@dataclass(frozen=True, slots=True)
class Preset:
    """One row of the table. hub: the repository of its weights. megabytes: the download, float32.

    languages: what it reads, codes or "many".
    """

    name: str
    model: str
    license: str
    megabytes: int
    text_to_image: float
    image_to_text: float
    hub: str
    languages: tuple[str, ...] = ("en",)


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            "small",
            "open_clip:ViT-B-32-256/datacomp_s34b_b86k",
            "MIT",
            605,
            39.9,
            57.9,
            "laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K",
        ),
        Preset(
            "mobile",
            "open_clip:MobileCLIP2-S0/dfndr2b",
            "Apple AMLR (research)",
            299,
            43.7,
            62.7,
            "timm/MobileCLIP2-S0-OpenCLIP",
        ),
        Preset(
            "base",
            "open_clip:ViT-B-16/datacomp_xl_s13b_b90k",
            "MIT",
            598,
            40.2,
            57.4,
            "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K",
        ),
        Preset(
            "base-siglip2",
            "open_clip:ViT-B-16-SigLIP2-256/webli",
            "Apache-2.0",
            1500,
            53.2,
            69.7,
            "timm/ViT-B-16-SigLIP2-256",
            ("many",),
        ),
        Preset(
            "large",
            "open_clip:ViT-L-14/datacomp_xl_s13b_b90k",
            "MIT",
            1710,
            45.7,
            63.3,
            "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K",
        ),
    )  # fmt: skip
}
DEFAULT = "small"


def require(name: str) -> None:
    """Raise where it is sure that there is no encoder of that name to be had: at once, before torch is imported.

    Raises BadRequest for a file without its architecture, MissingModel for a name that is none, and for a preset that
    is not in the model hub's cache while the hub cannot be asked.
    """
    preset = next((one for one in PRESETS.values() if name in (one.name, one.model)), None)
    if Path(name).is_dir():
        return
    if name == builtin.NAME:
        builtin.require()
    elif preset:
        architecture, _, tag = preset.model.partition(":")[2].partition("/")
        hub.require_open_clip(architecture, tag, preset.hub, quick=True)
    elif Path(name).exists():
        raise BadRequest(f"{name} is a file: name its architecture too, as in --model open_clip:ViT-B-32-256/{name}")
    elif ":" not in name:
        raise unknown(name)


def unknown(name: str) -> MissingModel:
    """What is wrong with a name that is none."""
    names = [builtin.NAME, *PRESETS]
    near = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean `{near[0]}`?" if near else f"use {', '.join(names)}, open_clip:NAME/TAG, or a run folder"
    return MissingModel(f"no encoder `{name}`: {hint}")


def is_gone(name: str) -> bool:
    """Is it the name of a run's folder, and there is none?"""
    return not (name == builtin.NAME or name in PRESETS or ":" in name or Path(name).is_dir())


def downloads() -> dict[str, int]:
    """Preset -> bytes of its weights in the model hub's cache, for those that are there."""
    found = hub.downloaded()
    return {name: found[preset.hub] for name, preset in PRESETS.items() if preset.hub in found}
