"""How well a file holds its picture, by its header; what its keeper lost in compression or toning; how sharp a shot is
compared with others of its series."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from dedup.clustering.members import EXACT, LACKS_COLOURS, LEAST_CHROMA, Reason, View, Why
from dedup.dataset.decoding import broken_tells_nothing, load_image, open_header
from dedup.matching.kinds import MatchKind
from dedup.store import NOTHING, Store
from dedup.workers import Lost, job

LOSSLESS_FORMATS = ("PNG", "BMP", "TIFF", "PPM", "TGA", "QOI", "GIF")
LOW = 15  # places of a quantisation table, in zigzag order, that hold most of a picture
ZIGZAG = sorted(np.ndindex(8, 8), key=lambda place: (sum(place), place))[1:LOW]
STRONG = 12.0  # mean step of a JPEG of quality 60 (libjpeg): from here on the loss is visible
STRONG_BITS = 1.0  # bits per pixel of a photo saved so; smooth ones need fewer
DENSER = 1.5  # bits of a JPEG for each bit of a newer format that compresses as much
STEP_BY_BITS = -1.4  # a JPEG's step is proportional to its bits per pixel to this power
AVERAGED = 128  # px, to which a picture is averaged: that removes what compression does to colours
LIGHTNESSES = 25  # levels of lightness
ONE_TONE, OWN_COLOURS = 0.08, 0.16  # share of chroma that lightness leaves unexplained: most if toned, least if not
FEW_SHADES = 4.0  # effective number of lightness levels, below which one colour for each is chance, as in a drawing

SHOT_SIDE = 1024  # px of the longer side of a shot that is judged: noise is averaged, motion is still seen
BEST_TONE, TONES = 0.5, 0.2  # best exposed grey, 0 to 1, and the spread around it that is exposed well

LARGER = 1.5  # px of a keeper's side for each px of the file's, from which its compression matters less
LESS_COMPRESSED = Reason(Why.COMPRESSION, "is far less compressed than the kept file")


class Details(NamedTuple):
    """What a header says.

    lossless : whether the format keeps every pixel
    step : mean step of a JPEG's luminance quantisation over low frequencies, in grey levels; 0 for other formats
    bits : of the file for each pixel
    """

    lossless: bool = False
    step: float = 0.0
    bits: float = 0.0

    @property
    def tells_compression(self) -> bool:
        return self.lossless or self.step > 0


@job
def read_details(path: Path) -> Details:
    """Read a file's header."""
    with open_header(path) as image:
        bits = 8 * os.path.getsize(path) / max(image.width * image.height, 1)
        return Details(_keeps_every_pixel(image, path), mean_step(luminance_table(image)), bits)


def luminance_table(image: Image.Image) -> np.ndarray:
    """(8, 8) float32, steps of a JPEG's luminance by frequency; zeros where there are none, or odd ones."""
    with broken_tells_nothing():
        tables = image.quantization
        return np.array(tables[min(tables)], np.float32).reshape(8, 8)
    return np.zeros((8, 8), np.float32)


def mean_step(table: np.ndarray) -> float:
    """Of a luminance table, over low frequencies."""
    return float(np.mean([table[place] for place in ZIGZAG]))


def is_lossless(path: Path) -> bool:
    """Whether a file's format keeps every pixel."""
    with open_header(path) as image:
        return _keeps_every_pixel(image, path)


def _keeps_every_pixel(image: Image.Image, path: Path) -> bool:
    if image.format == "WEBP":
        with open(path, "rb") as file:
            return b"VP8L" in file.read(64)
    return image.format in LOSSLESS_FORMATS and "jpeg" not in str(image.info.get("compression", ""))


@job
def own_colours(path: Path) -> float:
    """Share of a picture's chroma that its lightness leaves unexplained, about 0 to 1; 1 where shades are too few.

    A toned picture, such as sepia, has one colour for each lightness. In other photos lightness leaves about half of
    the chroma unexplained, seldom less than a tenth.
    """
    picture = np.asarray(load_image(path, AVERAGED))
    small = cv2.resize(picture, (AVERAGED, AVERAGED), interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(np.float32(small) / 255, cv2.COLOR_RGB2LAB).reshape(-1, 3)
    level = np.minimum(lab[:, 0] * LIGHTNESSES / 100, LIGHTNESSES - 1).astype(int)
    count = np.bincount(level, minlength=LIGHTNESSES)
    if np.square(count / count.sum()).sum() > 1 / FEW_SHADES:
        return 1.0
    sums = [np.bincount(level, colour, LIGHTNESSES) for colour in lab[:, 1:].T]
    tone = np.stack(sums, axis=1) / np.maximum(count, 1)[:, None]  # (LIGHTNESSES, 2)
    unexplained = np.hypot(*(lab[:, 1:] - tone[level]).T).mean()
    return float(unexplained / max(np.hypot(*lab[:, 1:].T).mean(), 1e-6))


@job
def shot_quality(path: Path) -> float:
    """How sharp and how well exposed a shot is, to be compared with others of its scene; 0 is a plain area.

    Mean of the contrast of fine detail, weighted by how well exposed it is: the measures by which exposures are fused
    (Mertens, Kautz, Van Reeth: Exposure Fusion, 2007).
    """
    image = load_image(path, SHOT_SIDE)
    image.thumbnail((SHOT_SIDE, SHOT_SIDE), Image.Resampling.BOX)
    grey = np.asarray(image.convert("L"), np.float32) / 255
    exposed = np.exp(-(((grey - BEST_TONE) / TONES) ** 2) / 2)
    return float((np.abs(cv2.Laplacian(grey, cv2.CV_32F)) * exposed).mean())


def lost_in_compression(view: View, own: Details, kept: Details) -> Reason | None:
    """Why a file stays if its keeper, of about its size, is strongly compressed and it was not made from that."""
    if not (own.step or own.lossless or own.bits > kept.bits):  # neither a table nor its bits show less compression
        return None
    is_coarse = _step_of(kept, own) >= max(STRONG, 2 * _step_of(own, own))
    return LESS_COMPRESSED if is_coarse and view.resolution < LARGER and view.kind not in EXACT else None


def _step_of(file: Details, like: Details) -> float:
    """A file's step; without a table, that of a JPEG of the same picture that needs as many bits.

    like : a file of the same picture; if that is a JPEG, it shows how many bits the picture needs
    """
    if file.step or file.lossless:
        return file.step
    step, bits = (like.step, like.bits) if like.step else (STRONG, STRONG_BITS)
    return step * (DENSER * file.bits / bits) ** STEP_BY_BITS


def lost_in_toning(view: View, own: Path, kept: Path, facts: Store = NOTHING) -> Reason | None:
    """Why a file with colours stays if its keeper has only a tone, such as sepia."""
    if view.kind not in (MatchKind.EDITED, MatchKind.CROP) or min(view.chroma, view.kept_chroma) <= LEAST_CHROMA:
        return None
    found = [facts.of("own colours", partial(own_colours, path), path) for path in (own, kept)]
    is_toned = any(isinstance(each, Lost) for each in found) or (found[1] <= ONE_TONE and found[0] >= OWN_COLOURS)
    return LACKS_COLOURS if is_toned else None
