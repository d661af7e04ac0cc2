"""Saving again: two files in, whether the one was saved from the other out.

What JPEG makes of a picture depends on its pixels, the tables and how colours are sampled, and on nothing else. A file
that comes out to the last pixel was made from these pixels; if another encoder made it, nothing comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from dedup.quality import ZIGZAG, read_details
from dedup.safeguards import open_header
from dedup.traces import (
    LEAST_BLOCKS,
    LEAST_OF_BLOCK,
    LOWEST,
    ROUNDED,
    SIDE,
    Plane,
    blocks_with,
    coefficients,
    how_made,
    is_recoloured,
    of_blocks,
    read_plane,
    shows_no_more,
)
from dedup.workers import START_METHOD, Lost, run_jobs

MANY = 12  # pairs that are worth processes of their own
FIRST = 128  # px that are saved again first along each side: whole blocks, those of subsampled colours too
LINES = 8  # grey levels in a block that is not plain
MOST_BLOCKS, MANY_BLOCKS = 0.9, 0.5  # share of those that tells of all; that does if few are so the other way round
FEW_BLOCKS = 0.1
BESIDE = 2  # px at the edges, where colours depend on what was cut away
MCU = 16  # px, side of what a JPEG is made of, colours and all
COARSE = 4.0  # least step that tells where in it a coefficient was
INNER, BEYOND = 0.55, 0.2  # share of coefficients in the inner half of their step, and outside, if they were rounded
GAIN = 0.08  # change of contrast that saving again does not explain
SURELY = 0.1  # share of them outside up to which that is sure


class _Corner(NamedTuple):
    """A part of a picture. box : where, left, top, right, bottom in px; plane : the whole"""

    path: Path
    plane: Plane
    box: tuple[int, int, int, int]

    @property
    def picture(self) -> Image.Image:
        return self.plane.picture.crop(self.box)

    @property
    def grey(self) -> Image.Image:
        """Its luminance; of a JPEG as it was stored."""
        if not self.plane.tables:
            return self.picture.convert("L")
        return _luminance(self.path, self.path.stat().st_mtime_ns).crop(self.box)

    @property
    def size(self) -> tuple[int, int]:
        left, top, right, bottom = self.box
        return right - left, bottom - top

    def cropped(self, size: Sequence[int]) -> _Corner:
        left, top = self.box[:2]
        return self._replace(box=(left, top, left + int(size[0]), top + int(size[1])))


def how_they_were_made(pairs: Sequence[tuple[Path, Path]], num_workers: int) -> Iterator[str | Lost]:
    """`traces.how_made` of pairs (finer, coarser); what saving one again gives tells more where it gives the other.

    A lossy file that is no JPEG counts as the finer one.

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
    if None in planes:
        return ""
    has_steps = planes[0].table.any() or read_details(pair[0]).lossless
    made = how_made(*planes) if has_steps else _by_steps(*planes)
    if made == "compressed" or (made and not has_steps):
        return made
    if saved_from(pair[1], pair[0]):
        return "compressed"
    return "saved again" if made != "saved again" and saved_from(*pair) else made


def _by_steps(copy: Plane, source: Plane) -> str:
    """The same of a file without steps of its own and a JPEG: that one's steps tell where in them the other is.

    It was saved from the other if that is anywhere in them. Otherwise, the other was saved from it, finer or coarser.
    """
    window = np.s_[:SIDE, :SIDE]
    shares = in_steps(source.grey[window], copy.grey[window], source.cut_off[window], source.table)
    if shares is None or is_recoloured(copy, source) or abs(_gain(copy, source) - 1) > GAIN:
        return ""
    inner, beyond = shares
    if inner > INNER or beyond > BEYOND:
        return "saved again"
    return "compressed" if beyond <= SURELY else ""


def _gain(copy: Plane, source: Plane) -> float:
    """How much contrast a copy has for its source's, in the median of the lower frequencies."""
    before, after = (np.abs(coefficients(each.grey[:SIDE, :SIDE], LOWEST)) for each in (source, copy))
    gains = [
        of_blocks(after, place)[here] / of_blocks(before, place)[here]
        for place in ZIGZAG
        if (here := of_blocks(before, place) > 2 * max(source.table[place], COARSE)).any()
    ]
    return float(np.median(np.concatenate(gains))) if gains else 1.0


def saved_from(copy: Path, source: Path) -> bool:
    """Whether `copy` is what saving `source` in its way gives, pixel for pixel, and `source` not what `copy` gives.

    Of traces of saving again, which both leave where a picture went back to its own earlier steps, this tells apart.
    If all is not the same, most blocks of the luminance must be: what has a caption or no colours was saved as well.
    """
    try:
        first, second = corner_of(copy), corner_of(source)
        if _becomes(second, first):
            return not _becomes(first, second)
        return mostly((second, first), (first, second))
    except Exception:  # decoders raise nearly everything on odd files
        return False


def in_steps(grey: np.ndarray, other: np.ndarray, cut_off: np.ndarray, table: np.ndarray) -> tuple[float, ...] | None:
    """Where the coefficients of another picture are in the steps of a JPEG: the shares in the inner half, and outside.

    Those that the JPEG's were rounded from are anywhere in a step, half of them in its inner half, and none outside.
    None where that can't be told.
    """
    first, second = coefficients(grey, LOWEST), coefficients(other, LOWEST)
    kept, inner, beyond = np.zeros((3, first.shape[0] * first.shape[2]))
    for place in (place for place in ZIGZAG if table[place] >= COARSE):
        step, before = table[place], of_blocks(first, place)
        here, away = np.abs(before) > step / 2, np.abs(of_blocks(second, place) - before)
        kept += here
        inner += here & (away < step / 4)
        beyond += here & (away > (step + ROUNDED) / 2)
    told = (kept >= LEAST_OF_BLOCK) & ~blocks_with(cut_off)
    if told.sum() < LEAST_BLOCKS:
        return None
    shares = np.sort([values[told] / kept[told] for values in (inner, beyond)], axis=1)
    fourth = shares.shape[1] // 4
    return tuple(shares[:, fourth:-fourth].mean(axis=1).tolist())  # some blocks show something else


def corner_of(path: Path, start: Sequence[int] = (0, 0)) -> _Corner:
    """Up to SIDE px along each side, from a place (x, y) on."""
    plane = read_plane(path)
    last = np.minimum(plane.picture.size, np.add(start, SIDE))
    return _Corner(path, plane, (*map(int, start), *map(int, last)))


@lru_cache(maxsize=2)  # the keeper comes again with each of its rivals
def _luminance(path: Path, mtime_ns: int) -> Image.Image:
    """Of a JPEG without the way through RGB; `mtime_ns`, the file's, makes a change be seen."""
    with open_header(path) as image:
        image.draft("L", image.size)
        return image.convert("L")


def _becomes(source: _Corner, copy: _Corner) -> bool:
    """Whether the source's pixels, saved as the copy was, are the copy's; in a small corner first."""
    for side in (FIRST, SIDE):
        again, wanted = (each.crop((0, 0, *np.minimum(each.size, side))) for each in (source.picture, copy.picture))
        same = np.asarray(_saved(again.convert(wanted.mode), copy.plane)) == np.asarray(wanted)
        if not same[:-BESIDE, :-BESIDE].all():
            return False
    return True


def alike(*corners: _Corner) -> list[_Corner]:
    """Corners of one size, of whole blocks."""
    size = np.min([corner.size for corner in corners], axis=0) // MCU * MCU
    return [corner.cropped(size) for corner in corners]


def mostly(there: Sequence[_Corner], back: Sequence[_Corner]) -> bool:
    """Whether most blocks of a source become those of its copy, and so few the other way round that it is no chance.

    Steps that are alike bring many back to what they were.
    """
    share = share_becoming(*there)
    if share < MANY_BLOCKS:
        return False
    other_way = share_becoming(*back)
    return share > other_way and share >= (MANY_BLOCKS if other_way <= FEW_BLOCKS else MOST_BLOCKS)


def share_becoming(source: _Corner, copy: _Corner) -> float:
    """Share of the blocks that are not plain whose luminance, saved as the copy was, is the copy's."""
    again = _saved(source.picture.convert(copy.plane.picture.mode), copy.plane, is_grey=True)
    (width, height), wanted = (side // 8 for side in copy.size), np.asarray(copy.grey)
    blocks = [np.asarray(each)[: 8 * height, : 8 * width].reshape(height, 8, width, 8) for each in (again, wanted)]
    told = np.ptp(blocks[1], axis=(1, 3)) >= LINES
    same = (blocks[0] == blocks[1]).all(axis=(1, 3))
    return float(same[told].mean()) if told.sum() >= LEAST_BLOCKS else 0.0


def _saved(picture: Image.Image, like: Plane, is_grey: bool = False) -> Image.Image:
    """A picture after it was saved as a JPEG was; as it is where that one is none. is_grey : its luminance"""
    if not like.tables:
        return picture.convert("L") if is_grey else picture
    file = BytesIO()
    picture.save(file, "JPEG", qtables=like.tables, subsampling=like.sampling)
    again = Image.open(file)
    if is_grey:
        again.draft("L", again.size)
    return again
