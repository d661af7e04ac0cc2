"""Reading ahead: paths in, square uint8 images and what each file held out.

paths (n,)  ->  n x Outcome, in order; its squares are (k, S, S, 3) uint8 RGB: the whole picture, then its panels
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from dedup.dataset.decoding import NAMED, UnreadableImage, decode, digest_of, open_picture
from dedup.dataset.panels import panels
from dedup.store.memory import Stamp, status_of
from dedup.workers import Lost, job, run_jobs

AHEAD = 128  # files read while the encoder is at work
WAITING = 1 << 28  # bytes of squares that may wait for it
NOTHING = np.empty((0, 0, 0, 3), np.uint8)


class Outcome(NamedTuple):
    """What reading a file came to: upright size in px and squares, or a reason; a stamp if it was opened."""

    size: tuple[int, int] = (0, 0)
    squares: np.ndarray = NOTHING
    reason: str = ""
    stamp: Stamp | None = None


def read_squares(
    paths: Sequence[Path], side: int, num_workers: int, views: int = 1, known: Container[bytes] = frozenset()
) -> Iterator[Outcome]:
    """Read files ahead of who looks at them, in order. With workers, a decoder that crashes or hangs costs its file.

    Parameters
    ----------
    side : S in px; the whole picture is squeezed into the square
    num_workers : processes that decode; 0 = this one
    views : 1, and so many pictures of a screenshot or collage, cut out, at most
    known : contents that need no decoding: their files are stamped, and give no squares
    """
    if num_workers < 0:
        raise ValueError(f"num_workers is 0 or more, got {num_workers}")
    ahead = min(AHEAD, max(2, WAITING // (views * side * side * 3)))
    read = partial(read_picture, side=side, views=views, known=known)
    with closing(run_jobs(read, paths, num_workers, ahead)) as results:
        for found in results:
            yield Outcome(reason=found.reason) if isinstance(found, Lost) else found


@job
def read_picture(path: Path, side: int, views: int = 1, known: Container[bytes] = frozenset()) -> Outcome:
    """Read one file, as `read_squares` does."""
    stamp, ending = None, path.suffix.lower()
    try:
        with open_picture(path) as file:
            stamp = _stamp(file, ending)
            if stamp.content in known:
                return Outcome(stamp=stamp)
            image, size = decode(file, ending, side)
            if status_of(os.fstat(file.fileno())) != stamp.status:
                stamp = Stamp(stamp.content, None)
    except UnreadableImage as error:
        passing = isinstance(error.__cause__, MemoryError) or getattr(error.__cause__, "errno", None) is not None
        return Outcome(reason=str(error), stamp=None if passing else stamp)  # another time it may be readable
    boxes = [None, *(panels(np.asarray(image))[: views - 1] if views > 1 else ())]
    squares = [image.resize((side, side), Image.Resampling.BILINEAR, box=box) for box in boxes]
    return Outcome(size, np.stack([np.asarray(square) for square in squares]), stamp=stamp)


@job
def stamp_of(path: Path) -> Stamp | None:
    """A file's stamp, without decoding it; None where it can't be read."""
    try:
        with open_picture(path) as file:
            return _stamp(file, path.suffix.lower())
    except UnreadableImage:
        return None


def _stamp(file: BinaryIO, ending: str) -> Stamp:
    """Digest a file from its start, and go back there."""
    before = status_of(os.fstat(file.fileno()))
    content = digest_of(file)
    after = status_of(os.fstat(file.fileno()))
    file.seek(0)
    return Stamp(content + (ending.encode() if ending in NAMED else b""), after if before == after else None)
