"""Tones: a path in, whether its colours are one tone laid over greys, as of sepia, out.

What was toned has one colour for each lightness; of a photo's colours that leaves half unexplained, seldom less than a
tenth.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from dedup.dataset.decoding import load_image
from dedup.workers import job

SIDE = 128  # px, to which a picture is averaged: what compression does to colours is gone then
LEVELS = 25  # of lightness
TONED, COLOURFUL = 0.08, 0.16  # share of the chroma left unexplained, at most where it was toned, at least where not
UNTOLD = 1.0  # share of the chroma where that can't be told
SHADES = 4.0  # effective number of levels from which that is no chance: a drawing has a colour for each of its few


@job
def own_colours(path: Path) -> float:
    """Share of a picture's chroma that its lightness leaves unexplained, about 0 to 1; UNTOLD by a few levels."""
    picture = load_image(path, SIDE)
    small = cv2.resize(np.asarray(picture), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(np.float32(small) / 255, cv2.COLOR_RGB2LAB).reshape(-1, 3)
    level = np.minimum(lab[:, 0] * LEVELS / 100, LEVELS - 1).astype(int)
    count = np.bincount(level, minlength=LEVELS)
    if np.square(count / count.sum()).sum() > 1 / SHADES:
        return UNTOLD
    tone = np.stack(
        [np.bincount(level, colour, LEVELS) / np.maximum(count, 1) for colour in lab[:, 1:].T], axis=1
    )  # (LEVELS, 2)
    unexplained = np.hypot(*(lab[:, 1:] - tone[level]).T).mean()
    return float(unexplained / max(np.hypot(*lab[:, 1:].T).mean(), 1e-6))
