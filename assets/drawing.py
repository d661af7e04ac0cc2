"""What the drawings in this folder share: a canvas in pixels, words, arrows, photos, vectors."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.patches import FancyArrowPatch, Rectangle
from PIL import Image

ASSETS = Path(__file__).resolve().parent
sys.path.insert(0, str(ASSETS.parent))

from dedup.report.canvas import BLUE, GREY, INK, LIGHT, PAGE, VERMILION  # noqa: E402
from dedup.report.plots import DPI, DrawnFigure  # noqa: E402

__all__ = [
    "ASSETS",
    "BLUE",
    "BLUES",
    "FAINT",
    "GREEN",
    "GREY",
    "INK",
    "LIGHT",
    "PAGE",
    "VERMILION",
    "DrawnFigure",
    "arrow",
    "canvas",
    "photo",
    "picture",
    "vector",
    "write",
]

GREEN, FAINT = "#00785A", "#B4BCC6"
BLUES = ("#CFE3F1", "#A9CDE5", "#79B0D6", "#3E8CC1", BLUE)


def canvas(width: int, height: int):
    """A figure and its axes, in pixels, the origin at the top left."""
    figure = DrawnFigure(width, height, facecolor=PAGE, layout="none")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return figure, axes


def photo(name: str, box: tuple[float, float, float, float] = (0, 0, 1, 1), side: int = 320) -> np.ndarray:
    """A part of a scikit-image photo, box as shares of its sides, squeezed to a square."""
    import skimage

    image = Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB")
    corners = [share * length for share, length in zip(box, (*image.size, *image.size), strict=True)]
    return np.asarray(image.resize((side, side), Image.Resampling.LANCZOS, box=corners))


def write(axes, x, y, text, size=24, color=INK, **settings) -> None:
    settings = {"ha": "center", "va": "baseline", "family": "DejaVu Sans"} | settings
    axes.text(x, y, text, fontsize=size * 72 / DPI, color=color, parse_math=False, **settings)


def arrow(axes, start, end, color=GREY, width=2.2, **settings) -> None:
    settings = {"arrowstyle": "-|>", "mutation_scale": 20, "shrinkA": 0, "shrinkB": 0} | settings
    axes.add_patch(FancyArrowPatch(start, end, color=color, lw=width, zorder=5, **settings))


def picture(axes, image, x, y, width, height=None, frame="white", line=2.0, zorder=4) -> None:
    """A picture with its top left corner at (x, y), in a thin frame."""
    height = height or width
    axes.imshow(image, extent=(x, x + width, y + height, y), aspect="auto", interpolation="antialiased", zorder=zorder)
    axes.add_patch(Rectangle((x, y), width, height, fill=False, ec=frame, lw=line, zorder=zorder + 0.05))


def vector(axes, x, y, width, height, seed, cells=24, color=BLUE) -> None:
    """A column of cells, each a number of the vector: the stronger, the larger."""
    strength = np.random.default_rng(seed).beta(0.9, 1.4, cells)
    for i, value in enumerate(strength):
        top = y + i * height / cells
        axes.add_patch(Rectangle((x, top), width, height / cells, fc=color, alpha=0.08 + 0.85 * value, lw=0, zorder=4))
    axes.add_patch(Rectangle((x, y), width, height, fill=False, ec=color, lw=1.6, zorder=4.1))
