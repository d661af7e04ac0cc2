"""Embeddings. Input: image files. Output: one unit vector for each readable file.

paths (n,)  ->  Embeddings: paths (m,), vectors (m, d) float32 of unit norm, sizes (m, 2) in px, and n - m failures
"""

from __future__ import annotations

import json
import os
import struct
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence, Set
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
from dedup.output import Phases, progress_bar
from dedup.store import Stamp, Store
from dedup.workers import Lost, run_jobs

if TYPE_CHECKING:
    import torch

BEHIND = 2  # batches that may wait for the encoder
HEAD = struct.Struct("<3i")  # width, height, number of vectors, which follow
CHANGED_MEANWHILE = "changed while it was read"


@dataclass(frozen=True)
class Embeddings:
    """The files' vectors; row i of `vectors` and `sizes` belongs to paths[i].

    paths : the files that could be read, in the order they were given
    vectors : (n, d) float32, unit norm
    sizes : (n, 2) int, width and height in px of the upright picture
    failures : the other files, each with its reason
    panels : (m, d) float32, unit norm, of pictures shown within a picture: in a screenshot or a collage
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
    num_workers : processes that read; 0 = this one
    """
    encoder = at_work(encoder, device)
    side = encoder.about.image_resize if image_resize is None else image_resize
    gathering = Gathering(paths, encoder.about.embedding_size)
    with gathering.bar(progress) as bar:
        read_and_encode(gathering, encoder, side, batch_size, num_workers, bar)
    return gathering.result()


class Seen(NamedTuple):
    """A picture's upright size in px, and the vectors (1 or more, d) of the whole and of its panels."""

    size: tuple[int, int]
    vectors: np.ndarray

    def pack(self) -> bytes:
        return HEAD.pack(*self.size, len(self.vectors)) + self.vectors.astype("<f4").tobytes()

    @classmethod
    def unpack(cls, value: bytes) -> Seen:
        width, height, views = HEAD.unpack_from(value)
        return cls((width, height), np.frombuffer(value, "<f4", offset=HEAD.size).reshape(views, -1))


class Memory:
    """A store's records of files and of one encoder's vectors.

    tag : for everything that decides a vector besides the code, from `dedup.encoder.inference.encoder_tag`
    """

    def __init__(self, store: Store, tag: bytes = b""):
        self._store, self._tag = store, tag

    def about(self) -> list:
        """The fields of the encoder's `About`, if it has run."""
        value = self._store.get_all("encoder", [self._tag]).get(self._tag)
        return json.loads(value) if value else []

    def held(self, paths: Sequence[Path]) -> dict[int, tuple[bytes, str]]:
        """Contents, and reasons why they can't be read, empty if they can; by place in `paths`, of unchanged files."""
        contents = self._store.contents(paths)
        reasons = self._store.get_all("unreadable", contents.values())
        found = ((place, contents[path]) for place, path in enumerate(paths) if path in contents)
        return {place: (content, reasons.get(content, b"").decode()) for place, content in found}

    def keep_held(self, files: Iterable[tuple[Path, Stamp, str]]) -> None:
        """Keep paths, stamps and reasons."""
        files = list(files)
        self._store.keep_stamps({path: stamp for path, stamp, _ in files})
        reasons = [(stamp.content, reason.encode()) for _, stamp, reason in files if stamp.status and reason]
        self._store.keep_all("unreadable", reasons)

    def contents_seen(self) -> set[bytes]:
        """All contents whose vectors are remembered."""
        return {key[len(self._tag) :] for key in self._store.keys("vectors", self._tag)}

    def seen(self, contents: Iterable[bytes]) -> dict[bytes, Seen]:
        """Results by content, of the contents that are remembered."""
        values = self._store.get_all("vectors", [self._tag + content for content in contents])
        return {key[len(self._tag) :]: Seen.unpack(value) for key, value in values.items()}

    def keep_seen(self, about: Sequence, pictures: Iterable[tuple[bytes, Seen]]) -> None:
        """Keep an encoder's results, by content."""
        self._store.keep_all("encoder", [(self._tag, json.dumps(about).encode())])
        self._store.keep_all("vectors", [(self._tag + content, seen.pack()) for content, seen in pictures])


class Gathering:
    """Embeddings while they are computed: what is known of n files, by row. size : of a vector, if there is none"""

    def __init__(self, paths: Sequence[Path], size: int | None = None):
        self.paths, self._size = list(paths), size or 1
        self.seen: dict[int, Seen] = {}
        self.contents: dict[int, bytes] = {}
        self.reasons: dict[int, str] = {}  # of what can't be read

    def add(self, row: int, content: bytes, seen: Seen) -> None:
        self.contents[row], self.seen[row], self._size = content, seen, seen.vectors.shape[1]

    def missing(self) -> list[int]:
        """Rows of which nothing is known."""
        return [row for row in range(len(self.paths)) if row not in self.seen and row not in self.reasons]

    def bar(self, progress: bool | Phases) -> AbstractContextManager:
        """A bar that counts the files of which nothing is known yet."""
        return progress_bar(progress, len(self.missing()), "Reading", "images")

    def remember(self, memory: Memory) -> None:
        """Fill in what is remembered of files that have not changed."""
        held = memory.held(self.paths)
        self.reasons |= {row: reason for row, (_, reason) in held.items() if reason}
        self.recall(memory, {row: content for row, (content, reason) in held.items() if not reason})

    def recall(self, memory: Memory, contents: Mapping[int, bytes]) -> None:
        """Add what is remembered of contents, by row."""
        seen = memory.seen(contents.values())
        for row, content in contents.items():
            if content in seen:
                self.add(row, content, seen[content])

    def result(self) -> Embeddings:
        """The embeddings. May be called once: it frees vectors as it goes, as two copies of a million are too large."""
        rows = sorted(self.seen)
        shown = [len(self.seen[row].vectors) - 1 for row in rows]  # panels of each
        vectors, sizes = np.empty((len(rows), self._size), np.float32), np.zeros((len(rows), 2), int)
        panels = [np.empty((0, self._size), np.float32)]
        for place, row in enumerate(rows):
            sizes[place], seen = self.seen.pop(row)
            vectors[place] = seen[0]
            panels.append(seen[1:].copy())
        return Embeddings(
            [self.paths[row] for row in rows],
            vectors,
            sizes,
            {self.paths[row]: self.reasons[row] for row in sorted(self.reasons)},
            np.concatenate(panels),
            np.repeat(np.arange(len(rows)), np.array(shown, int)),
            [self.contents[row] for row in rows],
        )


def find_twins(gathering: Gathering, rows: Sequence[int], num_workers: int) -> dict[int, tuple[int, Stamp]]:
    """Rows of files that hold the same as an earlier one, with that one's row and their stamps.

    Only files of equal size are read, and not decoded. Unreadable files are left out; one that crashes or hangs fails.
    """
    by_size: defaultdict[int, list[int]] = defaultdict(list)
    for row in rows:
        with suppress(OSError):
            by_size[os.stat(gathering.paths[row]).st_size].append(row)
    alike = sorted(row for group in by_size.values() if len(group) > 1 for row in group)
    first, found = {}, {}
    for row, stamp in zip(alike, run_jobs(stamp_of, [gathering.paths[row] for row in alike], num_workers), strict=True):
        if isinstance(stamp, Lost):
            gathering.reasons[row] = stamp.reason
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
    """Read and encode the missing files. Known contents are recalled from memory; equal files are encoded once.

    side : S in px
    bar : counts every file
    memory : keeps the results
    known : contents that memory holds
    """
    twins = find_twins(gathering, gathering.missing(), num_workers)
    rows = [row for row in gathering.missing() if row not in twins]
    paths, left = [gathering.paths[row] for row in rows], iter(rows)
    waiting: deque[tuple[list[tuple[int, Outcome]], Future[list[np.ndarray]]]] = deque()  # files by row, their vectors
    with (
        ThreadPoolExecutor(1) as thread,  # the encoder works while the next files are read
        closing(read_ahead(paths, side, batch_size, num_workers, 1 + MOST, known)) as outcomes,
    ):
        for batch in outcomes:
            vectors = thread.submit(_encode, encoder, [outcome.squares for outcome in batch])
            waiting.append((list(zip(islice(left, len(batch)), batch, strict=True)), vectors))
            if len(waiting) > BEHIND:
                bar.update(_settle(gathering, *waiting.popleft(), encoder, memory))
        while waiting:
            bar.update(_settle(gathering, *waiting.popleft(), encoder, memory))
    bar.update(_settle_twins(gathering, twins, memory))


def _encode(encoder: Encoder, squares: list[np.ndarray]) -> list[np.ndarray]:
    """The vectors of each file's squares, in batches of as many squares as there are files."""
    flat = [square for each in squares for square in each]
    at_once = [
        encoder.encode(np.stack(flat[start : start + len(squares)])) for start in range(0, len(flat), len(squares))
    ]
    if not at_once:
        return [np.empty((0, 0), np.float32)] * len(squares)
    return np.split(np.concatenate(at_once), np.cumsum([len(each) for each in squares])[:-1])


def _settle_twins(gathering: Gathering, twins: Mapping[int, tuple[int, Stamp]], memory: Memory | None) -> int:
    """Give equal files the first one's result, if it has one; returns their number."""
    held = []
    for row, (first, stamp) in twins.items():
        if first in gathering.seen and gathering.contents[first] == stamp.content:
            gathering.add(row, stamp.content, gathering.seen[first])
        elif first in gathering.seen or first in gathering.reasons:
            gathering.reasons[row] = gathering.reasons.get(first, CHANGED_MEANWHILE)
        else:
            continue
        held.append((gathering.paths[row], stamp, gathering.reasons.get(row, "")))
    if memory:
        memory.keep_held(each for each in held if not each[-1])
    return len(held)


def _settle(
    gathering: Gathering,
    read: Sequence[tuple[int, Outcome]],
    vectors: Future[list[np.ndarray]],
    encoder: Encoder,
    memory: Memory | None,
) -> int:
    """Note the results of a batch, vectors (k, d) for each file; returns the number of files."""
    recalled, pictures = {}, []
    for (row, outcome), found in zip(read, vectors.result(), strict=True):
        content = outcome.stamp.content if outcome.stamp else b""
        if outcome.reason:
            gathering.reasons[row] = outcome.reason
        elif not len(found):
            recalled[row] = content
        else:
            pictures.append((content, Seen(outcome.size, found)))
            gathering.add(row, *pictures[-1])
    if memory:
        gathering.recall(memory, recalled)
        if pictures:
            memory.keep_seen(encoder.about, pictures)
        memory.keep_held((gathering.paths[row], each.stamp, each.reason) for row, each in read if each.stamp)
    return len(read)
