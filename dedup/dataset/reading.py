"""Reading ahead: paths in, square uint8 images in a ring of shared memory out, and what each file held.

paths (n,)  ->  batches of Outcome; the squares lie in `Reader.squares` (slots, views, S, S, 3) uint8 RGB

Nothing here needs torch, so that worker processes read while it is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Sequence
from contextlib import closing
from functools import partial
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image

from dedup.dataset.decoding import NAMED, UnreadableImage, decode, digest_of, open_picture
from dedup.dataset.panels import panels
from dedup.store import Stamp, status_of
from dedup.workers import Lost, job, run_jobs

AHEAD = 128  # pictures decoded, or a batch, while the encoder is at work
BEHIND = 2  # batches that the encoder may still be looking at
TOGETHER = 256  # files in the largest batch: their numbers fit an encoder's pipe, so that writing there never blocks us
RING = 1 << 29  # bytes of squares in shared memory; more only where four files have more


class Outcome(NamedTuple):
    """What reading a file came to: upright size in px and number of squares, or a reason; a stamp if it was opened."""

    size: tuple[int, int] = (0, 0)
    views: int = 0
    reason: str = ""
    stamp: Stamp | None = None


class Batch(NamedTuple):
    """Consecutive files. squares : (b, 3) int, index of the file, slot and view of each square they gave"""

    first: int
    outcomes: list[Outcome]
    squares: np.ndarray


class Reader:
    """Reads pictures ahead of who looks at them, in order. Reading begins with the first batch that is asked for.

    With workers, a decoder that crashes or hangs costs its file alone.

    Parameters
    ----------
    side : S in px; the whole picture is squeezed into the square
    batch_size : files a batch, 1 or more; fewer where so many would take more than TOGETHER files or RING bytes
    num_workers : processes that decode; 0 = this one
    views : 1, and room for so many pictures of a screenshot or collage, cut out; they follow the whole
    known : contents that need no decoding: their files are stamped, and give no squares

    Attributes
    ----------
    batch_size : files a batch
    ring : the bytes of `squares`, which other processes can be given
    squares : (slots, views, S, S, 3) uint8; a batch stays in it while BEHIND further ones are read
    """

    def __init__(
        self,
        paths: Sequence[Path],
        side: int,
        batch_size: int,
        num_workers: int,
        views: int = 1,
        known: Container[bytes] = frozenset(),
    ):
        if batch_size < 1 or num_workers < 0:
            raise ValueError(f"batch_size is 1 or more, num_workers 0 or more, got {batch_size} and {num_workers}")
        slot = views * side * side * 3  # bytes
        room = max(BEHIND + 2, RING // slot)  # slots
        self._count, self.batch_size = len(paths), min(batch_size, TOGETHER, room // (BEHIND + 2))
        behind = (BEHIND + 1) * self.batch_size
        ahead = min(max(AHEAD, self.batch_size), room - behind)
        self._slots = max(1, min(len(paths), ahead + behind))
        self.ring = RawArray("B", self._slots * slot)
        self.squares = as_squares(self.ring, views, side)
        jobs = [(index % self._slots, path) for index, path in enumerate(paths)]
        read = partial(_read_job, self.ring, views, side, known)
        self._outcomes = run_jobs(read, jobs, num_workers, ahead)

    def __iter__(self) -> Iterator[Batch]:
        outcomes: list[Outcome] = []
        with closing(self._outcomes):
            for index, outcome in enumerate(self._outcomes):
                outcomes.append(Outcome(reason=outcome.reason) if isinstance(outcome, Lost) else outcome)
                if (index + 1) % self.batch_size == 0 or index + 1 == self._count:
                    yield self._batch(index + 1 - len(outcomes), outcomes)
                    outcomes = []

    def close(self) -> None:
        """Stop reading."""
        self._outcomes.close()

    def _batch(self, first: int, outcomes: list[Outcome]) -> Batch:
        found = [(k, k % self._slots, view) for k, each in enumerate(outcomes, first) for view in range(each.views)]
        return Batch(first, outcomes, np.array(found, int).reshape(-1, 3))


def as_squares(ring, views: int, side: int) -> np.ndarray:
    """A ring's bytes as (slots, views, side, side, 3) uint8, not copied."""
    slot = views * side * side * 3
    return np.frombuffer(ring, np.uint8)[: len(ring) // slot * slot].reshape(-1, views, side, side, 3)


@job
def _read_job(ring, views: int, side: int, known: Container[bytes], given: tuple[int, Path]) -> Outcome:
    slot, path = given
    return read_into(as_squares(ring, views, side)[slot], path, known)


def read_into(pixels: np.ndarray, path: Path, known: Container[bytes] = frozenset()) -> Outcome:
    """Fill (views, S, S, 3) uint8 with the picture and, as far as there is room, its panels."""
    side, stamp = pixels.shape[1], None
    ending = path.suffix.lower()
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
    pixels[0] = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR))
    boxes = panels(np.asarray(image))[: len(pixels) - 1] if len(pixels) > 1 else []
    for view, box in enumerate(boxes, start=1):
        pixels[view] = np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=box))
    return Outcome(size, 1 + len(boxes), stamp=stamp)


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
