"""How files were made, from their pixels: whether one was enlarged, or saved again, from the other.

paths of two files that show the same  ->  `shows_no_more`, by the finest detail;  `made_from`, by a JPEG's steps
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from dedup.clustering.quality import ZIGZAG, luminance_table
from dedup.dataset.decoding import load_image, open_header, orientation_of
from dedup.workers import Lost, job, run_jobs

MANY_PAIRS = 12  # pairs, from which processes of their own pay off
STEPS_SIDE = 1024  # px of a picture that are looked at for a JPEG's steps, along each side
LAID_ALIKE = 0.02  # largest change in a transform of unit coordinates that moves nothing
PART, FLAT = 512, 1.0  # px of each part that is looked at for detail; energy of the finest below which it is flat
ENLARGED_FROM = 1.8  # px for each px of the source, from which an enlargement differs visibly from a sharper picture
OF_ROUNDING = 0.5  # energy that rounding to 8 bits, and colours, add without new detail
NOTHING_NEW = 0.12  # energy added by a picture twice as large, as a share of the smaller one's finest; below: no detail
ENLARGING = (cv2.INTER_NEAREST, cv2.INTER_NEAREST_EXACT, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
COARSE_STEP = 4.0  # least step in which a coefficient's place can be measured
INNER = 0.55  # share of coefficients in the inner half of their step; above it is more than chance
LEAST_OF_BLOCK, ENOUGH_BLOCKS = 4, 50  # coefficients needed of a block; such blocks needed of a picture
MOST_CUT = 0.125  # share of a block's px that are black or white, above which its coefficients are not used
LOWEST = 1 + max(map(max, ZIGZAG))  # frequencies down and across that are used


class Plane(NamedTuple):
    """The luminance of a picture, (h, w) uint8, and a JPEG's luminance table, (8, 8) float32, zeros without one."""

    grey: np.ndarray
    table: np.ndarray


def read_plane(path: Path, even_turned: bool = False) -> Plane | None:
    """Decode a picture's luminance; None if its EXIF turns it.

    even_turned : return it then too, upright, although its table is not
    """
    return _read_plane(path, path.stat().st_mtime_ns, even_turned)


@lru_cache(maxsize=2)  # whole pictures, in each process
def _read_plane(path: Path, mtime_ns: int, even_turned: bool) -> Plane | None:
    """The same; the file's `mtime_ns` is part of the cache's key, so that a change is noticed."""
    with open_header(path) as image:
        if not even_turned and orientation_of(image) != 1:
            return None
        table = luminance_table(image)
    return Plane(np.asarray(load_image(path).convert("YCbCr").getchannel(0)), table)


def is_laid_alike(transform: Sequence[float] | None) -> bool:
    """Whether a match's transform leaves a picture where it was, neither turned nor cut."""
    return transform is not None and bool(np.abs(np.reshape(transform, (3, 3)) - np.eye(3)).max() < LAID_ALIKE)


def tell_sources(jobs: Sequence[tuple], num_workers: int) -> Iterator[bool | Lost]:
    """Whether the first file was made from the second, for each of many pairs; in processes if there are enough.

    jobs : (file, source) for `made_from`, or the arguments of `shows_no_more` where the file is larger
    """
    return run_jobs(_tell_source, jobs, num_workers, few=MANY_PAIRS)


@job
def _tell_source(given: tuple) -> bool:
    return shows_no_more(*given) if len(given) > 2 else made_from(*given)


def shows_no_more(path: Path, source: Path, resolution: float, transform: Sequence[float] | None) -> bool:
    """Whether a file that has more px than another shows no more detail: it was enlarged from it.

    resolution : px of the source for each px of the file; transform : of their match
    """
    if resolution > 1 / ENLARGED_FROM or not is_laid_alike(transform):
        return False
    planes = read_plane(path), read_plane(source, even_turned=True)
    return None not in planes and enlarged(*planes)


def made_from(path: Path, source: Path) -> bool:
    """Whether a file was saved again, finer, from a JPEG of its size, so that its finer steps say nothing.

    A JPEG's coefficients are rounded from its source's, which lie anywhere in the steps, half of them in the inner
    half. The coefficients of a file made from the JPEG lie near the middle of the steps. So do those of a file that was
    rounded by the same steps before; then it is not known which of the two came first.
    """
    copy, first = read_plane(path), read_plane(source)
    if copy is None or first is None or copy.grey.shape != first.grey.shape:
        return False
    return _share_inside(copy.grey[:STEPS_SIDE, :STEPS_SIDE], first.grey[:STEPS_SIDE, :STEPS_SIDE], first.table) > INNER


def _share_inside(copy: np.ndarray, source: np.ndarray, table: np.ndarray) -> float:
    """Share of a copy's coefficients that lie in the inner half of a JPEG's steps; 0 if too few can be measured."""
    first, second = coefficients(source, LOWEST), coefficients(copy, LOWEST)
    kept, inner = np.zeros((2, first.shape[0] * first.shape[2]))
    for place in (place for place in ZIGZAG if table[place] >= COARSE_STEP):
        step, before = table[place], _of_blocks(first, place)
        here = np.abs(before) > step / 2
        kept += here
        inner += here & (np.abs(_of_blocks(second, place) - before) < step / 4)
    cut_off = _blocks((source == 0) | (source == 255)).mean(axis=(1, 3)).ravel()  # share of each block's px
    usable = (kept >= LEAST_OF_BLOCK) & (cut_off <= MOST_CUT)
    if usable.sum() < ENOUGH_BLOCKS:
        return 0.0
    shares = np.sort(inner[usable] / kept[usable])
    fourth = len(shares) // 4
    return float(shares[fourth:-fourth].mean())  # some blocks show something else


def enlarged(large: Plane, small: Plane) -> bool:
    """Whether `large` shows no detail that `small`, the same picture in fewer px, lacks.

    The smaller one is enlarged in every usual way and compressed as the larger one is. Of the difference that is left,
    only detail finer than the smaller one's px counts; it is compared with the finest detail of the smaller one.
    """
    height, width = large.grey.shape
    scale = min(width / small.grey.shape[1], height / small.grey.shape[0])
    if scale < ENLARGED_FROM:
        return False
    sizes = np.array([(height, width), small.grey.shape])  # so that the same part of both is looked at
    made = [cv2.resize(small.grey, (width, height), interpolation=way) for way in ENLARGING]
    is_measured = False
    for top, left in _places(height, width):
        window = np.s_[top : top + PART, left : left + PART]
        first, last = np.array([(top, left), (top + PART, left + PART)]) * sizes[1] // sizes[0]
        sharp = small.grey[first[0] : last[0], first[1] : last[1]].astype(np.float32)
        own = _energy(sharp - _through(sharp, scale))
        if own < FLAT:
            continue
        real = large.grey[window].astype(np.float32)
        beyond = min(_energy(_finer_than(real - _compressed(each[window], large), scale)) for each in made)
        if beyond >= OF_ROUNDING + NOTHING_NEW * (2 / scale) ** 1.5 * own:  # any photo has less of finer detail
            return False
        is_measured = True
    return is_measured


def _places(height: int, width: int) -> list[tuple[int, int]]:
    """Top left corners of the parts that are compared, on a JPEG's blocks: corners and middle, or the whole picture."""
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
    """A picture quantised as another one's file is."""
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


def _of_blocks(found: np.ndarray, place: tuple[int, int]) -> np.ndarray:
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
