"""Confirmation: pairs that the encoder holds for copies in, those that geometry confirms out.

paths (n,), graph (n, n) CSR of candidates  ->  graph (n, n) CSR of confirmed edges, a Match for each compared pair

A pair is laid on each other by every transform that its squeezed squares or its keypoints suggest; what decides is
whether the pictures then agree, down to fine detail, over the whole overlap.
"""

from __future__ import annotations

import filecmp
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from scipy.cluster.hierarchy import DisjointSet
from scipy.sparse import csr_matrix, triu
from scipy.sparse.csgraph import connected_components
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from dedup.alignment import keypoint_transforms, whole_transforms
from dedup.dataset import load_image
from dedup.frames import lay, refine
from dedup.judgement import Match, judge
from dedup.overlay import compare
from dedup.pictures import Picture, read_picture
from dedup.workers import Lost, run_jobs

JOINING = ("identical", "same_pixels", "copy", "crop")
FORKS = sys.platform == "linux"  # a forked process has the pictures already; elsewhere they would have to be sent
WORTH_FORKING = 48  # pairs
FEW = 8  # files of a group that may have lost its way to a larger one
LARGE = 4  # what a failed pair counts between two groups of more than FEW, which had many ways to find each other
AT_ONCE = 4  # pairs of two groups that are compared in one round, after two rounds of one
TRIES = 20  # pairs compared between two groups, none of which joined them, after which the rest is left


class Verifier:
    """Compares pairs of files and remembers what came out.

    Parameters
    ----------
    paths : n files
    num_workers : processes that read and compare; 0 = this one
    progress : show bars on stderr

    Attributes
    ----------
    matches : Match of pairs (i, j), i < j, compared so far; refuted pairs are absent
    """

    def __init__(self, paths: Sequence[Path], num_workers: int, progress: bool = True):
        self.paths, self.num_workers, self.progress = list(paths), num_workers, progress
        self.matches: dict[tuple[int, int], Match] = {}
        self._compared: set[tuple[int, int]] = set()
        self._pictures: dict[int, Picture | None] = {}
        cv2.setNumThreads(1)  # OpenCV's own threads do not survive a fork

    def match(self, i: int, j: int, distance: float) -> Match | None:
        """The match of files i and j, in any order; `first` in it is the lower of both. None: not one picture."""
        self.match_many([(i, j, distance)])
        return self.matches.get((min(i, j), max(i, j)))

    def match_many(self, pairs: Sequence[tuple[int, int, float]]) -> None:
        """Compare pairs (i, j, cosine distance) that have not been compared yet."""
        pairs = [(min(i, j), max(i, j), d) for i, j, d in pairs if i != j]
        pairs = [pair for pair in dict.fromkeys(pairs) if pair[:2] not in self._compared]
        self._read(sorted({k for i, j, _ in pairs for k in (i, j)}))
        workers = self.num_workers if FORKS and len(pairs) >= WORTH_FORKING else 0
        with threadpool_limits(1):
            for (i, j, _), match in zip(pairs, run_jobs(self._compare, pairs, workers), strict=True):
                self._compared.add((i, j))
                if isinstance(match, Match):
                    self.matches[i, j] = match

    def forget_pictures(self) -> None:
        """Free the memory that pictures take; matches stay, and what is compared later is read again."""
        self._pictures.clear()

    def verify(self, graph: csr_matrix) -> csr_matrix:
        """Keep the edges of a neighbour graph that join files showing one picture, up to `crop`.

        Nearest pairs come first. A pair whose files are joined already through others is not compared, nor one between
        two groups of files of which TRIES pairs did not join them: the groups come out the same, with far fewer pairs.

        Parameters
        ----------
        graph : (n, n) CSR, symmetric, cosine distances

        Returns
        -------
        (n, n) CSR, symmetric; distances, diagonal and explicit zeros included
        """
        upper = triu(graph, k=1).tocoo()
        order = np.lexsort((upper.col, upper.row, upper.data))
        candidates = [(int(upper.row[k]), int(upper.col[k]), float(upper.data[k])) for k in order]
        self._read(sorted({k for i, j, _ in candidates for k in (i, j)}))
        waiting, rounds = candidates, 0
        edges: list[tuple[int, int, float]] = []
        with tqdm(total=len(waiting), desc="Confirming", unit=" pairs", disable=not self.progress) as bar:
            while waiting:
                groups = self._groups(edges)
                rounds += 1
                now, later = self._choose(waiting, groups, at_once=1 if rounds <= 2 else AT_ONCE)
                self.match_many(now)
                edges += [pair for pair in now if (m := self.matches.get(pair[:2])) and m.kind in JOINING]
                bar.update(len(waiting) - len(later))
                waiting = later
        edges += self._through_hubs(edges, candidates)
        return self._graph(edges, graph)

    def _through_hubs(self, edges: list, candidates: list) -> list[tuple[int, int, float]]:
        """Edges found by comparing best connected files: of two groups, and files left in few with those of a group.

        A hard copy may be near only to other hard copies of a picture, and show its original all the same.
        """
        groups, degrees = self._groups(edges), Counter(k for edge in edges for k in edge[:2])
        sizes = np.bincount(groups)
        hubs: dict[int, int] = {}
        for k in sorted(degrees, key=lambda k: (-degrees[k], k)):
            hubs.setdefault(int(groups[k]), k)
        settled = {(k, int(groups[m - k])) for pair in self.matches if (m := sum(pair)) for k in pair}
        wanted: dict[tuple[int, int], float] = {}
        for i, j, distance in candidates:
            a, b = int(groups[i]), int(groups[j])
            if a != b and a in hubs and b in hubs:
                wanted.setdefault((hubs[a], hubs[b]), distance)
            for k, near in ((i, b), (j, a)):
                if sizes[groups[k]] <= FEW and sizes[groups[k]] < sizes[near] and (k, near) not in settled:
                    wanted.setdefault((k, hubs[near]), distance)
        pairs = [(min(pair), max(pair), distance) for pair, distance in wanted.items()]
        self.match_many(pairs)
        return [pair for pair in pairs if (m := self.matches.get(pair[:2])) and m.kind in JOINING]

    def _groups(self, edges: list[tuple[int, int, float]]) -> np.ndarray:
        """(n,) int, equal for files that edges join."""
        n = len(self.paths)
        rows, columns = [i for i, _, _ in edges], [j for _, j, _ in edges]
        return connected_components(csr_matrix((np.ones(len(edges), bool), (rows, columns)), shape=(n, n)))[1]

    def _choose(self, waiting: list, groups: np.ndarray, at_once: int) -> tuple[list, list]:
        """The pairs to compare next, and those to look at again afterwards.

        Pairs are chosen as if each would join its groups, so that n files of one picture cost little more than n pairs;
        of two groups that did not join at first, `at_once` pairs, so that there are few rounds.
        """
        tries: Counter = Counter()
        sizes = np.bincount(groups)
        for i, j in self._compared:
            contained = (match := self.matches.get((i, j))) is not None and match.kind == "contains"
            settled = contained and min(sizes[groups[i]], sizes[groups[j]]) == 1  # it comes with the other's cluster
            large = min(sizes[groups[i]], sizes[groups[j]]) > FEW
            tries[_ordered(groups[i], groups[j])] += TRIES if settled else LARGE if large else 1
        hopeful, chosen = DisjointSet(set(groups.tolist())), Counter()
        now, later = [], []
        for i, j, distance in waiting:
            both = _ordered(int(groups[i]), int(groups[j]))
            if both[0] == both[1] or tries[both] + chosen[both] >= TRIES:
                continue
            take = hopeful.merge(*both) or 0 < chosen[both] < at_once
            chosen[both] += take
            (now if take else later).append((i, j, distance))
        return now, later

    def _graph(self, edges: list[tuple[int, int, float]], graph: csr_matrix) -> csr_matrix:
        n = graph.shape[0]
        rows, columns = np.array([e[:2] for e in edges], int).reshape(-1, 2).T
        distances = np.array([e[2] for e in edges], np.float32)
        diagonal = np.arange(n)
        confirmed = csr_matrix(
            (
                np.r_[distances, distances, np.zeros(n, np.float32)],
                (np.r_[rows, columns, diagonal], np.r_[columns, rows, diagonal]),
            ),
            shape=(n, n),
        )
        confirmed.sort_indices()
        return confirmed

    def _read(self, indices: Sequence[int]) -> None:
        """Read the pictures that are not in memory yet."""
        missing = [k for k in indices if k not in self._pictures]
        few = len(missing) < 16
        jobs = run_jobs(_read_job, [self.paths[k] for k in missing], 0 if few else self.num_workers)
        bar = tqdm(total=len(missing), desc="Reading candidates", unit=" images", disable=few or not self.progress)
        with bar:
            for k, picture in zip(missing, jobs, strict=True):
                self._pictures[k] = None if isinstance(picture, Lost) else picture
                bar.update()

    def _compare(self, pair: tuple[int, int, float]) -> Match | None:
        i, j, distance = pair
        first, second = self._pictures[i], self._pictures[j]
        if first is None or second is None:
            return None
        return _same_data(first, second, self.paths[i], self.paths[j], distance) or match_pictures(
            first, second, distance
        )


def _ordered(a: int, b: int) -> tuple[int, int]:
    return (a, b) if a < b else (b, a)


def _read_job(path: Path) -> Picture | None:
    try:
        picture = read_picture(path)
        picture.squares, picture.keypoints  # noqa: B018 - found now, in this process, and kept
        return picture
    except (ValueError, OSError):  # it was readable a moment ago; then it is no candidate now
        return None


def _same_data(first: Picture, second: Picture, path: Path, other: Path, distance: float) -> Match | None:
    """Whether two files hold the same bytes or, decoded, the same pixels."""
    if (first.width, first.height) != (second.width, second.height) or not np.array_equal(first.grey, second.grey):
        return None
    whole = tuple(np.eye(3).ravel().tolist())
    try:
        if filecmp.cmp(path, other, shallow=False):
            return Match("identical", distance, transform=whole)
        if np.array_equal(np.asarray(load_image(path)), np.asarray(load_image(other))):
            return Match("same_pixels", distance, transform=whole)
    except (ValueError, OSError):
        pass
    return None


def match_pictures(first: Picture, second: Picture, distance: float = 0.0) -> Match | None:
    """Compare two pictures by every likely transform; the best match, or None where they are not one picture."""
    best, best_score = None, 0.0
    for transform in _transforms(first, second):
        frame = lay(first, second, transform)
        overlay = compare(first, second, frame)
        if overlay.agreement < 0.5:
            continue
        if overlay.detail < 0.95:
            finer = refine(frame)
            finer_overlay = compare(first, second, finer)
            if finer_overlay.detail > overlay.detail:
                frame, overlay = finer, finer_overlay
        score = overlay.detail + overlay.agreement
        if score > best_score and (match := judge(first, second, frame, overlay, distance)):
            best, best_score = match, score
        if best and best_score > 1.9:
            break
    return best


def _transforms(first: Picture, second: Picture):
    yield from whole_transforms(first, second)
    yield from (transform for transform, _ in keypoint_transforms(first, second))
