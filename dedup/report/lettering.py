"""File names as they can be drawn. Input: any text. Output: text with a glyph for each character, its width, its lines.

A character is drawn in DejaVu Sans, which comes with matplotlib; if that lacks it, in OpenCV's font, which has Chinese,
Japanese and Korean; else as its code.
"""

from __future__ import annotations

import io
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache
from itertools import accumulate, groupby
from pathlib import Path

import cv2
import numpy as np
from PIL import ImageFont

BLANK = "\u115f\u1160\u2800\u3000\u3164\uffa0" + "".join(map(chr, range(0xFE00, 0xFE10)))  # drawn as nothing
NO_GLYPH = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")  # Unicode's categories of characters without a glyph
OPENCV_SCALE = 0.95  # OpenCV's font size / Pillow's
MEASURED_AT = 1000  # px, at which widths are measured


def drawable(text: str) -> str:
    r"""`text` with every character that has no glyph here, or that would not be seen, written as its code."""
    return "".join(char if _in_font(char) or _in_opencv(char) else _code(char) for char in text)


def text_width(text: str, size: float) -> float:
    """How wide drawable text is when set at `size`, in the unit of `size`, with a little room for hinting."""
    return 1.04 * size * sum(_advance(char) for char in text)


def shorten(text: str, size: float, width: float, keep_end: float = 0.5) -> str:
    """`text`, with its middle replaced by an ellipsis until it is at most `width` wide.

    keep_end : share of the room that the end gets; 0 cuts at the end.
    """
    if text_width(text, size) <= width:
        return text
    room = width - text_width("…", size)
    parts = re.findall(r"\\x..|\\u.{4}|\\U.{8}|.", text)  # a code is kept whole
    end = "".join(_longest(parts[::-1], size, room * keep_end)[::-1])
    start = "".join(_longest(parts, size, room - text_width(end, size)))
    return f"{start.rstrip()}…{end.lstrip()}"


def wrap(text: str, size: float, width: float, lines: int) -> list[str]:
    """`text` in at most `lines` lines of `width`; what does not fit ends in an ellipsis."""
    wrapped: list[str] = []
    for word in text.split():
        if wrapped and text_width(f"{wrapped[-1]} {word}", size) <= width:
            wrapped[-1] += f" {word}"
        else:
            wrapped.append(word)
    rest = " ".join(wrapped[lines - 1 :])
    return [shorten(line, size, width, keep_end=0) for line in (*wrapped[: lines - 1], rest) if line]


def _longest(parts: list[str], size: float, width: float) -> list[str]:
    """As many of the first parts as are together at most `width` wide."""
    ends = list(accumulate(text_width(part, size) for part in parts))
    return parts[: bisect_right(ends, width)]


def _code(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"  # a byte that is not UTF-8 (PEP 383)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


@cache
def font(size: float, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans; read into memory, since a forked process would share the position in an open file."""
    return ImageFont.truetype(io.BytesIO(_font_file(bold)), size, layout_engine=ImageFont.Layout.BASIC)


@cache
def _font_file(bold: bool) -> bytes:
    from matplotlib import get_data_path

    return Path(get_data_path(), "fonts", "ttf", f"DejaVuSans{'-Bold' * bold}.ttf").read_bytes()


@cache
def _letters() -> frozenset[int]:
    """The code points that DejaVu Sans has."""
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(io.BytesIO(_font_file(bold=False))).get_charmap())


def pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Drawable text in pieces, and whether the font has each; what it does not have, `glyphs` draws."""
    return (("".join(chars), is_set) for is_set, chars in groupby(text, _in_font))


def glyphs(text: str, size: float) -> np.ndarray:
    """How opaque text is in OpenCV's font, (height, width) uint8; the base line is at three quarters of the height."""
    side = round(OPENCV_SCALE * size)
    room = np.zeros((4 * side, 2 * side * (len(text) + 1)), np.uint8)
    end, _ = cv2.putText(room, text, (0, 3 * side), 255, cv2.FontFace("uni"), side)
    return room[:, : end[0]]


def _in_font(char: str) -> bool:
    return ord(char) in _letters() and _is_seen(char)


@cache
def _in_opencv(char: str) -> bool:
    """Whether OpenCV has a glyph for a character, other than the one for unknown characters."""
    try:
        return _is_seen(char) and not np.array_equal(glyphs(char, 100), glyphs("\uffff", 100))
    except cv2.error:  # it may be built without fonts
        return False


def _is_seen(char: str) -> bool:
    return char not in BLANK and unicodedata.category(char) not in NO_GLYPH


@cache
def _advance(char: str) -> float:
    """How far a character moves the pen, as a share of the font size."""
    if _in_font(char):
        return font(MEASURED_AT).getlength(char) / MEASURED_AT
    return OPENCV_SCALE * glyphs(char, 100).shape[1] / 100 if _in_opencv(char) else 1.0
