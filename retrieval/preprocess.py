"""Preprocess: a picture of any size to the square that a tower sees, and its normalisation."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import torch

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
MODES = ("shortest", "squash", "longest")


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How pictures become pixels. Saved with the encoder, as open_clip saves its own.

    mode: "shortest" scales the shorter side and cuts the middle (CLIP), "squash" ignores the aspect and shows
    everything (SigLIP), "longest" scales the longer side and fills up.
    """

    size: int
    mode: str = "squash"
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    interpolation: str = "bicubic"
    fill: int = 0

    def __call__(self, image: Image.Image) -> np.ndarray:
        """An RGB picture to uint8 (size, size, 3)."""
        return np.array(self._square(image), np.uint8)

    def _square(self, image: Image.Image) -> Image.Image:
        if self.mode == "squash":
            return image.resize((self.size, self.size), _FILTERS[self.interpolation])
        side = min(image.size) if self.mode == "shortest" else max(image.size)
        # The longer side is cut to a whole number as torchvision's Resize does.
        width, height = (max(1, int(self.size * length / side)) for length in image.size)
        image = image.resize((width, height), _FILTERS[self.interpolation])
        left, top = round((width - self.size) / 2.0), round((height - self.size) / 2.0)
        if self.mode == "shortest":
            return image.crop((left, top, left + self.size, top + self.size))
        canvas = Image.new("RGB", (self.size, self.size), (self.fill,) * 3)
        canvas.paste(image, (-left, -top))
        return canvas

    def normalize(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """uint8 or float (b, s, s, 3) in 0..255 to float32 (b, 3, s, s) with the mean taken off, on the same device."""
        import torch  # late: a picture can be a query without it

        mean = torch.tensor(self.mean, device=pixels.device) * 255
        std = torch.tensor(self.std, device=pixels.device) * 255
        return ((pixels.float() - mean) / std).permute(0, 3, 1, 2)

    def to_json(self) -> dict:
        """The fields, for a manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict) -> "Preprocess":
        """The inverse of `to_json`."""
        return cls(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])})
