"""Pictures shown within a picture. Input: an image. Output: the boxes of its panels.

image (height, width, 3) uint8 RGB  ->  boxes (left, top, right, bottom) in px, at most MOST

A screenshot shows a picture among bars and lines of text, and looks to the encoder like any other screenshot; a collage
looks like neither of its pictures. Each of them, cut out, looks like itself.
"""

from __future__ import annotations

import cv2
import numpy as np

MOST = 4  # panels of an image
PAGE_SIDE = 200  # px, long side on which pages are looked at
# Grey levels by which a panel's colour differs from the page's, and by which a page may vary.
TOLERANCE, PAGE_VARIES = 20, 4
PAGE_LEVELS = 2 * PAGE_VARIES + 2  # in which all of a page lies, once its colours are rounded to grey
PAGE_SHARE = 0.15  # least share of the image that is page
PANEL = (0.015, 0.85)  # least and largest share of the image that is the panel
FILLED = 0.8  # least share of the panel's box that is not page; of 1,000 photos 32 have such a box, and 53 at 0.75
PLAIN = 0.6  # share of one colour from which a panel is a bar or a button
STEP, SEAM = 10, 0.5  # grey levels; share of a line that steps so far, beyond that of the lines beside it
OUTER = 0.2  # of a side is no place for a seam

Box = tuple[int, int, int, int]


def panels(image: np.ndarray) -> list[Box]:
    """The picture on a plain page, else the parts of a collage; none if the image is all one picture."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    panel = main_panel(image) if _may_show_page(grey) else None
    return [panel] if panel else collage_parts(grey)


def main_panel(image: np.ndarray) -> Box | None:
    """The largest picture on a page of one colour; None if there is none, or the image is all one panel."""
    height, width = image.shape[:2]
    scale = min(1.0, PAGE_SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    page = _commonest_colour(small)
    if _near(small, page, PAGE_VARIES).mean() < PAGE_SHARE:
        return None
    differs = ~_near(small, page)
    solid = cv2.morphologyEx(differs.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    solid = cv2.morphologyEx(solid, cv2.MORPH_OPEN, np.ones((9, 9), np.uint8))  # lines of text and rules go
    _, _, stats, _ = cv2.connectedComponentsWithStats(solid, connectivity=4)
    for left, top, w, h, _ in sorted(stats[1:].tolist(), key=lambda found: -found[cv2.CC_STAT_AREA]):
        here = slice(top, top + h), slice(left, left + w)
        fits = PANEL[0] <= w * h / differs.size <= PANEL[1] and differs[here].mean() >= FILLED
        if fits and _near(small[here], _commonest_colour(small[here])).mean() < PLAIN:
            right, bottom = min(round((left + w) / scale), width), min(round((top + h) / scale), height)
            return round(left / scale), round(top / scale), right, bottom
    return None


def _may_show_page(grey: np.ndarray) -> bool:
    """Whether enough of it has nearly one grey level; half of all photos have not, and are searched no further."""
    levels = cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel()
    return bool(np.convolve(levels, np.ones(PAGE_LEVELS)).max() >= PAGE_SHARE * grey.size)


def _commonest_colour(image: np.ndarray) -> np.ndarray:
    """(3,) int: the median of each channel in the fullest cube of 16 levels."""
    cubes = cv2.calcHist([image], [0, 1, 2], None, [16] * 3, [0, 256] * 3)  # (16, 16, 16)
    low = 16 * np.array(np.unravel_index(cubes.argmax(), cubes.shape))
    levels = cv2.calcHist([image], [0, 1, 2], None, [16] * 3, np.stack([low, low + 16], axis=1).ravel().tolist())
    counts = [levels.sum(axis=others) for others in ((1, 2), (0, 2), (0, 1))]
    passed = np.cumsum(counts, axis=1)  # (3, 16) pixels up to each level
    lower, upper = (np.sum(passed < (passed[0, -1] + more) / 2, axis=1) for more in (0, 1))  # two where it is even
    return low + (lower + upper) // 2


def _near(image: np.ndarray, colour: np.ndarray, tolerance: int = TOLERANCE) -> np.ndarray:
    """(height, width) bool."""
    return cv2.inRange(image, np.clip(colour - tolerance, 0, 255), np.clip(colour + tolerance, 0, 255)) > 0


def collage_parts(grey: np.ndarray, most: int = MOST) -> list[Box]:
    """The parts of a picture (height, width) that is put together of several, side by side; none if it is one."""
    cut = _seam(grey) if most > 1 else None
    if cut is None:
        return []
    axis, place = cut
    parts = []
    for half, (left, top) in zip(
        np.split(grey, [place], axis), ((0, 0), (axis * place, (1 - axis) * place)), strict=True
    ):
        inner = collage_parts(half, most // 2) or [(0, 0, half.shape[1], half.shape[0])]
        parts += [(left + x0, top + y0, left + x1, top + y1) for x0, y0, x1, y1 in inner]
    return parts


def _seam(grey: np.ndarray) -> tuple[int, int] | None:
    """Where brightness steps all along a line, and not beside it: the axis to cut, 0 or 1, and the first px after."""
    best = None
    for axis in (0, 1):
        length = grey.shape[axis]
        first, last = round(OUTER * length), round((1 - OUTER) * length)
        if last - first < 8:
            continue
        beside = (grey[1:], grey[:-1]) if axis == 0 else (grey[:, 1:], grey[:, :-1])
        is_step = cv2.threshold(cv2.absdiff(*beside), STEP, 1, cv2.THRESH_BINARY)[1]
        steps = cv2.reduce(is_step, 1 - axis, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel()  # (length - 1,)
        line = first + int(steps[first:last].argmax())
        beyond = steps[line] - np.median(np.r_[steps[max(0, line - 8) : line - 1], steps[line + 2 : line + 9]])
        if beyond >= SEAM and (best is None or beyond > best[0]):
            best = beyond, axis, line + 1
    return best and best[1:]
