"""Saving again: two files in, whether the one was saved from the other, or from a part of it, out.

What JPEG makes of a picture depends on its pixels, the tables and how colours are sampled, and on nothing else. A file
that comes out to the last pixel was made from these pixels; if another encoder made it, nothing comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from dedup.quality import read_details
from dedup.traces import SIDE, Corner, how_made, read_plane, shows_no_more
from dedup.workers import START_METHOD, Lost, run_jobs

MANY = 12  # pairs that are worth processes of their own
FIRST = 128  # px that are saved again first along each side: whole blocks, those of subsampled colours too
BESIDE = 2  # px at the edges, where colours depend on what was cut away
REACH = 8  # px from where a part should be in the whole
TILE, MOST = 64, 90  # px of the places where they are compared; the percentile of their errors that counts
BY_CHANCE, ROUNDING = 2.0, 1.0  # ratio, and difference, of mean squared errors that say nothing


def how_they_were_made(pairs: Sequence[tuple[Path, Path]], num_workers: int) -> Iterator[str | Lost]:
    """`traces.how_made` of pairs (finer, coarser); what saving one again gives tells more where it gives the other.

    num_workers : processes, where there are enough pairs; 0 = this one
    """
    return _run(_how_made, pairs, num_workers)


def show_no_more(jobs: Sequence[tuple[Path, Path, float, Sequence[float]]], num_workers: int) -> Iterator[bool | Lost]:
    """`traces.shows_no_more` of many pairs; num_workers as above."""
    return _run(_shows_no_more, jobs, num_workers)


def _run(function: Callable, jobs: Sequence, num_workers: int) -> Iterator:
    return run_jobs(function, jobs, num_workers if START_METHOD == "fork" and len(jobs) >= MANY else 0)


def _shows_no_more(job: tuple[Path, Path, float, Sequence[float]]) -> bool:
    return bool(shows_no_more(*job))


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
        first, second = (read_plane(path).corner for path in (copy, source))
        return _becomes(second, first) and not _becomes(first, second)
    except Exception:  # decoders raise nearly everything on odd files
        return False


def may_be_cut_from(part: Path, whole: Path, transform: Sequence[float]) -> bool:
    """Whether a part differs from the whole by no more than saving it did; also where that can't be told.

    Steps of a mean square s leave a mean squared error of at most s / 12, and what was saved from the part differs by
    its own, coarser steps.

    Parameters
    ----------
    transform : homography, row by row, from unit coordinates of the part to the whole's; both as large on the screen
    """
    planes = read_plane(part), read_plane(whole)
    if None in planes or not (planes[0].table.any() or read_details(part).lossless):
        return True
    grey, other = (plane.grey for plane in planes)
    size = np.array(grey.shape[::-1])
    left = np.maximum(size - SIDE, 0) // 2
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
    errors = np.square(np.float32(window) - around[y : y + height, x : x + width])
    tiles = cv2.resize(errors, (-(-width // TILE), -(-height // TILE)), interpolation=cv2.INTER_AREA)
    return bool(np.percentile(tiles, MOST) <= BY_CHANCE * np.mean(planes[0].table ** 2) / 12 + ROUNDING)


def _becomes(source: Corner, copy: Corner) -> bool:
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
