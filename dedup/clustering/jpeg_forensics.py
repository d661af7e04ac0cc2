"""Traces of how a file was made: two decoded pictures in, whether one was enlarged or saved again from the other out.

Plane, Plane  ->  `how_made`, by what quantisation leaves of the coefficients;  `enlarged`, by the finest detail
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import get_sampling

from dedup.clustering.quality import ZIGZAG, luminance_table
from dedup.dataset.decoding import load_image, open_header, orientation_of

SIDE = 1024  # px of a picture that are looked at for traces, along each side
ALIKE = 0.02  # largest change in a transform of unit coordinates that moves nothing
ROUNDED = 2.0  # least step of a DCT coefficient that colour conversion and rounding to 8 bits leave to be seen
LOWEST = 1 + max(map(max, ZIGZAG))  # frequencies down and across that tell how a picture was made
LEAST_OF_BLOCK, LEAST_BLOCKS = 4, 50  # coefficients of a block, and such blocks, that tell how a picture was made
TOLD = 0.92  # chance up to which the two can be told apart
EDITED = 0.075  # share of coefficients that are farther apart than two quantisations bring them
EDITED_CUT_OFF = 0.2  # the same where black or white cut off what quantisation made, which moves some as well
RECOLOURED = 0.1  # change of the mean chroma that compression does not explain
PART, FLAT = 512, 1.0  # px of each part that is looked at for detail; energy of the finest there that tells nothing
ENLARGED_FROM = 1.8  # px for each px of the source, from which an enlargement can be told from a sharper picture
ROUNDING = 0.5  # energy that rounding to 8 bits, and colours, leave where there is nothing new
NOTHING_NEW = 0.12  # energy of what a picture twice as large adds, as a share of the smaller one's finest, that is none
ENLARGING = (cv2.INTER_NEAREST, cv2.INTER_NEAREST_EXACT, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)


class Plane(NamedTuple):
    """The luminance of a picture that is stored upright, and a JPEG's luminance table.

    grey : (h, w) uint8
    cut_off : (h, w) bool, where a colour is as dark or as bright as can be, and may have been more so
    chroma : mean distance of its colours from grey, in levels
    table : (8, 8) float32, zeros where there is none
    picture : in its colours
    tables, sampling : of a JPEG; no tables where it is none
    """

    grey: np.ndarray
    cut_off: np.ndarray
    chroma: float
    table: np.ndarray
    picture: Image.Image
    tables: dict[int, list[int]]
    sampling: int


def read_plane(path: Path, even_turned: bool = False) -> Plane | None:
    """Decode a picture's luminance; None where it can't be read, or is turned on being shown.

    even_turned : whether to take it upright then, although its table is not
    """
    try:
        return _read_plane(path, path.stat().st_mtime_ns, even_turned)
    except OSError:
        return None


@lru_cache(maxsize=2)  # whole pictures, in each process
def _read_plane(path: Path, mtime_ns: int, even_turned: bool) -> Plane | None:
    """The same; `mtime_ns`, the file's, makes a change be seen."""
    try:
        with open_header(path) as image:
            if not even_turned and orientation_of(image) != 1:
                return None
            table, tables = luminance_table(image), getattr(image, "quantization", None) or {}
            sampling, mode = (get_sampling(image), image.mode) if tables else (-1, "RGB")
        picture = load_image(path)
        luminance, *colours = picture.convert("YCbCr").split()
    except Exception:
        return None
    colour = np.asarray(picture.convert("RGB"))
    cut_off = ((colour == 0) | (colour == 255)).any(axis=-1)
    stored = picture.convert("L") if mode == "L" else picture
    return Plane(np.asarray(luminance), cut_off, _chroma(colours), table, stored, tables, sampling)


def is_laid_alike(transform: Sequence[float] | None) -> bool:
    """Whether a match's transform leaves a picture where it was, neither turned nor cut."""
    return transform is not None and bool(np.abs(np.reshape(transform, (3, 3)) - np.eye(3)).max() < ALIKE)


def shows_no_more(path: Path, source: Path, resolution: float, transform: Sequence[float] | None) -> bool:
    """Whether a file that has more px than another shows no more detail: it was enlarged from it.

    resolution : px of the source for each px of the file; transform : of their match
    """
    if resolution > 1 / ENLARGED_FROM or not is_laid_alike(transform):
        return False
    planes = read_plane(path), read_plane(source, even_turned=True)
    return None not in planes and enlarged(*planes)


def how_made(copy: Plane, source: Plane) -> str:
    """How `copy`, saved finer or without loss, may have been made from `source`, a JPEG of the same size.

    What was saved again from the source has just the coefficients that the source's become on the copy's own steps.
    Where the source was saved from the copy, or both from a third, that is so by chance alone, the rarer the finer
    the copy's steps. The median over blocks leaves captions aside.

    Returns
    -------
    `saved again`; `compressed`, if the source was, from the copy or from what both come from; `alike`, if their steps
    are too near to tell; `edited`, if they differ by more than compression; nothing where that can't be told
    """
    if not copy.table.any() and copy.chroma == source.chroma and np.array_equal(copy.grey, source.grey):
        return "saved again"  # no compression of another picture ends in just these pixels
    first, second = (coefficients(plane.grey[:SIDE, :SIDE], LOWEST) for plane in (source, copy))
    away, foretold, chance, kept, foreseen = np.zeros((5, first.shape[0] * first.shape[2]))
    for place in (place for place in ZIGZAG if source.table[place] > 0):
        step, own = source.table[place], max(copy.table[place], ROUNDED)
        before, after = of_blocks(first, place), of_blocks(second, place)
        here = np.abs(before) > step / 2  # what was quantised to zero may have lost less than a step
        away += here * (np.abs(after - before) > (step + copy.table[place]) / 2 + ROUNDED)
        sharp = here & (np.abs(before / own % 1 - 0.5) > ROUNDED / 3 / own) if copy.table[place] else here
        expected = np.rint(before / own) * own if copy.table[place] else before
        foretold += sharp * (np.abs(after - expected) < own / 2)
        chance += sharp * min(own / step, 1)
        kept += here
        foreseen += sharp
    told = np.minimum(kept, foreseen) >= LEAST_OF_BLOCK
    whole = told & ~(blocks_with(source.cut_off[:SIDE, :SIDE]) | blocks_with(copy.cut_off[:SIDE, :SIDE]))
    is_cut_off = whole.sum() < LEAST_BLOCKS
    told = told if is_cut_off else whole
    if told.sum() < LEAST_BLOCKS:
        return ""
    if is_recoloured(copy, source) or away[told].sum() > (EDITED_CUT_OFF if is_cut_off else EDITED) * kept[told].sum():
        return "edited"
    share, by_chance = (float(np.median(values[told] / foreseen[told])) for values in (foretold, chance))
    if by_chance >= TOLD:
        return "alike"
    if share > (1 + by_chance) / 2:
        return "saved again"
    return "" if is_cut_off else "compressed"


def is_recoloured(copy: Plane, source: Plane) -> bool:
    """Whether one has more colours than compression explains."""
    return abs(copy.chroma - source.chroma) > RECOLOURED * max(copy.chroma, source.chroma, 10)


def enlarged(large: Plane, small: Plane) -> bool:
    """Whether `large` shows no detail that `small`, the same picture in fewer px, does not.

    The smaller one is enlarged in every usual way and compressed as the larger one is. Of what then differs, only what
    is finer than the smaller one's px counts; it is held against the finest detail that the smaller one has itself.
    """
    height, width = large.grey.shape
    scale = min(width / small.grey.shape[1], height / small.grey.shape[0])
    if scale < ENLARGED_FROM:
        return False
    sizes = np.array([(height, width), small.grey.shape])  # so that the same part of both is looked at
    made = [cv2.resize(small.grey, (width, height), interpolation=way) for way in ENLARGING]
    told = False
    for top, left in _places(height, width):
        window = np.s_[top : top + PART, left : left + PART]
        first, last = np.array([(top, left), (top + PART, left + PART)]) * sizes[1] // sizes[0]
        sharp = small.grey[first[0] : last[0], first[1] : last[1]].astype(np.float32)
        own = _energy(sharp - _through(sharp, scale))
        if own < FLAT:
            continue
        real = large.grey[window].astype(np.float32)
        beyond = min(_energy(_finer_than(real - _compressed(each[window], large), scale)) for each in made)
        if beyond >= ROUNDING + NOTHING_NEW * (2 / scale) ** 1.5 * own:  # the finer, the less there is in any photo
            return False
        told = True
    return told


def _places(height: int, width: int) -> list[tuple[int, int]]:
    """Where the parts begin that are looked at, on a JPEG's blocks: the corners and the middle, or the whole."""
    downs, acrosses = (
        [0, (side - PART) // 16 * 8, (side - PART) // 8 * 8] if side > PART else [0] for side in (height, width)
    )
    corners = {(down, across) for down in (downs[0], downs[-1]) for across in (acrosses[0], acrosses[-1])}
    return sorted(corners | {(downs[len(downs) // 2], acrosses[len(acrosses) // 2])})


def _through(grey: np.ndarray, scale: float) -> np.ndarray:
    """A picture made small and large again."""
    height, width = grey.shape
    size = max(2, round(width / scale)), max(2, round(height / scale))
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def _compressed(grey: np.ndarray, like: Plane) -> np.ndarray:
    """A picture after the quantisation of another one's file."""
    grey = grey.astype(np.float32)
    if not like.table.any():
        return grey
    height, width = (side // 8 * 8 for side in grey.shape)
    steps = np.maximum(like.table, 1)[:, None]  # (8, 1, 8)
    whole = grey.copy()
    found = np.rint(coefficients(grey) / steps) * steps
    whole[:height, :width] = np.clip(_from_coefficients(found), 0, 255)
    return whole


def _finer_than(difference: np.ndarray, scale: float) -> np.ndarray:
    return difference - cv2.GaussianBlur(difference, (0, 0), scale / 2)


def _energy(values: np.ndarray) -> float:
    return float(np.mean(np.square(values, dtype=np.float64))) if values.size else 0.0


_WAVES = [[np.cos((2 * x + 1) * u * np.pi / 16) for x in range(8)] for u in range(8)]
_DCT = np.array(_WAVES) * np.array([0.125**0.5] + [0.5] * 7)[:, None]  # orthonormal


def coefficients(grey: np.ndarray, most: int = 8) -> np.ndarray:
    """Discrete cosine transform of each whole block as a JPEG quantises it, (rows of blocks, most, columns, most).

    most : frequencies down and across, the lowest
    """
    levels = _blocks(grey) - 128.0
    rows, _, columns, _ = levels.shape
    down = _DCT[:most] @ levels.reshape(rows, 8, 8 * columns)  # matrices so small that BLAS starts no threads
    return down.reshape(rows, most, columns, 8) @ _DCT[:most].T


def of_blocks(found: np.ndarray, place: tuple[int, int]) -> np.ndarray:
    """The coefficients of one frequency, (blocks,)."""
    return found[:, place[0], :, place[1]].ravel()


def _from_coefficients(found: np.ndarray) -> np.ndarray:
    rows, _, columns, _ = found.shape
    down = _DCT.T @ found.reshape(rows, 8, 8 * columns)
    return (down.reshape(rows, 8, columns, 8) @ _DCT).reshape(8 * rows, 8 * columns) + 128


def _blocks(image: np.ndarray) -> np.ndarray:
    """Whole blocks of a picture: (rows of blocks, 8, columns of them, 8)."""
    height, width = (side // 8 for side in image.shape)
    return image[: 8 * height, : 8 * width].reshape(height, 8, width, 8)


def blocks_with(mask: np.ndarray) -> np.ndarray:
    """Of each whole block, (blocks,) bool, whether any of its px is in a mask (h, w)."""
    return _blocks(mask).any(axis=1).any(axis=-1).ravel()


def _chroma(colours: list[Image.Image]) -> float:
    return float(np.mean([np.abs(np.asarray(each, np.int16) - 128).mean() for each in colours]))
