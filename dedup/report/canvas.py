"""Pages of pictures and words. Input: sizes, colours, texts. Output: one picture, the same byte for byte each time.

They are drawn with Pillow, in a fifth of the time of matplotlib's figures, which are used for axes and curves.
"""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from dedup.report.lettering import font, glyphs, pieces

# Blue and vermilion stay apart for every kind of colour blindness (Okabe & Ito, 2008); darkened to be read as text.
BLUE, SKY, VERMILION = "#0068A8", "#7FB8DC", "#B94A00"
INK, GREY, LIGHT, PAGE, CELL = "#1F2933", "#5B6673", "#D3D8DE", "#F4F5F7", "#E6E9ED"
MARK = "Shows"  # keyword of the PNG's text
EFFORT = 3  # of zlib; more takes twice the time for a twentieth of the bytes
FINE = 4  # times; shapes are drawn larger and then reduced, which smooths their edges


class Canvas:
    """A page to draw on, which a notebook shows by itself.

    image : what is drawn so far
    words : what is written on it, text by text
    """

    def __init__(self, width: int, height: int, color: str):
        self.image, self.words = Image.new("RGB", (width, height), color), []
        self._draw = ImageDraw.Draw(self.image)

    def __repr__(self) -> str:
        return f"<Canvas of {self.image.width} x {self.image.height} px>"

    def write(self, x: float, baseline: float, text: str, size: float, color: str, bold=False, centred=False) -> None:
        """Write drawable text that begins at x, or has its middle there."""
        self.words.append(text)
        face = font(size, bold)
        runs = [(run, None if is_set else Image.fromarray(glyphs(run, size))) for run, is_set in pieces(text)]
        widths = [mask.width if mask else face.getlength(run) for run, mask in runs]
        x -= sum(widths) / 2 if centred else 0
        for (run, mask), width in zip(runs, widths, strict=True):
            if mask:
                self.image.paste(color, (round(x), round(baseline) - 3 * mask.height // 4), mask)
            else:
                self._draw.text((x, baseline), run, color, face, anchor="ls")
            x += width

    def fill(self, left: float, top: float, width: float, height: float, color: str) -> None:
        self._draw.rectangle((left, top, left + width - 1, top + height - 1), color)

    def frame(self, left: int, top: int, width: int, height: int, color: str, thickness: int) -> None:
        """A frame around a rectangle."""
        outer = left - thickness, top - thickness, left + width + thickness - 1, top + height + thickness - 1
        self._draw.rectangle(outer, outline=color, width=thickness)

    def pill(self, left: int, top: int, width: int, height: int, color: str, is_filled: bool) -> None:
        self.image.paste(color, (left, top), _pill(width, height, is_filled))

    def outline(self, corners: np.ndarray, color: str, thickness: float) -> None:
        """A smooth line around corners (k, 2)."""
        first, last = (np.rint(bound).astype(int) for bound in (corners.min(axis=0) - 4, corners.max(axis=0) + 4))
        mask = Image.new("L", tuple((FINE * (last - first)).tolist()))
        points = [tuple(point) for point in (FINE * (corners - first)).tolist()]
        ImageDraw.Draw(mask).line([*points, *points[:2]], 255, round(FINE * thickness), joint="curve")
        self.image.paste(color, tuple(first.tolist()), mask.reduce(FINE))

    def png(self, mark: str = "") -> bytes:
        return as_png(self.image, mark)

    def _repr_png_(self) -> bytes:
        return self.png()


def as_png(image: Image.Image, mark: str = "") -> bytes:
    """A picture as PNG, without dates and names of programs; `read_mark` reads the mark."""
    buffer, notes = io.BytesIO(), PngInfo()
    if mark:
        notes.add_text(MARK, mark)
    image.save(buffer, "PNG", pnginfo=notes, compress_level=EFFORT)
    return buffer.getvalue()


def read_mark(path: Path) -> str:
    """The mark of a picture's file; empty if there is none."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return str(image.info.get(MARK, ""))
    except (OSError, ValueError, SyntaxError):
        return ""


@lru_cache(maxsize=64)
def _pill(width: int, height: int, is_filled: bool) -> Image.Image:
    """How much of each px a pill covers."""
    mask = Image.new("L", (FINE * width, FINE * height))
    box, radius = (0, 0, FINE * width - 1, FINE * height - 1), FINE * height // 4
    ImageDraw.Draw(mask).rounded_rectangle(box, radius, 255 if is_filled else 0, 255, round(1.4 * FINE))
    return mask.reduce(FINE)
