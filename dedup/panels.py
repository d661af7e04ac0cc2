"""A picture shown on a plain page: image in, the box of its largest panel out.

image (height, width, 3) uint8 RGB  ->  (left, top, right, bottom) in px, or None

A screenshot shows a picture among bars and lines of text, and looks to the encoder like any other screenshot. The
picture in it, cut out, looks like the picture.
"""

from __future__ import annotations

import cv2
import numpy as np

SIDE = 200  # px, long side on which panels are looked for
TOLERANCE = 20  # grey levels by which a panel's colour differs from the page's
PAGE = 0.15  # least share of the image that is page
PANEL = (0.03, 0.85)  # least and largest share of the image that is the panel
FILLED = 0.6  # least share of the panel's box that is not page


def main_panel(image: np.ndarray) -> tuple[int, int, int, int] | None:
    """The largest rectangle on a page of one colour; None if there is none, or the image is all one panel."""
    height, width = image.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    colour = _page_colour(small)
    differs = cv2.inRange(small, np.clip(colour - TOLERANCE, 0, 255), np.clip(colour + TOLERANCE, 0, 255)) == 0
    differs = differs.view(np.uint8)
    if 1 - differs.mean() < PAGE:
        return None
    solid = cv2.morphologyEx(differs, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    solid = cv2.morphologyEx(solid, cv2.MORPH_OPEN, np.ones((9, 9), np.uint8))  # lines of text and rules go
    count, _, stats, _ = cv2.connectedComponentsWithStats(solid, connectivity=4)
    if count < 2:
        return None
    left, top, w, h, _ = (int(value) for value in stats[1 + stats[1:, cv2.CC_STAT_AREA].argmax()])
    share = w * h / differs.size
    if not PANEL[0] <= share <= PANEL[1] or differs[top : top + h, left : left + w].mean() < FILLED:
        return None
    right, bottom = min(round((left + w) / scale), width), min(round((top + h) / scale), height)
    return round(left / scale), round(top / scale), right, bottom


def _page_colour(image: np.ndarray) -> np.ndarray:
    """(3,) int, the commonest colour, by cubes of 16 levels."""
    red, green, blue = (image[..., channel].astype(np.uint16) >> 4 for channel in range(3))
    cubes = red << 8 | green << 4 | blue
    commonest = np.bincount(cubes.ravel()).argmax()
    chosen = image[cubes == commonest]  # (k, 3)
    return np.array([np.median(chosen[:, channel]) for channel in range(3)]).astype(int)
