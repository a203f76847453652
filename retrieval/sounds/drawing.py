"""What people are shown of a sound: the spectrograms of some of its windows beside each other, in color."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from retrieval.colors import colors

WINDOWS, SECONDS = 4, 2.5  # that are drawn: of a long sound the middles of its quarters
SIDE = 512  # pixels


def drawn(windows: Sequence[Image.Image]) -> Image.Image:
    """Gray spectrograms (mel.py) as one RGB square, time to the right, low tones below."""
    gray = np.concatenate([np.asarray(window) for window in windows], axis=1)
    colored = Image.fromarray(colors(gray.astype(np.float32) / 255).round().astype(np.uint8))
    return colored.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
