"""Preprocess: a picture or a window of sound to the square that a tower sees, and its normalization."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from PIL import Image

from indexes import typed
from indexes.typed import Meta
from retrieval.datatypes import Picture
from retrieval.errors import ImageError

if TYPE_CHECKING:
    import torch


_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_MODES = {1: "L", 4: "RGBA"}  # Pillow's names of what a picture is turned into
MODES = ("shortest", "squash", "longest")
VIEWS = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How pictures become pixels. Saved with the encoder, as open_clip saves its own.

    There are as many channels as `mean` has numbers: 3 are RGB, 1 is gray, 4 are RGBA. Pictures of any other number
    come as uint8 arrays (h, w, c).

    mode: "shortest" scales the shorter side and cuts the middle (CLIP), "squash" ignores the aspect and shows
    everything (SigLIP), "longest" scales the longer side and fills up. views: how often the encoder looks at what comes
    out, of VIEWS (views.py).

    seconds: of sound in a window that the encoder hears, 0 for one that hears nothing. A window comes as its log-mel
    spectrogram (sounds/mel.py), and always squashed. ears: pixels of a window's square, of an encoder that sees
    pictures too; 0 for one that sees none, whose windows are of `size`.
    """

    size: Annotated[int, Meta(ge=1, le=8192)]
    mode: str = "squash"
    mean: Annotated[tuple[float, ...], Meta(min_length=1, max_length=256)] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)
    interpolation: str = "bicubic"
    fill: Annotated[int, Meta(ge=0, le=255)] = 0
    views: int = 1
    seconds: Annotated[float, Meta(ge=0, le=30)] = 0.0
    ears: Annotated[int, Meta(ge=0, le=1024)] = 0

    def __post_init__(self) -> None:
        for value, known in ((self.mode, MODES), (self.interpolation, _FILTERS), (self.views, VIEWS)):
            if value not in known:
                raise ValueError(f"{value} is none of {', '.join(map(str, known))}")
        if len(self.mean) != len(self.std):
            raise ValueError(f"{len(self.mean)} channels have a mean, {len(self.std)} a spread")
        if (self.ears and not self.seconds) or (self.seconds and not self.ears and self.channels != 1):
            raise ValueError(f"windows of {self.seconds} s, squares of {self.ears} and {self.channels} channels")

    @property
    def channels(self) -> int:
        """Numbers of a pixel."""
        return len(self.mean)

    @property
    def kinds(self) -> frozenset[str]:
        """Of items that the encoder takes: "picture", "sound", "clip"."""
        sees = not self.seconds or self.ears > 0
        return frozenset(("clip", *(("picture",) if sees else ()), *(("sound",) if self.seconds else ())))

    def hears(self, kind: str) -> bool:
        """Is an item of that kind listened to, and not looked at? A clip is looked at where both can be done."""
        return self.seconds > 0 and (kind == "sound" or not self.ears)

    def heard(self, window: Image.Image) -> np.ndarray:
        """The spectrogram of a window to uint8 (side, side, 1)."""
        side = self.ears or self.size
        return np.array(window.convert("L").resize((side, side), _FILTERS["bilinear"]), np.uint8)[..., None]

    def __call__(self, image: Picture) -> np.ndarray:
        """A picture to uint8 (size, size, channels). Raises ImageError for an array of other channels."""
        if "picture" not in self.kinds and isinstance(image, Image.Image):
            raise ImageError("a picture, and this encoder hears sounds: give one that sees, as --model builtin")
        if isinstance(image, Image.Image):
            image = image if self.channels == 3 else image.convert(_MODES.get(self.channels, "RGB"))
            pixels = np.array(self._square(image), np.uint8)
            pixels = pixels if pixels.ndim == 3 else pixels[..., None]
        else:
            planes = (Image.fromarray(plane) for plane in np.moveaxis(np.atleast_3d(image), 2, 0))
            pixels = np.stack([np.array(self._square(plane), np.uint8) for plane in planes], axis=2)
        if pixels.shape[2] != self.channels:
            raise ImageError(f"has {pixels.shape[2]} channels, not {self.channels}")
        return pixels

    def _square(self, image: Image.Image) -> Image.Image:
        if self.mode == "squash":
            return image.resize((self.size, self.size), _FILTERS[self.interpolation])
        width, height = self._scaled(*image.size)
        image = image.resize((width, height), _FILTERS[self.interpolation])
        left, top = round((width - self.size) / 2.0), round((height - self.size) / 2.0)
        if self.mode == "shortest":
            return image.crop((left, top, left + self.size, top + self.size))
        canvas = Image.new(image.mode, (self.size, self.size), (self.fill,) * len(image.getbands()))
        canvas.paste(image, (-left, -top))
        return canvas

    def window(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The rectangle of a picture of that size which its square shows: left, top, right, bottom in its pixels.

        It is smaller than the picture where the middle is cut out, and larger where the square is filled up.
        """
        if self.mode == "squash":
            return 0.0, 0.0, float(width), float(height)
        wide, high = self._scaled(width, height)
        left, top = round((wide - self.size) / 2.0), round((high - self.size) / 2.0)
        across, down = width / wide, height / high
        return left * across, top * down, (left + self.size) * across, (top + self.size) * down

    def _scaled(self, width: int, height: int) -> tuple[int, int]:
        """The size of a picture once its shorter or longer side is that of the square."""
        side = min(width, height) if self.mode == "shortest" else max(width, height)
        # The longer side is cut to a whole number as torchvision's Resize does.
        return max(1, int(self.size * width / side)), max(1, int(self.size * height / side))

    def normalize(self, pixels: "torch.Tensor") -> "torch.Tensor":
        """uint8 or float (b, s, s, c) in 0..255 to float32 (b, c, s, s) with the mean taken off, on the same device."""
        import torch  # late: a picture can be a query without it

        mean = torch.tensor(self.mean, device=pixels.device) * 255
        std = torch.tensor(self.std, device=pixels.device) * 255
        return ((pixels.float() - mean) / std).permute(0, 3, 1, 2)

    def to_json(self) -> dict[str, Any]:
        """The fields, for a manifest; one view and no sound go without saying, as they did before there were others."""
        unsaid = {"views": 1, "seconds": 0.0, "ears": 0}
        return {name: value for name, value in asdict(self).items() if name not in unsaid or value != unsaid[name]}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Preprocess":
        """The inverse of `to_json`. Raises Malformed where a field is not what it must be."""
        return typed.checked(fields, cls)
