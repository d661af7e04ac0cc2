"""Pictures side by side: paths, images or maps in, one figure with a caption under each out. For the notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from dedup.decoding import load_image
from dedup.figures import CELL, GREY, INK, PAGE, DrawnFigure, write
from dedup.grid import GAP, LINE, MARGIN
from dedup.lettering import drawable, shorten

SIZE = 12.5  # of captions, in px


def plot_pictures(
    pictures: Sequence[Path | Image.Image | np.ndarray],
    captions: Sequence[str] = (),
    columns: int = 6,
    side: int = 140,
    frames: Sequence[str | None] = (),
) -> Figure:
    """Draw pictures in rows, each fitted into a square of the same size.

    Parameters
    ----------
    pictures : files, images, (height, width, 3) uint8 arrays, or (height, width) maps, drawn from white (their
        smallest value) to dark blue (their largest)
    captions : the text under each, may have several lines; lines too long for the square lose their middle
    columns : pictures a row, at least 1
    side : of a square, in px
    frames : the colour of a frame around each, or None

    Raises
    ------
    ValueError : no pictures, or more captions or frames than pictures
    """
    if not len(pictures) or max(len(captions), len(frames)) > len(pictures):
        raise ValueError(f"got {len(pictures)} pictures, {len(captions)} captions, {len(frames)} frames")
    cells = list(zip_longest(pictures, captions, frames))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [
        side + GAP + LINE * max((caption or "").count("\n") + bool(caption) for _, caption, _ in row) for row in rows
    ]
    width, height = 2 * MARGIN + len(rows[0]) * (side + GAP) - GAP, MARGIN + sum(heights) + GAP // 2
    figure = DrawnFigure(width, height, facecolor=PAGE)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    top = MARGIN
    for row, row_height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            _draw(axes, *cell, MARGIN + column * (side + GAP), top, side)
        top += row_height
    axes.set(xlim=(0, width), ylim=(height, 0))
    return figure


def _draw(axes, picture, caption: str | None, frame: str | None, left: float, top: float, side: int) -> None:
    """One picture in its square, with its caption below."""
    axes.add_patch(Rectangle((left, top), side, side, fc=CELL, lw=0, zorder=1))
    pixels = _fitted(picture, side)
    height, width = pixels.shape[:2]
    x, y = left + (side - width) // 2, top + (side - height) // 2
    axes.imshow(pixels, extent=(x, x + width, y + height, y), interpolation="nearest", aspect="auto", zorder=2)
    if frame:
        axes.add_patch(Rectangle((left - 2, top - 2), side + 4, side + 4, fill=False, ec=frame, lw=2.9, zorder=3))
    for number, line in enumerate((caption or "").split("\n")):
        text = shorten(drawable(line), SIZE, side + GAP / 2)
        write(axes, left, top + side + LINE * (number + 1), text, SIZE, GREY if number else INK)


def _fitted(picture: Path | Image.Image | np.ndarray, side: int) -> np.ndarray:
    """(<= side, <= side, 3) uint8 with the longer of the two equal to side."""
    if isinstance(picture, Path):
        picture = load_image(picture)
    elif isinstance(picture, np.ndarray):
        picture = _coloured(picture)
    scale = side / max(picture.size)
    size = tuple(max(1, round(scale * length)) for length in picture.size)
    smooth = Image.Resampling.NEAREST if scale > 4 else Image.Resampling.LANCZOS  # cells of a map stay cells
    return np.asarray(picture.convert("RGB").resize(size, smooth))


def _coloured(values: np.ndarray) -> Image.Image:
    """An array as an image; a map of one value a cell goes from white to dark blue."""
    if values.ndim == 2:
        low, high = float(values.min()), float(values.max())
        values = (255 * colormaps["Blues"]((values - low) / ((high - low) or 1))[..., :3]).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(values))
