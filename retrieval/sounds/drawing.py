"""What people are shown of a sound: the spectrograms of some of its windows beside each other, in color."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

WINDOWS, SECONDS = 4, 2.5  # that are drawn: of a long sound the middles of its quarters
SIDE = 512  # pixels
# From silence to the loudest: black, violet, orange, pale yellow. As in matplotlib's inferno, lightness only rises.
_STOPS = ((0, 0, 4), (56, 14, 98), (140, 41, 99), (222, 73, 55), (251, 154, 6), (252, 255, 164))
_AXIS = np.linspace(0, 255, len(_STOPS))
_COLORS = np.stack([np.interp(np.arange(256), _AXIS, channel) for channel in zip(*_STOPS, strict=True)], 1)


def drawn(windows: Sequence[Image.Image]) -> Image.Image:
    """Gray spectrograms (mel.py) as one RGB square, time to the right, low tones below."""
    gray = np.concatenate([np.asarray(window) for window in windows], axis=1)
    colored = Image.fromarray(_COLORS.round().astype(np.uint8)[gray])
    return colored.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
