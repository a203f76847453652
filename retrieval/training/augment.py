"""What makes memorizing harder: crops, mirror images, other colors, words left out."""

import numpy as np
import torch
import torch.nn.functional as F


def augment(
    pixels: torch.Tensor, size: int, crop: float, flips: bool, generator: torch.Generator, part: slice = slice(None),
    of: int | None = None,
) -> torch.Tensor:  # fmt: skip
    """Random resized crops, mirrored half of the time. pixels uint8 (b, s, s, c) to float (b, size, size, c) in 0..255.

    crop: the smallest share of the area that is kept; the aspect varies by up to a sixth either way. The pixels may be
    a part of a batch of `of`: what is drawn for it is what would be drawn for the whole.
    """
    images = pixels.permute(0, 3, 1, 2).float()
    if crop >= 1 and not flips:
        return _resize(images, size).permute(0, 2, 3, 1)
    move = _crops(of or len(pixels), crop, flips, generator)[part]
    grid = F.affine_grid(move, [len(pixels), images.shape[1], size, size], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False).permute(0, 2, 3, 1)


def _crops(count: int, crop: float, flips: bool, generator: torch.Generator) -> torch.Tensor:
    """What is shown of each picture, as affine maps (count, 2, 3)."""
    area = crop + (1 - crop) * torch.rand(count, generator=generator)
    stretch = torch.exp((torch.rand(count, generator=generator) * 2 - 1) * (0.15 if crop < 1 else 0))
    width, height = (area * stretch).sqrt().clamp(max=1), (area / stretch).sqrt().clamp(max=1)
    right, down = ((torch.rand(count, generator=generator) * 2 - 1) * (1 - extent) for extent in (width, height))
    mirror = torch.where(torch.rand(count, generator=generator) < 0.5, -1.0, 1.0) if flips else torch.ones(count)
    move = torch.zeros(count, 2, 3)
    move[:, 0, 0], move[:, 0, 2], move[:, 1, 1], move[:, 1, 2] = width * mirror, right, height, down
    return move


def jitter(
    pixels: torch.Tensor, amount: float, generator: torch.Generator, part: slice = slice(None), of: int | None = None
) -> torch.Tensor:
    """Change brightness, contrast and saturation of each picture by a factor of its own in 1 - amount .. 1 + amount.

    pixels (b, s, s, c) in 0..255, uint8 or float; float in 0..255 comes back. part, of: as for `augment`.
    """

    def factors() -> torch.Tensor:
        return 1 + amount * (2 * torch.rand(of or len(pixels), 1, 1, 1, generator=generator)[part] - 1)

    shown = pixels.float() * factors()
    shown = torch.lerp(shown.mean((1, 2, 3), keepdim=True), shown, factors())  # towards the picture's mean
    shown = torch.lerp(shown.mean(3, keepdim=True), shown, factors())  # towards gray
    return shown.clamp_(0, 255)


def _resize(images: torch.Tensor, size: int) -> torch.Tensor:
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)


def drop_words(row: list[int], share: float, rng: np.random.Generator) -> list[int]:
    """Leave out a share of the words that is drawn for each caption, from 0 to twice `share`: people type few words."""
    share *= 2 * rng.random()
    kept = [token for token, draw in zip(row, rng.random(len(row)), strict=True) if draw >= share]
    return kept or row
