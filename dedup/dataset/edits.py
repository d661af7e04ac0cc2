"""Edits of a picture itself: its geometry, its tones, its detail. Image in, edited image out.

image (height, width, 3) uint8 RGB  ->  the same type, often of another size

Every edit takes the picture, another picture (unused here, see overlays.py) and a random generator, which is its only
source of chance. It never writes into what it was given; it may return a view of it.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Image = np.ndarray  # (height, width, 3) uint8 RGB
Edit = Callable[[Image, Image, np.random.Generator], Image]


def resize(image: Image, width: float, height: float) -> Image:
    """Scale to width and height in px, 8 at least; averages where it shrinks."""
    width, height = max(8, round(width)), max(8, round(height))
    shrinks = width < image.shape[1] and height < image.shape[0]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def apply_table(image: Image, table: np.ndarray) -> Image:
    """Replace every value by the table's: (256,) for all channels, or (256, 1, 3)."""
    return cv2.LUT(image, np.clip(table, 0, 255).astype(np.uint8))


def random_colour(rng: np.random.Generator) -> tuple[int, int, int]:
    """RGB; mostly black, white or grey, as plain frames and captions are."""
    if rng.random() < 0.6:
        return (int(rng.choice([0, 24, 128, 240, 255])),) * 3
    return tuple(int(c) for c in rng.integers(0, 256, 3))


def crop(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """Keep 25 to 98 % of the area, at nearly the same aspect."""
    height, width = image.shape[:2]
    share = rng.uniform(0.25, 0.95) if rng.random() < 0.6 else rng.uniform(0.7, 0.98)
    stretch = np.exp(rng.uniform(-0.2, 0.2))
    h = min(height, max(16, round(height * np.sqrt(share) * stretch)))
    w = min(width, max(16, round(width * np.sqrt(share) / stretch)))
    y, x = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    return image[y : y + h, x : x + w]


def mirror(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """Swap left and right."""
    return image[:, ::-1]


def quarter_turn(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """Turn by 90, 180 or 270 degrees."""
    return np.rot90(image, rng.integers(1, 4))


def small_turn(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """Turn by up to 12 degrees, corners filled with a colour or with the picture's edge."""
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-12, 12), rng.uniform(0.95, 1.15))
    border = cv2.BORDER_CONSTANT if rng.random() < 0.7 else cv2.BORDER_REPLICATE
    return cv2.warpAffine(image, turn, (width, height), borderMode=border, borderValue=random_colour(rng))


def perspective(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """Photograph it from aside: each corner moves inward by up to 12 % of a side, and what lies outside is lost."""
    height, width = image.shape[:2]
    corners = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
    inward = rng.uniform(0, 0.12, (4, 2)) * [width, height] * [[1, 1], [-1, 1], [-1, -1], [1, -1]]
    warp = cv2.getPerspectiveTransform(np.float32(corners + inward), corners)
    return cv2.warpPerspective(image, warp, (width, height))


def brightness(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """Darker or lighter, by a gain of 0.55 to 1.65 and a gamma of 0.67 to 1.5."""
    gain, gamma = np.exp(rng.uniform(-0.6, 0.5)), np.exp(rng.uniform(-0.4, 0.4))
    return apply_table(image, 255 * gain * (np.arange(256) / 255) ** gamma)


def contrast(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """Draw the values towards their mean, or away from it."""
    mean = float(image.mean())
    return apply_table(image, mean + (np.arange(256) - mean) * np.exp(rng.uniform(-0.8, 0.6)))


def saturation(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """From grey over the picture itself to colours 2.5 times as strong."""
    amount = rng.uniform(0, 2.5)
    return cv2.addWeighted(image, amount, grey(image, other, rng), 1 - amount, 0)


def grey(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """Grey values in three equal channels."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def tint(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """Sepia and its like: grey values mapped to a line between two colours; or a colour cast."""
    dark, light = rng.uniform(0, 60, 3), rng.uniform(170, 255, 3)
    line = np.linspace(dark, light, 256).reshape(256, 1, 3)
    toned = apply_table(grey(image, other, rng), line)
    amount = 1.0 if rng.random() < 0.6 else rng.uniform(0.2, 0.6)
    return cv2.addWeighted(toned, amount, image, 1 - amount, 0)


def posterize(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """Only 4 to 13 values a channel."""
    step = 256 // int(rng.choice([4, 6, 8, 12]))
    return apply_table(image, np.arange(256) // step * step)


def photo_filter(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """A faded or steep tone curve, another one for each channel."""
    knots = [(rng.uniform(0, 40), rng.uniform(30, 100), rng.uniform(150, 230), rng.uniform(230, 255)) for _ in "RGB"]
    curves = [np.interp(np.arange(256), [0, 64, 192, 255], heights) for heights in knots]
    return apply_table(image, np.stack(curves, axis=1).reshape(256, 1, 3))


def blur(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """Gaussian blur of 0.4 to 1.8 % of the short side."""
    return cv2.GaussianBlur(image, (0, 0), min(image.shape[:2]) * rng.uniform(0.004, 0.018))


def sharpen(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """Unsharp mask."""
    amount = rng.uniform(0.5, 2.0)
    return cv2.addWeighted(image, 1 + amount, cv2.GaussianBlur(image, (0, 0), 1.5), -amount, 0)


def noise(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """Gaussian noise, 4 to 25 grey levels, in each channel."""
    grain = rng.standard_normal(image.shape, np.float32) * rng.uniform(4, 25)
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def shrink(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """Down to a thumbnail and up again."""
    height, width = image.shape[:2]
    scale = rng.uniform(0.25, 0.7)
    return resize(resize(image, width * scale, height * scale), width, height)


def recompress(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """Save as JPEG or WebP of quality 8 to 89 and read again."""
    quality = int(rng.integers(8, 90))
    kind, flag = (".jpg", cv2.IMWRITE_JPEG_QUALITY) if rng.random() < 0.85 else (".webp", cv2.IMWRITE_WEBP_QUALITY)
    return cv2.imdecode(cv2.imencode(kind, image, [flag, quality])[1], cv2.IMREAD_COLOR)
