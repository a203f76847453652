"""Pretrained encoders by short names: what they are, what they weigh, what they may be used for, how good they are.

Recall is zero-shot COCO 5k text-to-image / image-to-text recall@1 in percent, as published (open_clip's
docs/openclip_retrieval_results.csv; MobileCLIP2's results files; SigLIP 2's README). None was measured here.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preset:
    """One row of the table. megabytes: the download, float32."""

    name: str
    model: str
    licence: str
    megabytes: int
    text_to_image: float
    image_to_text: float


PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("small", "open_clip:ViT-B-32-256/datacomp_s34b_b86k", "MIT", 605, 39.9, 57.9),
        Preset("mobile", "open_clip:MobileCLIP2-S0/dfndr2b", "Apple AMLR (research)", 299, 43.7, 62.7),
        Preset("base", "open_clip:ViT-B-16/datacomp_xl_s13b_b90k", "MIT", 598, 40.2, 57.4),
        Preset("base-siglip2", "open_clip:ViT-B-16-SigLIP2-256/webli", "Apache-2.0", 1500, 53.2, 69.7),
        Preset("large", "open_clip:ViT-L-14/datacomp_xl_s13b_b90k", "MIT", 1710, 45.7, 63.3),
    )
}
DEFAULT = "small"
