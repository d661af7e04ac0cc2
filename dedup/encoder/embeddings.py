"""Embeddings: image files in, one unit vector a readable file out.

paths (n,)  ->  Embeddings: paths (m,), vectors (m, d) float32 of unit norm, sizes (m, 2) in px, and n - m failures
"""

from __future__ import annotations

import os
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dedup.dataset.panels import MOST
from dedup.dataset.reading import Outcome, read_ahead, stamp_of
from dedup.encoder.inference import Encoder, at_work
from dedup.encoder.memory import Memory, Seen
from dedup.output import Phases, progress_bar
from dedup.store import Stamp
from dedup.workers import Lost, run_jobs

if TYPE_CHECKING:
    import torch

BEHIND = 2  # batches that may wait for the encoder
RECALLED_TOGETHER = 4096  # pictures recalled at a time
CHANGED_MEANWHILE = "changed while it was read"


@dataclass(frozen=True)
class Embeddings:
    """What the encoder saw; row i of `vectors` and `sizes` belongs to paths[i].

    paths : the files that could be read, in the order they were given
    vectors : (n, d) float32, unit norm
    sizes : (n, 2) int, width and height in px of the upright picture
    failures : the other files, each with its reason
    panels : (m, d) float32, unit norm: pictures shown within a picture: on a screenshot's page, in a collage
    panel_rows : (m,) int, rows of the files that show them
    contents : digests, equal for files that hold the same bytes; empty where none were taken
    """

    paths: list[Path]
    vectors: np.ndarray
    sizes: np.ndarray
    failures: dict[Path, str]
    panels: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))
    panel_rows: np.ndarray = field(default_factory=lambda: np.empty(0, int))
    contents: list[bytes] = field(default_factory=list)


def extract_embeddings(
    encoder: Encoder | torch.nn.Module,
    paths: Sequence[Path],
    image_resize: int | None,
    batch_size: int,
    num_workers: int,
    device: torch.device | None = None,
    progress: bool = True,
) -> Embeddings:
    """Read and embed every file that can be read; the others are named in `failures`.

    Parameters
    ----------
    encoder : as `open_encoder` gives it; or an EncoderCNN, which stays as it is
    device : that an EncoderCNN works on; None = the fastest
    image_resize : side in px of the square the encoder sees; None = the encoder's own
    batch_size : images at a time, >= 1
    num_workers : processes that read; 0 reads in this one
    progress : show a bar on stderr, with images a second
    """
    encoder = at_work(encoder, device)
    side = encoder.about.image_resize if image_resize is None else image_resize
    gathering = Gathering(paths, encoder.about.embedding_size)
    with gathering.bar(progress) as bar:
        read_and_encode(gathering, encoder, side, batch_size, num_workers, bar)
    return gathering.result()


class Gathering:
    """Embeddings in the making: what is known of each of n files. size : of a vector; None = not known yet"""

    def __init__(self, paths: Sequence[Path], size: int | None = None):
        self.paths, self.failures, self.contents = list(paths), {}, [b""] * len(paths)
        self._sizes, self._seen = np.zeros((len(paths), 2), int), np.zeros(len(paths), bool)
        self._size, self._vectors, self._panels = size, np.empty((0, 0), np.float32), {}

    def add(self, row: int, content: bytes, seen: Seen) -> None:
        if not len(self._vectors):
            self._size = seen.vectors.shape[1]
            self._vectors = np.zeros((len(self.paths), self._size), np.float32)
        self.contents[row], self._sizes[row], self._seen[row] = content, seen.size, True
        self._vectors[row] = seen.vectors[0]
        if len(seen.vectors) > 1:
            self._panels[row] = seen.vectors[1:]

    def fail(self, row: int, reason: str) -> None:
        self.failures[self.paths[row]] = reason

    def missing(self) -> list[int]:
        """Rows of which nothing is known."""
        return [row for row, path in enumerate(self.paths) if not self._seen[row] and path not in self.failures]

    def bar(self, progress: bool | Phases) -> AbstractContextManager:
        """What counts the files of which nothing is known yet."""
        return progress_bar(progress, len(self.missing()), "Reading", "images")

    def copy(self, row: int, source: int) -> None:
        """Add what is known of another row, whose file holds the same."""
        vectors = [self._vectors[source][None], self._panels.get(source, np.empty((0, self._size), np.float32))]
        self.add(row, self.contents[source], Seen(tuple(self._sizes[source].tolist()), np.concatenate(vectors)))

    def knows(self, row: int) -> bool:
        """Whether it is known what the encoder saw in a row."""
        return bool(self._seen[row])

    def recall(self, memory: Memory, contents: Mapping[int, bytes]) -> None:
        """Add what is remembered of contents, by row."""
        rows = list(contents)
        for start in range(0, len(rows), RECALLED_TOGETHER):
            chunk = rows[start : start + RECALLED_TOGETHER]
            seen = memory.seen([contents[row] for row in chunk])
            for row in chunk:
                if contents[row] in seen:
                    self.add(row, contents[row], seen[contents[row]])

    def result(self) -> Embeddings:
        size, kept = self._size or 1, np.flatnonzero(self._seen)
        failures = {path: self.failures[path] for path in self.paths if path in self.failures}
        owners = [row for row in sorted(self._panels) for _ in self._panels[row]]
        panels = np.concatenate([np.empty((0, size), np.float32), *(self._panels[row] for row in sorted(self._panels))])
        vectors = self._vectors[kept] if len(kept) else np.empty((0, size), np.float32)
        paths, contents = [self.paths[row] for row in kept], [self.contents[row] for row in kept]
        rows = np.searchsorted(kept, np.array(owners, int))  # among the files that could be read
        return Embeddings(paths, vectors, self._sizes[kept], failures, panels, rows, contents)


def remember(gathering: Gathering, memory: Memory) -> None:
    """Fill in what is known of files that have not changed."""
    held = memory.held(gathering.paths)
    for row, (_, reason) in held.items():
        if reason:
            gathering.fail(row, reason)
    gathering.recall(memory, {row: content for row, (content, reason) in held.items() if not reason})


def find_twins(gathering: Gathering, rows: Sequence[int], num_workers: int) -> dict[int, tuple[int, Stamp]]:
    """Rows of files that hold the same as an earlier one, with that one and their stamps.

    Only files of one size are read, and not decoded. What can't be read is left out, what can't be looked at fails.
    """
    by_size: defaultdict[int, list[int]] = defaultdict(list)
    for row in rows:
        with suppress(OSError):
            by_size[os.stat(gathering.paths[row]).st_size].append(row)
    alike = sorted(row for group in by_size.values() if len(group) > 1 for row in group)
    first, found = {}, {}
    for row, stamp in zip(alike, run_jobs(stamp_of, [gathering.paths[row] for row in alike], num_workers), strict=True):
        if isinstance(stamp, Lost):
            gathering.fail(row, stamp.reason)
        elif stamp and first.setdefault(stamp.content, row) != row:
            found[row] = first[stamp.content], stamp
    return found


def read_and_encode(
    gathering: Gathering,
    encoder: Encoder,
    side: int,
    batch_size: int,
    num_workers: int,
    bar: AbstractContextManager,
    memory: Memory | None = None,
    known: Set[bytes] = frozenset(),
) -> None:
    """Read what is missing, and encode it, but for contents that are known: these are recalled; equal ones once.

    Parameters
    ----------
    side : S in px
    bar : is moved on by every file
    memory : what is found is kept there
    """
    missing = gathering.missing()
    twins = find_twins(gathering, missing, num_workers)
    rows = [row for row in gathering.missing() if row not in twins]
    paths, left = [gathering.paths[row] for row in rows], iter(rows)
    waiting: deque[Batch] = deque()
    with (
        ThreadPoolExecutor(1) as thread,  # the encoder works while the next files are read
        closing(read_ahead(paths, side, batch_size, num_workers, 1 + MOST, known)) as outcomes,
    ):
        for batch in outcomes:
            vectors = thread.submit(_encode, encoder, [outcome.squares for outcome in batch])
            waiting.append(Batch(list(zip(islice(left, len(batch)), batch, strict=True)), vectors))
            if len(waiting) > BEHIND:
                bar.update(_settle(gathering, waiting.popleft(), encoder, memory))
        while waiting:
            bar.update(_settle(gathering, waiting.popleft(), encoder, memory))
    bar.update(_settle_twins(gathering, twins, memory))


class Batch(NamedTuple):
    """Consecutive files by row, and the vectors of their squares in the making: one (k, d) for each file."""

    read: list[tuple[int, Outcome]]
    vectors: Future[list[np.ndarray]]


def _encode(encoder: Encoder, squares: list[np.ndarray]) -> list[np.ndarray]:
    """The vectors of each file's squares, batch after batch of as many as there are files."""
    flat = [square for each in squares for square in each]
    at_once = [
        encoder.encode(np.stack(flat[start : start + len(squares)])) for start in range(0, len(flat), len(squares))
    ]
    if not at_once:
        return [np.empty((0, 0), np.float32)] * len(squares)
    return np.split(np.concatenate(at_once), np.cumsum([len(each) for each in squares])[:-1])


def _settle_twins(gathering: Gathering, twins: Mapping[int, tuple[int, Stamp]], memory: Memory | None) -> int:
    """Have files of equal content come to the same, but for those whose first could not be recalled; how many did."""
    held = []
    for row, (first, stamp) in twins.items():
        reason = gathering.failures.get(gathering.paths[first], "")
        if reason or gathering.knows(first):
            reason = reason or ("" if gathering.contents[first] == stamp.content else CHANGED_MEANWHILE)
            gathering.fail(row, reason) if reason else gathering.copy(row, first)
            held.append((gathering.paths[row], stamp, reason))
    if memory:
        memory.keep_held(each for each in held if not each[-1])
    return len(held)


def _settle(gathering: Gathering, batch: Batch, encoder: Encoder, memory: Memory | None) -> int:
    """Take a batch's vectors and note what its files came to; how many they were."""
    recalled, pictures = {}, []
    for (row, outcome), vectors in zip(batch.read, batch.vectors.result(), strict=True):
        content = outcome.stamp.content if outcome.stamp else b""
        if outcome.reason:
            gathering.fail(row, outcome.reason)
        elif not len(vectors):
            recalled[row] = content
        else:
            pictures.append((content, Seen(outcome.size, vectors)))
            gathering.add(row, *pictures[-1])
    if memory:
        gathering.recall(memory, recalled)
        if pictures:
            memory.keep_seen(encoder.about, pictures)
        memory.keep_held((gathering.paths[row], each.stamp, each.reason) for row, each in batch.read if each.stamp)
    return len(batch.read)
