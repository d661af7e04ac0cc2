"""Copies of a picture, edited as people edit: image in, copy out.

image (height, width, 3) uint8 RGB  ->  copy (size, size, 3) uint8 RGB

The encoder is trained on these copies and epsilon is calibrated with them. The kinds of edits follow what is common
where pictures are shared, as in the Image Similarity Challenge's set (Douze et al., 2021, arXiv:2106.09672). Each is
drawn by itself, with the probability beside its name; the same state of the generator gives the same copy.
"""

from __future__ import annotations

import numpy as np

from dedup.dataset.edits import (
    Edit,
    Image,
    blur,
    brightness,
    contrast,
    crop,
    grey,
    mirror,
    noise,
    perspective,
    photo_filter,
    posterize,
    quarter_turn,
    recompress,
    resize,
    saturation,
    sharpen,
    shrink,
    small_turn,
    tint,
)
from dedup.dataset.overlays import (
    border,
    caption,
    collage,
    letterbox,
    meme,
    occlude,
    paste_in,
    screenshot,
    sticker,
    watermark,
)

GEOMETRY: dict[Edit, float] = {crop: 0.55, mirror: 0.22, quarter_turn: 0.3, small_turn: 0.15, perspective: 0.12}
TONE: dict[Edit, float] = {
    brightness: 0.25,
    contrast: 0.25,
    saturation: 0.2,
    grey: 0.16,
    tint: 0.14,
    posterize: 0.08,
    photo_filter: 0.08,
}
MARKS: dict[Edit, float] = {caption: 0.18, watermark: 0.12, sticker: 0.1, occlude: 0.12}
LAYOUT: dict[Edit, float] = {border: 0.08, letterbox: 0.1, meme: 0.1, screenshot: 0.13, collage: 0.12, paste_in: 0.14}
DETAIL: dict[Edit, float] = {blur: 0.15, sharpen: 0.1, noise: 0.12, shrink: 0.12, recompress: 0.4}
EDIT_PROBABILITIES = GEOMETRY | TONE | MARKS | LAYOUT | DETAIL


def make_copy(image: Image, other: Image, size: int, rng: np.random.Generator, strength: float = 1.0) -> Image:
    """Edit a picture at random, and squeeze it to the square that the encoder sees.

    Parameters
    ----------
    image, other : (height, width, 3) uint8 RGB; parts of `other` may be shown beside or over `image`. Never written to
    size : side of the copy in px
    rng : the only source of chance
    strength : factor on every edit's probability; 0 gives the picture itself

    Returns
    -------
    (size, size, 3) uint8 RGB
    """
    for edit in _drawn(GEOMETRY, strength, rng):
        image = edit(image, other, rng)
    scale = 1.25 * size / max(image.shape[:2])  # the edits below cost by the pixel
    if scale < 1:
        image = resize(image, image.shape[1] * scale, image.shape[0] * scale)
    image = np.ascontiguousarray(image)
    for edit in _drawn(TONE, strength, rng) + _drawn(MARKS, strength, rng):
        image = edit(image, other, rng)
    shares = np.array(list(LAYOUT.values()))
    if rng.random() < shares.sum() * strength:
        layout = list(LAYOUT)[rng.choice(len(shares), p=shares / shares.sum())]
        image = layout(image, other, rng)
    image = resize(image, size, size)
    for edit in _drawn(DETAIL, strength, rng):
        image = edit(image, other, rng)
    return np.ascontiguousarray(image)


def _drawn(edits: dict[Edit, float], strength: float, rng: np.random.Generator) -> list[Edit]:
    """Each edit with its own probability, in the order of the table."""
    return [edit for edit, share in edits.items() if rng.random() < share * strength]
