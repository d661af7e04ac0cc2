"""Figures to look at: what matplotlib draws, without pyplot or a display, in the colours of all that is drawn here."""

from __future__ import annotations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from dedup.report.canvas import BLUE, CELL, GREY, INK, LIGHT, PAGE, VERMILION, as_png

__all__ = ["BLUE", "CELL", "DPI", "GREY", "INK", "LIGHT", "PAGE", "VERMILION", "DrawnFigure"]

DPI = 100


class DrawnFigure(Figure):
    """A Figure that a notebook shows by itself, and whose PNG is the same byte for byte each time."""

    def __init__(self, width: float, height: float, **kwargs):
        super().__init__(figsize=(width / DPI, height / DPI), dpi=DPI, **kwargs)
        FigureCanvasAgg(self)

    def png(self, mark: str = "") -> bytes:
        """The figure as PNG, free of dates and of the names of programs; `mark` is a text that is kept in the file."""
        self.canvas.draw()
        return as_png(Image.fromarray(np.asarray(self.canvas.buffer_rgba())[..., :3]), mark)

    def _repr_png_(self) -> bytes:
        return self.png()
