"""How well a file holds its picture, as far as its header tells: a path in, Details out; nothing is decoded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from dedup.clustering.contents import besides
from dedup.dataset.decoding import exif_of, open_header
from dedup.workers import job

LOSSLESS = ("PNG", "BMP", "TIFF", "PPM", "TGA", "QOI", "GIF")
LOW = 15  # places of a quantisation table, in zigzag order, that hold most of a picture
ZIGZAG = sorted(np.ndindex(8, 8), key=lambda place: (sum(place), place))[1:LOW]
STRONG = 12.0  # mean step of a JPEG of quality 60 (libjpeg): from here on what compression took is seen
MAKER, MODEL = 0x010F, 0x0110  # EXIF 2.32, 4.6.4


class Details(NamedTuple):
    """What a header tells.

    lossless : whether the format keeps every pixel
    step : mean step of a JPEG's luminance quantisation over low frequencies, in grey levels; 0 for other formats
    bits : of the file for each pixel
    metadata : out of capture time, place, film, 16 bits a channel, camera, colour profile
    """

    lossless: bool = False
    step: float = 0.0
    bits: float = 0.0
    metadata: frozenset[str] = frozenset()


def read_details(path: Path) -> Details:
    """Read a file's header; what can't be read tells nothing."""
    try:
        with open_header(path) as image:
            table = luminance_table(image)
            bits = 8 * os.path.getsize(path) / max(image.width * image.height, 1)
            return Details(_is_lossless(image, path), mean_step(table), bits, _metadata(image))
    except Exception:  # decoders raise nearly everything on odd headers
        return Details()


@job
def told_details(path: Path) -> list | None:
    """A file's details as JSON can hold them; None if the header could not be read."""
    details = read_details(path)
    return [*details[:-1], sorted(details.metadata)] if details.bits else None


def luminance_table(image: Image.Image) -> np.ndarray:
    """(8, 8) float32, steps of a JPEG's luminance by frequency; zeros where there are none."""
    tables = getattr(image, "quantization", None) or {}
    return np.array(tables[min(tables)], np.float32).reshape(8, 8) if tables else np.zeros((8, 8), np.float32)


def mean_step(table: np.ndarray) -> float:
    """Of a luminance table, over low frequencies."""
    return float(np.mean([table[place] for place in ZIGZAG]))


def _is_lossless(image: Image.Image, path: Path) -> bool:
    if image.format == "WEBP":
        with open(path, "rb") as file:
            return b"VP8L" in file.read(64)
    return image.format in LOSSLESS and "jpeg" not in str(image.info.get("compression", ""))


def _metadata(image: Image.Image) -> frozenset[str]:
    exif = exif_of(image)
    camera = {"camera"} if any(str(exif.get(tag, "")).strip("\0 ") for tag in (MAKER, MODEL)) else set()
    profile = {"colour profile"} if image.info.get("icc_profile") else set()
    return frozenset(besides(image) | camera | profile)
