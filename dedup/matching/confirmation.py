"""Confirmation. Input: pairs that the encoder takes for copies. Output: those that geometry confirms.

paths (n,), graph (n, n) CSR of candidates  ->  graph (n, n) CSR of confirmed edges, a Match for each compared pair

The pictures of a pair are laid on each other by every transform that their squeezed squares or keypoints suggest. The
pair is confirmed if they then agree, down to fine detail, over the whole overlap.
"""

from __future__ import annotations

import filecmp
import pickle
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from scipy.sparse import csr_matrix, triu
from threadpoolctl import threadpool_limits

from dedup.dataset.decoding import read_values
from dedup.dataset.thumbnails import read_with_thumbnail
from dedup.matching.classification import WHOLE, Match, judge, match_coarse, match_resaved
from dedup.matching.kinds import MatchKind
from dedup.matching.pictures import Picture, picture_of, rounding_steps
from dedup.matching.registration import Frame, correspondences, keypoint_transforms, lay, refine, whole_transforms
from dedup.matching.scheduling import edges_graph, join
from dedup.matching.similarity import Overlay, compare, likeness
from dedup.output import Phases, progress_bar
from dedup.store import NOTHING, Store
from dedup.workers import Losses, Spool, job, run_jobs

KEPT_AT_ONCE = 256  # comparisons stored together
WORTH_FORKING, FEW_PICTURES = 48, 16  # pairs to compare, pictures to read, from which all processes pay off
SETTLED = (MatchKind.RESAVED, MatchKind.EDITED)
ALL, ENOUGH = 2.0, 1.9  # sum of agreement and correlation of fine detail: the most; enough to stop the search
AGREEING = 0.5  # share of blocks that must agree before a closer look


class Verifier:
    """Compares pairs of files and remembers the results.

    Parameters
    ----------
    paths : n files
    num_workers : processes that read and compare; 0 = this one
    progress : show bars on stderr, or the run's phases
    store : remembers the results of earlier runs
    contents : (n,) digests of what the files hold, equal for equal files; empty = not known
    folder : for a temporary file, where there are more pictures than go into memory
    thumbnails : folder in which a thumbnail of each file that is read is also written; None = nowhere
    losses : notes files that could not be read, and pairs that could not be compared

    Attributes
    ----------
    compared : pairs (i, j), i < j, so far
    matches : Match of these pairs, without those that show different pictures
    """

    def __init__(
        self,
        paths: Sequence[Path],
        num_workers: int,
        progress: bool | Phases = True,
        store: Store = NOTHING,
        contents: Sequence[bytes] = (),
        folder: Path | None = None,
        thumbnails: Path | None = None,
        losses: Losses | None = None,
    ):
        self.paths, self.num_workers, self.progress = list(paths), num_workers, progress
        self._store, self._contents = store, contents
        self.matches: dict[tuple[int, int], Match] = {}
        self.compared: set[tuple[int, int]] = set()
        self._unreadable: set[int] = set()
        self._with_keypoints: set[int] = set()
        self._thumbnails, self.losses = thumbnails, Losses() if losses is None else losses
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
        for pair, match in self._remembered(pairs).items():
            self._note(pair, match)
        pairs = [pair for pair in pairs if pair[:2] not in self.compared]
        self._read(sorted({k for i, j, _ in pairs for k in (i, j)}))
        for pair in pairs:
            if set(pair[:2]) & self._unreadable:
                self._note(pair[:2], None)
        pairs = [pair for pair in pairs if not set(pair[:2]) & self._unreadable]
        with threadpool_limits(1), self._bar(len(pairs), "Comparing", "pairs") as bar:
            unsettled = self._compare(_compare_whole, pairs, bar, is_last=False)
            self._find_keypoints(sorted({k for i, j, *_ in unsettled for k in (i, j)}))
            self._compare(_compare_closely, unsettled, bar, is_last=True)

    def _compare(self, compare: Callable, pairs: list[tuple], bar: Any, is_last: bool) -> list[tuple]:
        """Compare pairs in one way; returns those that it does not settle, with its result, unless it is the last."""
        jobs = [(self.paths[i], self.paths[j], *pair) for pair in pairs for i, j in [pair[:2]]]
        found = run_jobs(partial(compare, self._pictures), jobs, self.num_workers, few=WORTH_FORKING, inherits=True)
        unsettled, new = [], []
        for (i, j, distance, *_), best in zip(pairs, found, strict=True):
            if isinstance(best, Best) and not (is_last or best.is_settled):
                unsettled.append((i, j, distance, best))
                continue
            best = self.losses.note(best, self.paths[i], self.paths[j])
            self._note((i, j), best and best.match)
            bar.update()
            if best:
                new.append((i, j, best.match))
            if len(new) >= KEPT_AT_ONCE:
                self._remember(new)
                new = []
        self._remember(new)
        return unsettled

    def _find_keypoints(self, indices: Sequence[int]) -> None:
        """Find the keypoints of pictures that have none yet, once a file."""
        missing = [k for k in indices if k not in self._with_keypoints]
        find = partial(_find_keypoints, self._pictures)
        found = run_jobs(find, missing, self.num_workers, few=FEW_PICTURES, inherits=True)
        for k, pickled in zip(missing, found, strict=True):
            if self.losses.note(pickled, self.paths[k]):
                self._pictures.put(k, pickled)
        self._with_keypoints.update(missing)

    def _remembered(self, pairs: Sequence[tuple[int, int, float]]) -> dict[tuple[int, int], Match | None]:
        """Results for pairs of equal contents, and for pairs that were compared in an earlier run."""
        if not self._contents:
            return {}
        distances = {(i, j): distance for i, j, distance in pairs}
        equal = {(i, j) for i, j in distances if self._contents[i] == self._contents[j] != b""}
        keys = {pair: self._key(*pair) for pair in distances if pair not in equal}
        values = self._store.get_all("match", keys.values())
        found = {pair: Match(MatchKind.IDENTICAL, distances[pair], transform=WHOLE) for pair in equal}
        known = {pair: values[key] for pair, key in keys.items() if key in values}
        return found | {pair: Match.unpack(each, distances[pair]) if each else None for pair, each in known.items()}

    def _remember(self, compared: Sequence[tuple[int, int, Match | None]]) -> None:
        """Store the results of pairs whose files have not changed."""
        if not self._contents:
            return
        rows = {row for i, j, _ in compared for row in (i, j)}
        held = self._store.contents([self.paths[row] for row in rows])
        same = {row for row in rows if held.get(self.paths[row]) == self._contents[row]}
        new = [(self._key(i, j), match.pack() if match else b"") for i, j, match in compared if {i, j} <= same]
        self._store.keep_all("match", new)

    def _key(self, i: int, j: int) -> bytes:
        return self._contents[i] + self._contents[j]  # in order: the first of a match is not its second

    def _note(self, pair: tuple[int, int], match: Match | None) -> None:
        self.compared.add(pair)
        if match:
            self.matches[pair] = match

    def forget_pictures(self) -> None:
        """Free the memory of pictures; matches stay, and pictures that are needed later are read again."""
        self._pictures.clear()
        self._unreadable.clear()
        self._with_keypoints.clear()

    def verify(self, graph: csr_matrix, vectors: np.ndarray | None = None) -> csr_matrix:
        """Keep the edges of a neighbour graph that join files showing one picture, up to `crop`.

        Parameters
        ----------
        graph : (n, n) CSR, symmetric, cosine distances
        vectors : (n, d) float32, unit norm; with them, files of small groups are also compared with near ones beyond
            the graph

        Returns
        -------
        (n, n) CSR, symmetric; distances, diagonal and explicit zeros included. An edge found beyond the graph has the
        graph's largest distance
        """
        upper = triu(graph, k=1).tocoo()
        order = np.lexsort((upper.col, upper.row, upper.data))
        candidates = [(int(upper.row[k]), int(upper.col[k]), float(upper.data[k])) for k in order]
        return edges_graph(join(self, candidates, vectors), graph.shape[0])

    def _read(self, indices: Sequence[int]) -> None:
        """Read the pictures that are not in memory yet."""
        missing = [k for k in indices if k not in self._pictures and k not in self._unreadable]
        read = partial(_read, self._thumbnails)
        found = run_jobs(read, [self.paths[k] for k in missing], self.num_workers, few=FEW_PICTURES)
        with self._bar(len(missing), "Reading candidates", "images") as bar:
            for k, pickled in zip(missing, found, strict=True):
                if self.losses.note(pickled, self.paths[k]):
                    self._pictures.put(k, pickled)
                else:  # it was readable a moment ago; it is no candidate now
                    self._unreadable.add(k)
                bar.update()

    def _bar(self, total: int, description: str, unit: str):
        """What counts pictures or pairs; no bar of its own for a few."""
        is_told = isinstance(self.progress, Phases) or (self.progress and total >= WORTH_FORKING)
        return progress_bar(is_told and self.progress, total, description, unit)


def read_picture(path: Path, thumbnails: Path | None = None) -> Picture:
    """A file's picture as confirmation sees it; also writes its thumbnail. May raise UnreadableImage."""
    return picture_of(*read_with_thumbnail(path, thumbnails), rounding_steps(path))


@job
def _read(thumbnails: Path | None, path: Path) -> bytes:
    """A pickled Picture."""
    picture = read_picture(path, thumbnails)
    for found in ("squares", "plain", "drawn", "coarse", "striped"):
        getattr(picture, found)  # found now, in this process, and kept
    return pickle.dumps(picture, pickle.HIGHEST_PROTOCOL)


@job
def _find_keypoints(pictures: Spool, k: int) -> bytes:
    """A pickled Picture with its keypoints."""
    picture = pictures.get(k)
    picture.keypoints  # noqa: B018 - found now, in this process, and kept
    return pickle.dumps(picture, pickle.HIGHEST_PROTOCOL)


class Best(NamedTuple):
    """The best match of two files so far, and how well they agree in it, up to ALL."""

    match: Match | None = None
    score: float = 0.0

    @property
    def is_settled(self) -> bool:
        return self.score > ENOUGH or (self.match is not None and self.match.kind in SETTLED)


@job
def _compare_whole(pictures: Spool, given: tuple[Path, Path, int, int, float]) -> Best:
    """Compare two files by their data, then as whole pictures."""
    *paths, i, j, distance = given
    first, second = pictures.get(i), pictures.get(j)
    same = _same_data(first, second, *paths, distance)
    return Best(same, ALL) if same else match_whole(first, second, distance)


@job
def _compare_closely(pictures: Spool, given: tuple[Path, Path, int, int, float, Best]) -> Best:
    """Compare two files also where one shows a part of the other."""
    *_, i, j, distance, best = given
    return match_closely(pictures.get(i), pictures.get(j), distance, best)


def _same_data(first: Picture, second: Picture, path: Path, other: Path, distance: float) -> Match | None:
    """The match of two files with the same bytes or, decoded, the same pixels; None if both differ."""
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


def match_pictures(first: Picture, second: Picture, distance: float = 0.0) -> Match | None:
    """The match of two pictures, or None where they are not one picture."""
    best = match_whole(first, second, distance)
    return (best if best.is_settled else match_closely(first, second, distance, best)).match


def match_whole(first: Picture, second: Picture, distance: float) -> Best:
    """Compare two pictures as wholes: saved again, turned, mirrored, framed; no keypoints are found for it."""
    if match := match_resaved(first, second, distance):
        return Best(match, ALL)
    if first.striped or second.striped:  # any two of them would agree
        return Best(None, ALL)
    return _best_of(whole_transforms(first, second), first, second, distance, Best())


def match_closely(first: Picture, second: Picture, distance: float, best: Best) -> Best:
    """Compare two pictures by what their keypoints suggest as well; None as match where they are not one picture."""
    best = _best_of(keypoint_transforms(first, second), first, second, distance, best)
    return best if best.match else Best(match_coarse(first, second, distance))


def _best_of(transforms: Iterable[np.ndarray], first: Picture, second: Picture, distance: float, best: Best) -> Best:
    """The best match by any of some transforms, or the one before."""
    for transform in transforms:
        frame = lay(first, second, transform)
        overlay = compare(first, second, frame, AGREEING)
        if overlay is None:
            continue
        if overlay.detail < 0.95 and (finer := refine(frame)) is not frame:
            finer_overlay = compare(first, second, finer)
            if finer_overlay.detail > overlay.detail:
                frame, overlay = finer, finer_overlay
        score = overlay.detail + overlay.agreement
        if score > best.score and (match := judge(first, second, frame, overlay, distance)):
            best = Best(match, score)
        if best.is_settled:
            break
    return best


@dataclass(frozen=True, eq=False)
class Comparison:
    """How two files compare, step by step.

    pictures : both, as confirmation sees them
    points, others : (k, 2) unit coordinates, in the first and in the second, of keypoints that look alike
    fits : (k,) bool, those that the best transform brings onto each other
    frame : both pictures, laid on each other by it
    likeness : (rows, columns) correlation of fine detail there, block by block; nan where there is none
    overlay : what was measured there
    match : the verdict; None = not one picture
    """

    pictures: tuple[Picture, Picture]
    points: np.ndarray
    others: np.ndarray
    fits: np.ndarray
    frame: Frame
    likeness: np.ndarray
    overlay: Overlay
    match: Match | None


def explain(path: Path, other: Path) -> Comparison:
    """Compare two files, and show by which steps; what can't be read raises UnreadableImage."""
    first, second = read_picture(path), read_picture(other)
    transforms = [*whole_transforms(first, second), *keypoint_transforms(first, second)] or [np.eye(3)]
    frames = [refine(lay(first, second, transform)) for transform in transforms]
    overlays = [compare(first, second, frame) for frame in frames]
    best = max(range(len(frames)), key=lambda k: overlays[k].detail + overlays[k].agreement)
    found = correspondences(first, second, frames[best].first_to_second)
    match = match_pictures(first, second)
    return Comparison((first, second), *found, frames[best], likeness(frames[best]), overlays[best], match)
