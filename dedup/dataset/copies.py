"""Copies of a picture, edited as people edit. Input: an image. Output: a copy.

image, other (height, width, 3) uint8 RGB  ->  the same type, often of another size

The encoder is trained on these copies and epsilon is calibrated with them. The kinds of edits follow what is common
where pictures are shared, as in the Image Similarity Challenge's set (Douze et al., 2021, arXiv:2106.09672). Each is
drawn by itself, with the probability beside its name; the same state of the generator gives the same copy.

Every edit takes the picture, another picture (for collages and the like) and a random generator, which is its only
source of randomness. It never changes its inputs; it may return a view of them.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

Image = np.ndarray  # (height, width, 3) uint8 RGB
Edit = Callable[[Image, Image, np.random.Generator], Image]
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
    """As photographed from the side: each corner moves inward by up to 12 % of a side; what lies outside is cut."""
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
    """Move the values towards their mean, or away from it."""
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
    """A tone such as sepia: grey values mapped to a line between two colours; or a colour cast."""
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


def _paste(page: Image, patch: Image, rng: np.random.Generator) -> Image:
    """Put a patch on a page, anywhere."""
    h, w = min(patch.shape[0], page.shape[0]), min(patch.shape[1], page.shape[1])
    y, x = rng.integers(0, page.shape[0] - h + 1), rng.integers(0, page.shape[1] - w + 1)
    page[y : y + h, x : x + w] = patch[:h, :w]
    return page


def occlude(image: Image, other: Image, rng: np.random.Generator) -> Image:
    """Cover a part, up to a quarter of the area, with another picture."""
    height, width = image.shape[:2]
    patch = resize(other, width * rng.uniform(0.2, 0.5), height * rng.uniform(0.2, 0.5))
    return _paste(image.copy(), patch, rng)


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
    return _paste(page, shown, rng)


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
    rng : the only source of randomness
    strength : factor on every edit's probability; 0 gives the picture itself
    Returns (size, size, 3) uint8 RGB
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


def _drawn(table: dict[Edit, float], strength: float, rng: np.random.Generator) -> list[Edit]:
    """The edits drawn at random, each with its own probability, in the order of the table."""
    return [edit for edit, share in table.items() if rng.random() < share * strength]
