"""What people put on pictures and around them: marks and layouts. Image in, image with additions out.

image, other (height, width, 3) uint8 RGB  ->  the same type; a layout may have another size

Every edit takes the picture, another picture for collages and the like, and a random generator, which is its only
source of chance. It never writes into what it was given.
"""

from __future__ import annotations

import cv2
import numpy as np

from dedup.dataset.edits import Image, random_colour, resize

WORDS = (
    "SALE 50% OFF PREVIEW sample photo archive Summer draft do not use when it is monday again nobody: "
    "me explaining top 10 of all time follow us like and share liked by 1,204 others breaking news 2019 (c)"
).split()
HERSHEY_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
    cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
)


def _phrase(rng: np.random.Generator) -> str:
    """One to five words that people write on pictures."""
    return " ".join(rng.choice(WORDS, rng.integers(1, 6)))


def _write(image: Image, text: str, x: float, y: float, height: float, colour, rng, weight: int = 1) -> None:
    """Draw text into `image`, its baseline starting at (x, y), letters about `height` px high."""
    font = HERSHEY_FONTS[rng.integers(len(HERSHEY_FONTS))]
    if rng.random() < 0.4:
        outline = (0, 0, 0) if sum(colour) > 380 else (255, 255, 255)
        cv2.putText(image, text, (int(x), int(y)), font, height / 22, outline, weight + 2, cv2.LINE_AA)
    cv2.putText(image, text, (int(x), int(y)), font, height / 22, colour, weight, cv2.LINE_AA)


def caption(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """One or two lines of text on the picture."""
    image = image.copy()
    height, width = image.shape[:2]
    for _ in range(rng.integers(1, 3)):
        size = height * rng.uniform(0.06, 0.16)
        x, y = width * rng.uniform(0, 0.4), height * rng.uniform(0.1, 0.97)
        _write(image, _phrase(rng), x, y, size, random_colour(rng), rng, int(rng.integers(1, 3)))
    return image


def watermark(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """One word, half transparent, tiled over the picture or once across it."""
    layer, (height, width) = image.copy(), image.shape[:2]
    word, colour = str(rng.choice(WORDS)), (255, 255, 255) if rng.random() < 0.7 else random_colour(rng)
    if rng.random() < 0.6:
        size = height * rng.uniform(0.05, 0.1)
        for row, y in enumerate(np.arange(size, height + size, size * rng.uniform(2, 4))):
            for x in np.arange(-size + row % 3 * size, width, size * rng.uniform(5, 8)):
                _write(layer, word, x, y, size, colour, rng)
    else:
        _write(layer, word, width * 0.05, height * rng.uniform(0.3, 0.8), height * 0.3, colour, rng, 3)
    amount = rng.uniform(0.2, 0.6)
    return cv2.addWeighted(layer, amount, image, 1 - amount, 0)


def sticker(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """A few filled shapes: emoji, censor bars, arrows."""
    image = image.copy()
    height, width = image.shape[:2]
    for _ in range(rng.integers(1, 4)):
        x, y = int(width * rng.random()), int(height * rng.random())
        size = int(min(height, width) * rng.uniform(0.05, 0.18))
        if rng.random() < 0.5:
            cv2.circle(image, (x, y), size, random_colour(rng), -1, cv2.LINE_AA)
        else:
            cv2.rectangle(image, (x, y), (x + int(size * rng.uniform(1, 3)), y + size), random_colour(rng), -1)
    return image


def occlude(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """Cover a part, up to a quarter of the area, with another picture."""
    image = image.copy()
    height, width = image.shape[:2]
    patch = resize(other, width * rng.uniform(0.2, 0.5), height * rng.uniform(0.2, 0.5))
    h, w = min(patch.shape[0], height), min(patch.shape[1], width)
    y, x = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    image[y : y + h, x : x + w] = patch[:h, :w]
    return image


def border(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """A frame of one colour around it."""
    width = int(min(image.shape[:2]) * rng.uniform(0.02, 0.15))
    return cv2.copyMakeBorder(image, width, width, width, width, cv2.BORDER_CONSTANT, value=random_colour(rng))


def letterbox(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """Bars above and below, or left and right."""
    height, width = image.shape[:2]
    square = abs(height - width) / 2
    if rng.random() < 0.6 and square > 4:
        bars = (int(square), 0) if width > height else (0, int(square))
    else:
        bar = rng.uniform(0.08, 0.35)
        bars = (int(height * bar), 0) if rng.random() < 0.5 else (0, int(width * bar))
    return cv2.copyMakeBorder(image, bars[0], bars[0], bars[1], bars[1], cv2.BORDER_CONSTANT, value=random_colour(rng))


def meme(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """A plain bar with a line of text above or below."""
    height, width = image.shape[:2]
    bar = int(height * rng.uniform(0.12, 0.35))
    colour = (255, 255, 255) if rng.random() < 0.7 else (0, 0, 0)
    strip = np.full((bar, width, 3), colour, np.uint8)
    _write(strip, _phrase(rng), width * 0.04, bar * 0.65, bar * 0.35, tuple(255 - c for c in colour), rng)
    return np.concatenate([strip, image] if rng.random() < 0.75 else [image, strip])


def screenshot(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """The picture on a phone's or desktop's plain page with a bar and lines of text."""
    height, width = (320, 180) if rng.random() < 0.5 else (180, 320)
    page = np.full((height, width, 3), random_colour(rng), np.uint8)
    cv2.rectangle(page, (0, 0), (width, int(height * rng.uniform(0.04, 0.1))), random_colour(rng), -1)
    scale = min(width * rng.uniform(0.7, 1.0) / image.shape[1], height * rng.uniform(0.5, 0.8) / image.shape[0])
    shown = resize(image, image.shape[1] * scale, image.shape[0] * scale)
    h, w = min(shown.shape[0], height), min(shown.shape[1], width)
    y, x = int((height - h) * rng.uniform(0.2, 0.7)), (width - w) // 2
    ink = (120, 120, 120) if rng.random() < 0.5 else random_colour(rng)
    for line in range(rng.integers(1, 5)):
        _write(page, _phrase(rng), width * 0.05, height * (0.82 + line * 0.05), height * 0.03, ink, rng)
    page[y : y + h, x : x + w] = shown[:h, :w]
    return page


def collage(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """Two pictures side by side or one above the other."""
    height, width = image.shape[:2]
    pair = [image, resize(other, width, height)]
    return np.concatenate(pair if rng.random() < 0.5 else pair[::-1], axis=int(rng.integers(2)))


def paste_in(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """The picture, smaller, on another picture."""
    height, width = image.shape[:2]
    page = resize(other, width, height)
    shown = resize(image, width * rng.uniform(0.5, 0.8), height * rng.uniform(0.5, 0.8))
    h, w = min(shown.shape[0], page.shape[0]), min(shown.shape[1], page.shape[1])
    y, x = rng.integers(0, page.shape[0] - h + 1), rng.integers(0, page.shape[1] - w + 1)
    page[y : y + h, x : x + w] = shown[:h, :w]
    return page
