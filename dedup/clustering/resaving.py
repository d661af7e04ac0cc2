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

from dedup.clustering.jpeg_forensics import LEAST_BLOCKS, SIDE, Plane, how_made, read_plane, shows_no_more
from dedup.clustering.jpeg_steps import by_steps, is_edited_from
from dedup.clustering.quality import read_details
from dedup.dataset.decoding import open_header
from dedup.workers import Lost, job, run_jobs

MANY = 12  # pairs that are worth processes of their own
FIRST = 128  # px that are saved again first along each side: whole blocks, those of subsampled colours too
LINES = 8  # grey levels in a block that is not plain
MOST_BLOCKS, MANY_BLOCKS = 0.9, 0.5  # share of those that tells of all; that does if few are so the other way round
FEW_BLOCKS = 0.1
BESIDE = 2  # px at the edges, where colours depend on what was cut away
MCU = 16  # px, side of what a JPEG is made of, colours and all


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


def how_they_were_made(jobs: Sequence[tuple], num_workers: int) -> Iterator[str | Lost]:
    """`traces.how_made` of files (finer, coarser); what saving one again gives tells more where it gives the other.

    A lossy file that is no JPEG counts as the finer one. Where one was turned or toned, its steps may tell still.

    jobs : (finer, coarser), and a third where the finer is turned or mirrored: `place` as of `steps.is_edited_from`
    num_workers : processes, where there are enough pairs; 0 = this one
    """
    return _run(_how_made, jobs, num_workers)


def show_no_more(jobs: Sequence[tuple[Path, Path, float, Sequence[float]]], num_workers: int) -> Iterator[bool | Lost]:
    """`traces.shows_no_more` of many pairs; num_workers as above."""
    return _run(_shows_no_more, jobs, num_workers)


def _run(function: Callable, jobs: Sequence, num_workers: int) -> Iterator:
    return run_jobs(function, jobs, num_workers, few=MANY, inherits=True)


@job
def _shows_no_more(given: tuple[Path, Path, float, Sequence[float]]) -> bool:
    return bool(shows_no_more(*given))


@job
def _how_made(given: Sequence) -> str:
    finer, coarser, *turn = given
    copy, source = read_plane(finer), read_plane(coarser)
    if copy is None or source is None:
        return ""
    has_steps = copy.table.any() or read_details(finer).lossless
    made = "" if turn else how_made(copy, source) if has_steps else by_steps(copy, source)
    if made == "compressed" or (made and not has_steps):
        return made
    if not turn and saved_from(coarser, finer):
        return "compressed"
    if made == "saved again" or (not turn and saved_from(finer, coarser)):
        return "saved again"
    return "saved again" if made in ("", "edited") and is_edited_from(copy, source, *turn) else made


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
