"""Reading ahead. Input: paths. Output: square uint8 images, and each file's stamp.

paths (n,)  ->  batches of Outcome, in order; its squares are (k, S, S, 3) uint8 RGB: the whole picture, then its panels
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from dedup.dataset.decoding import NAMED, RAW, UnreadableImage, decode, digest_of, open_picture
from dedup.dataset.panels import panels
from dedup.store import Stamp, status_of
from dedup.workers import Lost, job, run_jobs

AHEAD = 128  # files read while the encoder is at work
LARGEST = 256  # files in a batch; more are no faster, on a GPU either
WAITING = 1 << 27  # bytes of squares in a batch, and of those read ahead
NO_SQUARES = np.empty((0, 0, 0, 3), np.uint8)


class Outcome(NamedTuple):
    """The result of reading a file: upright size in px and squares, or a reason; a stamp if it was opened."""

    size: tuple[int, int] = (0, 0)
    squares: np.ndarray = NO_SQUARES
    reason: str = ""
    stamp: Stamp | None = None


def read_ahead(
    paths: Sequence[Path],
    side: int,
    batch_size: int,
    num_workers: int,
    views: int = 1,
    known: Container[bytes] = frozenset(),
) -> Iterator[list[Outcome]]:
    """Read files before they are needed: batches of consecutive ones, in order.

    With workers, a decoder that crashes or hangs costs its file alone.

    side : S in px; the whole picture is squeezed into the square
    batch_size : files a batch, 1 or more; fewer where their squares would take more than WAITING bytes
    num_workers : processes that decode; 0 = this one
    views : most squares of a file: the whole picture, and pictures cut out of a screenshot or collage
    known : contents that need no decoding: their files are stamped, and give no squares
    """
    if batch_size < 1 or num_workers < 0:
        raise ValueError(f"batch_size is 1 or more, num_workers 0 or more, got {batch_size} and {num_workers}")
    room = max(1, WAITING // (views * side * side * 3))  # files
    read = partial(read_picture, side=side, views=views, known=known)
    with closing(run_jobs(read, paths, num_workers, min(AHEAD, room))) as results:
        found = (Outcome(reason=each.reason) if isinstance(each, Lost) else each for each in results)
        while batch := list(islice(found, min(batch_size, LARGEST, room))):
            yield batch


@job
def read_picture(path: Path, side: int, views: int = 1, known: Container[bytes] = frozenset()) -> Outcome:
    """Read one file, as `read_ahead` does."""
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
    known_by = ending.encode() if ending in NAMED or ending in RAW else b""
    return Stamp(content + known_by, after if before == after else None)
