"""Pictures side by side: paths, images or maps in, one page with a caption under each out. For the notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
from PIL import Image

from dedup.dataset.decoding import load_image
from dedup.report.canvas import CELL, GREY, INK, PAGE, Canvas
from dedup.report.grid import GAP, LINE, MARGIN
from dedup.report.lettering import drawable, shorten

SIZE = 12.5  # of captions, in px


def plot_pictures(
    pictures: Sequence[Path | Image.Image | np.ndarray],
    captions: Sequence[str] = (),
    columns: int = 6,
    side: int = 140,
    frames: Sequence[str | None] = (),
) -> Canvas:
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
    page = Canvas(width, height, PAGE)
    top = MARGIN
    for row, row_height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            _draw(page, *cell, MARGIN + column * (side + GAP), top, side)
        top += row_height
    return page


def _draw(page: Canvas, picture, caption: str | None, frame: str | None, left: int, top: int, side: int) -> None:
    """One picture in its square, with its caption below."""
    page.fill(left, top, side, side, CELL)
    fitted = _fitted(picture, side)
    page.image.paste(fitted, (left + (side - fitted.width) // 2, top + (side - fitted.height) // 2))
    if frame:
        page.frame(left, top, side, side, frame, 4)
    for number, line in enumerate((caption or "").split("\n")):
        text = shorten(drawable(line), SIZE, side + GAP / 2)
        page.write(left, top + side + LINE * (number + 1), text, SIZE, GREY if number else INK)


def _fitted(picture: Path | Image.Image | np.ndarray, side: int) -> Image.Image:
    """RGB, the longer side equal to `side`."""
    if isinstance(picture, Path):
        picture = load_image(picture)
    elif isinstance(picture, np.ndarray):
        picture = _coloured(picture)
    scale = side / max(picture.size)
    size = tuple(max(1, round(scale * length)) for length in picture.size)
    smooth = Image.Resampling.NEAREST if scale > 4 else Image.Resampling.LANCZOS  # cells of a map stay cells
    return picture.convert("RGB").resize(size, smooth)


def _coloured(values: np.ndarray) -> Image.Image:
    """An array as an image; a map of one value a cell goes from white to dark blue."""
    if values.ndim == 2:
        from matplotlib import colormaps

        low, high = float(values.min()), float(values.max())
        values = (255 * colormaps["Blues"]((values - low) / ((high - low) or 1))[..., :3]).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(values))
