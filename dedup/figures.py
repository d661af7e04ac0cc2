"""What all pictures to look at have in common: colours, and figures that are drawn without pyplot or a display."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dedup.fonts import font_families, pieces
from dedup.glyphs import glyphs
from dedup.lettering import text_advance

# Blue and vermilion stay apart for every kind of colour blindness (Okabe & Ito, 2008); darkened to be read as text.
BLUE, VERMILION = "#0068A8", "#B94A00"
INK, GREY, LIGHT, PAGE, CELL = "#1F2933", "#5B6673", "#D3D8DE", "#F4F5F7", "#E6E9ED"
DPI = 100
MARK = "Shows"  # keyword of the PNG's text


class DrawnFigure(Figure):
    """A Figure that a notebook shows by itself, and whose PNG is the same byte for byte each time."""

    def __init__(self, width: float, height: float, **kwargs):
        super().__init__(figsize=(width / DPI, height / DPI), dpi=DPI, **kwargs)
        FigureCanvasAgg(self)

    def png(self, mark: str = "") -> bytes:
        """The figure as PNG, free of dates and of the names of programs; `read_mark` gives the mark back."""
        self.canvas.draw()
        buffer, notes = io.BytesIO(), PngInfo()
        if mark:
            notes.add_text(MARK, mark)
        Image.fromarray(np.asarray(self.canvas.buffer_rgba())[..., :3]).save(buffer, "PNG", pnginfo=notes)
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        return self.png()


def write(axes: Axes, x: float, y: float, text: str, size: float, color: str, **options) -> None:
    """Write drawable text on axes whose unit is a px and whose y goes down; (x, y) is where its base line begins.

    options : matplotlib's `ha` and `weight`, for text that fonts have
    """
    for piece, is_set in pieces(text):
        if is_set:
            weight = options.get("weight", "normal")
            font = FontProperties(family=font_families(piece), size=size * 72 / DPI, weight=weight)
            place = {"ha": options.get("ha", "left"), "va": "baseline"}
            axes.text(x, y, piece, color=color, fontproperties=font, parse_math=False, zorder=3, **place)
        else:
            opaque = glyphs(piece, size) / 255  # (height, width)
            height, width = opaque.shape
            picture = np.dstack([np.full((height, width, 3), to_rgb(color)), opaque])
            left, bottom = round(x), round(y) + height // 4
            extent = (left, left + width, bottom, bottom - height)
            axes.imshow(picture, extent=extent, aspect="auto", interpolation="nearest", zorder=3)
        x += text_advance(piece, size)


def read_mark(path: Path) -> str:
    """The mark of a figure's file; empty if there is none."""
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return str(image.info.get(MARK, ""))
    except (OSError, ValueError, SyntaxError):
        return ""
