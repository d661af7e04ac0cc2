"""Glyphs that come with OpenCV, Chinese, Japanese and Korean among them: text in, its picture out.

They are for text that no font of the machine has; OpenCV may have been built without them.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

SCALE = 0.95  # of OpenCV's sizes to matplotlib's
LARGE = 100  # px, at which widths are measured


def has_glyph(char: str) -> bool:
    """Whether there is a glyph for a character that is not in every font, as a question mark is."""
    try:
        return not np.array_equal(glyphs(char, LARGE), glyphs("\uffff", LARGE))
    except (AttributeError, cv2.error):  # before OpenCV 5 there are none
        return False


def advance(char: str) -> float:
    """How far a character moves the pen, as a share of the font size."""
    return SCALE * glyphs(char, LARGE).shape[1] / LARGE


def glyphs(text: str, size: float) -> np.ndarray:
    """How opaque text is, (height, width) uint8; the base line is at three quarters of the height."""
    side = round(SCALE * size)
    room = np.zeros((4 * side, 2 * side * (len(text) + 1)), np.uint8)
    end, _ = cv2.putText(room, text, (0, 3 * side), 255, _font(), side)
    return room[:, : end[0]]


@cache
def _font() -> cv2.FontFace:
    return cv2.FontFace("uni")
