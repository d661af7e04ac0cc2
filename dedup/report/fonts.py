"""Letters: a character in, which font has it and how wide it is there out; text in, its picture out.

A character is set in the first font that has it: matplotlib's own, those of `FONTS` that this machine has, the glyphs
that come with OpenCV (Chinese, Japanese and Korean among them), any other font of the machine.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

# The first is part of matplotlib; of the others, those that this machine has, before any more of its fonts.
FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans",
    "Hiragino Sans",
    "Hiragino Sans GB",
    "Apple SD Gothic Neo",
    "Arial Unicode MS",
    "Yu Gothic",
    "Microsoft YaHei",
    "Malgun Gothic",
    "Nirmala UI",
    "Segoe UI Symbol",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
)
BLANK = "\u115f\u1160\u2800\u3000\u3164\uffa0" + "".join(map(chr, range(0xFE00, 0xFE10)))  # drawn as nothing
OPENCV_SCALE = 0.95  # of OpenCV's sizes to matplotlib's
MEASURED_AT = 100  # px, at which widths are measured


def font_families(text: str = "") -> list[str]:
    """Those of `FONTS` that can be used here, without a warning for the others, and what else the text needs."""
    return list(dict.fromkeys(face[0] for face in (*_faces(), *map(_face_of, text)) if face))


def font_file(char: str, bold: bool = False) -> tuple[str, int]:
    """The file of the font that has a character, and the place in it."""
    family, font, _ = _face_of(char)
    if not bold:
        return str(font.fname), getattr(font, "face_index", 0)
    from matplotlib.font_manager import FontProperties, findfont

    return str(findfont(FontProperties(family=family, weight="bold"))), 0


def pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Drawable text in pieces, and whether fonts have each; what they don't have, `glyphs` draws."""
    return (("".join(chars), is_set) for is_set, chars in groupby(text, lambda char: _face_of(char) is not None))


def has_glyph(char: str) -> bool:
    """Whether a character can be drawn here, and would be seen."""
    return _is_seen(char) and (_face_of(char) is not None or _in_opencv(char))


@cache
def advance(char: str) -> float:
    """How far a character moves the pen, as a share of the font size."""
    from matplotlib.ft2font import LoadFlags

    face = _face_of(char)
    if face is None:
        return OPENCV_SCALE * glyphs(char, MEASURED_AT).shape[1] / MEASURED_AT if has_glyph(char) else 1.0
    face[1].set_size(MEASURED_AT, 72)
    return face[1].load_char(ord(char), flags=LoadFlags.NO_HINTING).linearHoriAdvance / 65536 / MEASURED_AT


def glyphs(text: str, size: float) -> np.ndarray:
    """How opaque text is in OpenCV's font, (height, width) uint8; the base line is at three quarters of the height."""
    import cv2
    import numpy as np

    side = round(OPENCV_SCALE * size)
    room = np.zeros((4 * side, 2 * side * (len(text) + 1)), np.uint8)
    end, _ = cv2.putText(room, text, (0, 3 * side), 255, _opencv_font(), side)
    return room[:, : end[0]]


@cache
def _faces() -> tuple:
    """(family, font, its glyphs by code point) of every usable one of `FONTS`."""
    from matplotlib.font_manager import fontManager

    installed = {entry.name for entry in fontManager.ttflist}
    return tuple(filter(None, map(_opened, (family for family in FONTS if family in installed))))


@cache
def _other_faces() -> tuple:
    """The same of the machine's other fonts, for scripts that only they have; not of matplotlib's, for formulas."""
    from matplotlib import get_data_path
    from matplotlib.font_manager import fontManager

    upright = [entry for entry in fontManager.ttflist if (entry.style, entry.weight) == ("normal", 400)]
    installed = {entry.name for entry in upright if not entry.fname.startswith(get_data_path())}
    return tuple(filter(None, map(_opened, sorted(installed - set(FONTS)))))


def _opened(family: str) -> tuple | None:
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FaceFlags, FT2Font

    try:
        font = FT2Font(findfont(family))
        return (family, font, font.get_charmap()) if FaceFlags.SCALABLE in font.face_flags else None
    except (OSError, RuntimeError):  # a file that is no font, or gone
        return None


@cache
def _face_of(char: str) -> tuple | None:
    """The font that a character is set in; None if there is none, or OpenCV's has to do."""
    face = _holding(_faces(), char)
    return face if face or not _is_seen(char) or _in_opencv(char) else _holding(_other_faces(), char)


def _holding(faces: tuple, char: str) -> tuple | None:
    return next((face for face in faces if ord(char) in face[2]), None)


@cache
def _opencv_font():
    import cv2

    return cv2.FontFace("uni")


@cache
def _in_opencv(char: str) -> bool:
    """Whether OpenCV has a glyph of its own for a character, not the one that stands for all others."""
    import cv2

    try:
        return glyphs(char, MEASURED_AT).tobytes() != glyphs("\uffff", MEASURED_AT).tobytes()
    except (AttributeError, cv2.error):  # before OpenCV 5 there are none, and it may have been built without them
        return False


def _is_seen(char: str) -> bool:
    if char in BLANK:
        return False
    return unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


if hasattr(os, "register_at_fork"):  # fonts read their file as they go, and a forked process shares the place in it
    for opened in (_faces, _other_faces, _face_of):
        os.register_at_fork(after_in_child=opened.cache_clear)
