"""Confirmation: pairs that the encoder holds for copies in, those that geometry confirms out.

paths (n,), graph (n, n) CSR of candidates  ->  graph (n, n) CSR of confirmed edges, a Match for each compared pair

A pair is laid on each other by every transform that its squeezed squares or its keypoints suggest; what decides is
whether the pictures then agree, down to fine detail, over the whole overlap.
"""

from __future__ import annotations

import filecmp
import pickle
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy.sparse import csr_matrix, triu
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from dedup.dataset.decoding import read_values
from dedup.dataset.thumbnails import read_with_thumbnail
from dedup.matching.classification import WHOLE, Match, is_resaved, judge, resaved_match
from dedup.matching.coarse import match_coarse
from dedup.matching.kinds import MatchKind
from dedup.matching.pictures import Picture, picture_of
from dedup.matching.registration import keypoint_transforms, whole_transforms
from dedup.matching.scheduling import edges_graph, join
from dedup.matching.similarity import compare
from dedup.matching.spill import Spool
from dedup.matching.warping import lay, refine
from dedup.workers import Lost, run_jobs

if TYPE_CHECKING:
    from dedup.matching.comparisons import Comparisons

FORKS = sys.platform == "linux"  # a forked process has the pictures already; elsewhere they would have to be sent
SETTLED = (MatchKind.RESAVED, MatchKind.EDITED)
WORTH_FORKING = 48  # pairs
WHOLE_ALIKE = 0.97  # correlation of the squeezed squares of two pictures that may be one saved again
AGREEING = 0.5  # share of blocks that must agree before a closer look


class Verifier:
    """Compares pairs of files and remembers what came out.

    Parameters
    ----------
    paths : n files
    num_workers : processes that read and compare; 0 = this one
    progress : show bars on stderr
    known : remembers how pairs compared in earlier runs
    folder : for a temporary file, where there are more pictures than go into memory
    thumbnails : folder where the thumbnail of each file that is read is left by the way; None = nowhere

    Attributes
    ----------
    compared : pairs (i, j), i < j, so far
    matches : Match of these pairs; refuted ones are absent
    """

    def __init__(
        self,
        paths: Sequence[Path],
        num_workers: int,
        progress: bool = True,
        known: Comparisons | None = None,
        folder: Path | None = None,
        thumbnails: Path | None = None,
    ):
        self.paths, self.num_workers, self.progress, self._known = list(paths), num_workers, progress, known
        self.matches: dict[tuple[int, int], Match] = {}
        self.compared: set[tuple[int, int]] = set()
        self._unreadable: set[int] = set()
        self._with_keypoints: set[int] = set()
        self._thumbnails = thumbnails
        self._pictures = Spool(folder)
        cv2.setNumThreads(1)  # OpenCV's own threads do not survive a fork

    def match(self, i: int, j: int, distance: float) -> Match | None:
        """The match of files i and j, in any order; `first` in it is the lower of both. None: not one picture."""
        self.match_many([(i, j, distance)])
        return self.matches.get((min(i, j), max(i, j)))

    def match_many(self, pairs: Sequence[tuple[int, int, float]]) -> None:
        """Compare pairs (i, j, cosine distance) that have not been compared yet."""
        pairs = [(min(i, j), max(i, j), d) for i, j, d in pairs if i != j]
        pairs = [pair for pair in dict.fromkeys(pairs) if pair[:2] not in self.compared]
        for pair, match in self._known.recall(pairs).items() if self._known else ():
            self._note(pair, match)
        pairs = [pair for pair in pairs if pair[:2] not in self.compared]
        self._read(sorted({k for i, j, _ in pairs for k in (i, j)}))
        pairs = self._compared_by(self._compare_whole, pairs)
        self._find_keypoints(sorted({k for i, j, _ in pairs for k in (i, j)}))
        for pair in self._compared_by(self._compare, pairs):
            self._settle(pair, None)
        if self._known:
            self._known.flush()

    def _compared_by(self, compare: Callable, pairs: list[tuple[int, int, float]]) -> list[tuple[int, int, float]]:
        """Compare pairs in one of two ways; those that have no match by it."""
        open_pairs, workers = [], self.num_workers if FORKS and len(pairs) >= WORTH_FORKING else 0
        with threadpool_limits(1):
            for pair, match in zip(pairs, run_jobs(compare, pairs, workers), strict=True):
                if match is None:
                    open_pairs.append(pair)
                else:
                    self._settle(pair, match)
        return open_pairs

    def _settle(self, pair: tuple[int, int, float], match: Match | Lost | None) -> None:
        self._note(pair[:2], match)
        if self._known and not isinstance(match, Lost) and not set(pair[:2]) & self._unreadable:
            self._known.keep(*pair[:2], match)

    def _note(self, pair: tuple[int, int], match: Match | Lost | None) -> None:
        self.compared.add(pair)
        if isinstance(match, Match):
            self.matches[pair] = match

    def forget_pictures(self) -> None:
        """Free the memory that pictures take; matches stay, and what is compared later is read again."""
        self._pictures.clear()
        self._unreadable.clear()
        self._with_keypoints.clear()

    def verify(self, graph: csr_matrix, vectors: np.ndarray | None = None) -> csr_matrix:
        """Keep the edges of a neighbour graph that join files showing one picture, up to `crop`.

        Parameters
        ----------
        graph : (n, n) CSR, symmetric, cosine distances
        vectors : (n, d) float32, unit norm; with them, files left in few are tried with what is near them beyond the
            graph as well

        Returns
        -------
        (n, n) CSR, symmetric; distances, diagonal and explicit zeros included. A file that is joined by what lies
        beyond the graph has an edge of the graph's largest distance
        """
        upper = triu(graph, k=1).tocoo()
        order = np.lexsort((upper.col, upper.row, upper.data))
        candidates = [(int(upper.row[k]), int(upper.col[k]), float(upper.data[k])) for k in order]
        return edges_graph(join(self, candidates, vectors), graph.shape[0])

    def _read(self, indices: Sequence[int]) -> None:
        """Read the pictures that are not in memory yet."""
        missing = [k for k in indices if k not in self._pictures and k not in self._unreadable]
        few = len(missing) < 16
        job = partial(_read_job, self._thumbnails)
        jobs = run_jobs(job, [self.paths[k] for k in missing], 0 if few else self.num_workers)
        bar = tqdm(total=len(missing), desc="Reading candidates", unit=" images", disable=few or not self.progress)
        with bar:
            for k, pickled in zip(missing, jobs, strict=True):
                if isinstance(pickled, bytes):
                    self._pictures.put(k, pickled)
                else:
                    self._unreadable.add(k)
                bar.update()

    def _compare(self, pair: tuple[int, int, float]) -> Match | None:
        i, j, distance = pair
        if {i, j} & self._unreadable:
            return None
        first, second = self._pictures.get(i), self._pictures.get(j)
        return match_laid(first, second, distance)

    def _compare_whole(self, pair: tuple[int, int, float]) -> Match | None:
        """The match of two files that hold the same, or show it at first sight."""
        i, j, distance = pair
        if {i, j} & self._unreadable:
            return None
        first, second = self._pictures.get(i), self._pictures.get(j)
        same_data = _same_data(first, second, self.paths[i], self.paths[j], distance)
        return same_data or match_whole(first, second, distance)

    def _find_keypoints(self, indices: Sequence[int]) -> None:
        """Find the keypoints of pictures that were read and have none yet, once a file."""
        missing = [k for k in indices if k in self._pictures and k not in self._with_keypoints]
        workers = self.num_workers if FORKS and len(missing) >= WORTH_FORKING else 0
        for k, pickled in zip(missing, run_jobs(self._keypoints_job, missing, workers), strict=True):
            self._with_keypoints.add(k)
            if isinstance(pickled, bytes):
                self._pictures.put(k, pickled)

    def _keypoints_job(self, k: int) -> bytes:
        picture = self._pictures.get(k)
        picture.keypoints  # noqa: B018 - found now, in this process, and kept
        return pickle.dumps(picture, pickle.HIGHEST_PROTOCOL)


def _read_job(thumbnails: Path | None, path: Path) -> bytes | None:
    """A pickled Picture, None where it can't be read."""
    try:
        picture = picture_of(*read_with_thumbnail(path, thumbnails))
        for found in ("squares", "plain", "drawn", "coarse"):
            getattr(picture, found)  # found now, in this process, and kept
        return pickle.dumps(picture, pickle.HIGHEST_PROTOCOL)
    except (ValueError, OSError):  # it was readable a moment ago; then it is no candidate now
        return None


def _same_data(first: Picture, second: Picture, path: Path, other: Path, distance: float) -> Match | None:
    """Whether two files hold the same bytes or, decoded, the same pixels."""
    if (first.width, first.height) != (second.width, second.height) or not np.array_equal(first.grey, second.grey):
        return None
    try:
        if filecmp.cmp(path, other, shallow=False):
            return Match(MatchKind.IDENTICAL, distance, transform=WHOLE)
        (values, profile), (other_values, other_profile) = read_values(path), read_values(other)
        if values.dtype == other_values.dtype and profile == other_profile and np.array_equal(values, other_values):
            return Match(MatchKind.SAME_PIXELS, distance, transform=WHOLE)
    except (ValueError, OSError):
        pass
    return None


def match_whole(first: Picture, second: Picture, distance: float = 0.0) -> Match | None:
    """The match of two pictures that are one, saved again in another format, quality or size; None if they are not.

    No keypoints are found for it.
    """
    likeness = float(np.dot(first.squares[0].astype(np.float32), second.squares[0].astype(np.float32)))
    if likeness < WHOLE_ALIKE or not is_resaved(first, second, np.eye(3)):
        return None
    return resaved_match(first, second, distance)


def match_pictures(first: Picture, second: Picture, distance: float = 0.0) -> Match | None:
    """The match of two pictures, or None where they are not one picture."""
    return match_whole(first, second, distance) or match_laid(first, second, distance)


def match_laid(first: Picture, second: Picture, distance: float = 0.0) -> Match | None:
    """Compare two pictures by every likely transform; the best match, or None where they are not one picture."""
    if first.is_blank or second.is_blank:
        return None
    best, best_score = None, 0.0
    for transform in _transforms(first, second):
        frame = lay(first, second, transform)
        overlay = compare(first, second, frame, AGREEING)
        if overlay is None:
            continue
        if overlay.detail < 0.95 and (finer := refine(frame)) is not frame:
            finer_overlay = compare(first, second, finer)
            if finer_overlay.detail > overlay.detail:
                frame, overlay = finer, finer_overlay
        score = overlay.detail + overlay.agreement
        if score > best_score and (match := judge(first, second, frame, overlay, distance)):
            best, best_score = match, score
        if best and (best.kind in SETTLED or best_score > 1.9):  # nothing better can follow
            break
    return best or match_coarse(first, second, distance)


def _transforms(first: Picture, second: Picture):
    yield from whole_transforms(first, second)
    yield from (transform for transform, _ in keypoint_transforms(first, second))
