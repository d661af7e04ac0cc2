"""Pictures to confirm: photos, what people do to them, and what is built around them."""

import io
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

from dedup.dataset import samples
from dedup.matching.confirmation import match_pictures, read_picture

PHOTOS = "chelsea.png astronaut.png coffee.png china.jpg flower.jpg coins.png".split()
SIDE = 360


def photo(name, side=SIDE):
    with Image.open(samples._installed(name)) as opened:
        image = opened.convert("RGB")
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def cut(image, left, top, right, bottom):
    return samples._cut(image, left, top, right, bottom)


def jpeg(image, quality):
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    found = Image.open(data).convert("RGB")
    found.file = data.getvalue()  # what `match` writes, tables and all
    return found


def write(image, text, place, size, fill="black"):
    image = image.copy()
    ImageDraw.Draw(image).text(place, text, fill=fill, font=ImageFont.load_default(size=size))
    return image


def match(first, second):
    """Compare two images as two files: their Match, or None."""
    with TemporaryDirectory() as folder:
        paths = [Path(folder) / "first", Path(folder) / "second"]
        for path, image in zip(paths, (first, second), strict=True):
            if hasattr(image, "file"):
                path.write_bytes(image.file)
            else:
                image.save(path, "PNG", compress_level=1)
        return match_pictures(*map(read_picture, paths))


def joined(found):
    """Whether a match makes a cluster of two files."""
    return found is not None and found.kind.joins


def moved(found, x, y):
    """Where a point of the first picture lies in the second, both in unit coordinates."""
    across, down, scale = np.reshape(found.transform, (3, 3)) @ [x, y, 1]
    return pytest.approx((across / scale, down / scale), abs=0.015)


def sticker(image):
    image = image.copy()
    width, height = image.size
    place = (width * 0.55, height * 0.55, width * 0.8, height * 0.9)
    ImageDraw.Draw(image).ellipse(place, fill="magenta", outline="white", width=5)
    return image


def noisy(image, amount=10, seed=0):
    noise = np.random.default_rng(seed).normal(0, amount, (*image.size[::-1], 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


COPIES = {
    "resize": lambda image: samples._scale(image, 0.5),
    "thumbnail": lambda image: samples._scale(image, 0.3),
    "stretch": lambda image: image.resize((image.width, image.height * 3 // 4)),
    "heavy_jpeg": lambda image: jpeg(image, 10),
    "grey": ImageOps.grayscale,
    "sepia": samples._sepia,
    "bright": lambda image: ImageEnhance.Brightness(image).enhance(1.4),
    "dark": lambda image: ImageEnhance.Brightness(image).enhance(0.5),
    "contrast": lambda image: ImageEnhance.Contrast(image).enhance(1.4),
    "colour": lambda image: ImageEnhance.Color(image).enhance(2),
    "blur": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "noise": noisy,
    "border": lambda image: ImageOps.expand(image, 20, "white"),
    "letterbox": lambda image: ImageOps.pad(image, (SIDE, SIDE), color="black"),
    "caption": lambda image: write(image, "Summer 2019", (15, image.height * 0.8), 32, "yellow"),
    "sticker": sticker,
    "tilt": lambda image: image.rotate(4, Image.Resampling.BICUBIC),
}


def screenshot(image, side=SIDE):
    screen = Image.new("RGB", (side * 3 // 5, side), "white")
    pen = ImageDraw.Draw(screen)
    pen.rectangle((0, 0, screen.width, side // 9), fill="steelblue")
    screen = write(screen, "Photos of today", (10, 10), 18, "white")
    shown = image.resize((screen.width - 20, round((screen.width - 20) * image.height / image.width)))
    screen.paste(shown, (10, side // 6))
    text = "7 people like this\nAnna: what a nice one\nTom: where was that?"
    return write(screen, text, (10, side // 6 + shown.height + 6), 14)


def collage(images, side=SIDE):
    page = Image.new("RGB", (side, side), "white")
    half = side // 2 - 3
    for place, image in enumerate(images):
        page.paste(image.resize((half, half)), (place % 2 * (half + 6), place // 2 * (half + 6)))
    return page


def paste_in(image, side=SIDE):
    page = ImageOps.fit(photo("coins.png"), (side, side))
    page.paste(image.resize((side // 2, side * image.height // image.width // 2)), (side // 3, side // 4))
    return page
