"""Saving again: two files in, whether the one was saved from the other, or from a part of it, out.

What JPEG makes of a picture depends on its pixels, the tables and how colours are sampled, and on nothing else. A file
that comes out to the last pixel was made from these pixels; if another encoder made it, nothing comes out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import get_sampling

from dedup.decoding import load_image
from dedup.quality import ZIGZAG, read_details
from dedup.safeguards import open_header
from dedup.traces import LEAST_BLOCKS, LEAST_OF_BLOCK, ROUNDED, clipped, coefficients, how_made, read_plane
from dedup.workers import START_METHOD, Lost, run_jobs

MANY = 12  # pairs that are worth processes of their own
FIRST, SIDE = 128, 1024  # px that are saved again along each side: whole blocks, those of subsampled colours too
BESIDE = 2  # px at the edges, where colours depend on what was cut away
REACH = 8  # px from where a part should be in the whole
TILE, MOST = 64, 90  # px of the places where they are compared; the percentile of their errors that counts
BY_CHANCE, ROUNDING = 2.0, 1.0  # ratio, and difference, of mean squared errors that say nothing
COARSE = 4.0  # least step that tells where in it a coefficient was
INNER, BEYOND = 0.55, 0.2  # share of coefficients that were in the inner half of a step, outside it: at most, of a cut


class _Corner(NamedTuple):
    """The upper left of a picture. tables, sampling : of its JPEG, no tables where it is none"""

    picture: Image.Image
    tables: dict[int, list[int]]
    sampling: int


def how_they_were_made(pairs: Sequence[tuple[Path, Path]], num_workers: int) -> Iterator[str | Lost]:
    """`traces.how_made` of pairs (finer, coarser); what saving one again gives tells more where it gives the other.

    num_workers : processes, where there are enough pairs; 0 = this one
    """
    return run_jobs(_how_made, pairs, num_workers if START_METHOD == "fork" and len(pairs) >= MANY else 0)


def _how_made(pair: tuple[Path, Path]) -> str:
    planes = read_plane(pair[0]), read_plane(pair[1])
    made = "" if None in planes else how_made(*planes)
    if None in planes or made in ("compressed", "edited"):
        return made
    if saved_from(pair[1], pair[0]):
        return "compressed"
    return "saved again" if made != "saved again" and saved_from(*pair) else made


def saved_from(copy: Path, source: Path) -> bool:
    """Whether `copy` is what saving `source` in its way gives, pixel for pixel, and `source` not what `copy` gives.

    Of traces of saving again, which both leave where a picture went back to its own earlier steps, this tells apart.
    """
    try:
        first, second = _corner(copy), _corner(source)
        return _becomes(second, first) and not _becomes(first, second)
    except Exception:  # decoders raise nearly everything on odd files
        return False


def may_be_cut_from(part: Path, whole: Path, transform: Sequence[float]) -> bool:
    """Whether a part differs from the whole just as saving it made it differ; also where that can't be told.

    Steps of a mean square s leave a mean squared error of at most s / 12, and each coefficient somewhere in the step
    that it was rounded to. What was made from the part, and saved, is near the middle of it, or anywhere.

    Parameters
    ----------
    transform : homography, row by row, from unit coordinates of the part to the whole's; both as large on the screen
    """
    planes = read_plane(part), read_plane(whole)
    if None in planes or not (planes[0].table.any() or read_details(part).lossless):
        return True
    grey, other = (plane.grey for plane in planes)
    size = np.array(grey.shape[::-1])
    left = np.maximum(size - SIDE, 0) // 16 * 8  # on its blocks
    unit = np.float32([left, left + [1, 0], left + [0, 1]]) / size
    found = cv2.perspectiveTransform(unit[None], np.reshape(transform, (3, 3)))[0] * other.shape[::-1]
    turn = np.rint(found[1:] - found[0]).T  # (2, 2), a step of a px for each side
    if abs(round(np.linalg.det(turn))) != 1:
        return True
    window = grey[left[1] : left[1] + SIDE, left[0] : left[0] + SIDE]
    height, width = window.shape
    lay = np.c_[turn, found[0] - turn @ [REACH, REACH]]
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    beyond = width + 2 * REACH, height + 2 * REACH
    around = cv2.warpAffine(other, lay, beyond, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    x, y = cv2.minMaxLoc(cv2.matchTemplate(around, window, cv2.TM_SQDIFF))[2]
    same = around[y : y + height, x : x + width]
    errors = np.square(np.float32(window) - same)
    tiles = cv2.resize(errors, (-(-width // TILE), -(-height // TILE)), interpolation=cv2.INTER_AREA)
    is_near = np.percentile(tiles, MOST) <= BY_CHANCE * np.mean(planes[0].table ** 2) / 12 + ROUNDING
    return bool(is_near and _may_be_rounded(window, same, planes[0].table))


def _may_be_rounded(part: np.ndarray, whole: np.ndarray, table: np.ndarray) -> bool:
    """Whether the part's coefficients may be the whole's, rounded to the steps of a table; also where none tell."""
    first, second = coefficients(part), coefficients(whole)  # (blocks, 8, 8)
    kept, inner, beyond = np.zeros((3, len(first)))
    for place in (place for place in ZIGZAG if table[place] >= COARSE):
        step, before = table[place], first[(..., *place)]
        here, away = np.abs(before) > step / 2, np.abs(second[(..., *place)] - before)
        kept += here
        inner += here & (away < step / 4)
        beyond += here & (away > (step + ROUNDED) / 2)
    told = (kept >= LEAST_OF_BLOCK) & ~(clipped(part) | clipped(whole))
    if told.sum() < LEAST_BLOCKS:
        return True
    shares = np.sort([values[told] / kept[told] for values in (inner, beyond)], axis=1)
    middle = shares[:, len(shares[0]) // 4 : -(len(shares[0]) // 4)].mean(axis=1)  # some blocks show something else
    return bool(middle[0] <= INNER and middle[1] <= BEYOND)


def _corner(path: Path) -> _Corner:
    with open_header(path) as image:
        tables = getattr(image, "quantization", None) or {}
        sampling, mode = (get_sampling(image), image.mode) if tables else (-1, "RGB")
    picture = load_image(path).convert("L" if mode == "L" else "RGB")
    return _Corner(picture.crop((0, 0, min(picture.width, SIDE), min(picture.height, SIDE))), tables, sampling)


def _becomes(source: _Corner, copy: _Corner) -> bool:
    """Whether the source's pixels, saved as the copy was, are the copy's; in a small corner first."""
    for side in (FIRST, SIDE):
        again, wanted = (each.crop((0, 0, *np.minimum(each.size, side))) for each in (source.picture, copy.picture))
        again = again.convert(wanted.mode)
        if copy.tables:
            file = BytesIO()
            again.save(file, "JPEG", qtables=copy.tables, subsampling=copy.sampling)
            again = Image.open(file)
        same = np.asarray(again) == np.asarray(wanted)
        if not same[:-BESIDE, :-BESIDE].all():
            return False
    return True
