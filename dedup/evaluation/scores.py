"""Scores of distances and of groupings. Input: vectors or labels, and the truth. Output: figures.

vectors (n, d), groups (n,)         ->  PairCurve(thresholds (k,), right (k,), wrong (k,))
labels (n,), stays (n,), Truth      ->  Score: pairs, clusters, removals, recall by edit
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROWS_AT_ONCE = 256  # rows compared with all others at a time


@dataclass(frozen=True)
class Truth:
    """Which files are copies of one picture.

    paths : relative to the folder of images, posix
    groups : (n,) int, equal for copies of one picture
    edits, levels : what was done to each file, and how hard the copy is to find; "original" for the original
    """

    paths: list[str]
    groups: np.ndarray
    edits: list[str]
    levels: list[str]

    @classmethod
    def read(cls, path: Path) -> Truth:
        """Read a CSV file with the columns path, group, edit, level."""
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        groups = np.unique([row["group"] for row in rows], return_inverse=True)[1].astype(np.int64)
        return cls([row["path"] for row in rows], groups, [row["edit"] for row in rows], [row["level"] for row in rows])

    @classmethod
    def of(cls, paths: Sequence[Path], images_dir: Path) -> Truth:
        """Rows of a folder's truth.csv for some of its files, in their order; a file without a row is an original."""
        table = images_dir / "truth.csv"
        truth = cls.read(table) if table.exists() else cls([], np.empty(0, np.int64), [], [])
        known = dict(zip(truth.paths, zip(truth.groups, truth.edits, truth.levels, strict=True), strict=True))
        names = [path.relative_to(images_dir).as_posix() for path in paths]
        rows = [known.get(name, (len(known) + k, "original", "original")) for k, name in enumerate(names)]
        groups, edits, levels = zip(*rows, strict=True) if rows else ((), (), ())
        return cls(names, np.array(groups, np.int64), list(edits), list(levels))

    @property
    def has_copies(self) -> bool:
        """Whether any two files are known to show one picture."""
        return len(np.unique(self.groups)) < len(self.groups)


@dataclass(frozen=True)
class Score:
    """Scores of a grouping; shares in [0, 1].

    precision, recall, f1 : over all pairs of files that were put together
    cluster_precision, cluster_recall, cluster_f1 : B-cubed (Bagga and Baldwin, LREC 1998), which counts every file
        once, so that large clusters do not outweigh small ones as they do in pairs
    removed : files that would go
    wrong_removals : of these, files whose picture no file that stays in their cluster shows
    lost_photos : pictures of which no file would stay
    recall_by_level, recall_by_edit : share of such copies that are grouped with their original
    """

    precision: float
    recall: float
    f1: float
    cluster_precision: float
    cluster_recall: float
    cluster_f1: float
    removed: int
    wrong_removals: int
    lost_photos: int
    recall_by_level: Mapping[str, float]
    recall_by_edit: Mapping[str, float]


def score_grouping(truth: Truth, labels: np.ndarray, stays: np.ndarray | None = None) -> Score:
    """Compare a grouping with the truth.

    labels : (n,) int, a cluster's number for each of truth.paths; negative = alone
    stays : (n,) bool, which files would not be removed; None, or none of a cluster = its first file stays
    """
    n = len(truth.paths)
    labels = np.where(labels < 0, np.max(labels, initial=0) + 1 + np.arange(n), labels)
    _, firsts, clusters = np.unique(labels, return_index=True, return_inverse=True)
    groups = truth.groups
    cells, cell_sizes = np.unique(clusters * n + groups, return_inverse=True, return_counts=True)[1:]
    shared = cell_sizes[cells]  # (n,) files of a file's picture in its cluster, itself included
    cluster_sizes, group_sizes = np.bincount(clusters), np.bincount(groups)
    together = _pairs(cell_sizes)
    precision, recall = _ratio(together, _pairs(cluster_sizes)), _ratio(together, _pairs(group_sizes))
    by_cluster = float((shared / cluster_sizes[clusters]).mean())
    by_group = float((shared / group_sizes[groups]).mean())
    stays = np.zeros(n, bool) if stays is None else stays.copy()
    left = np.bincount(clusters, weights=stays) == 0
    stays[firsts[left]] = True
    return Score(
        *(precision, recall, _harmonic_mean(precision, recall)),
        *(by_cluster, by_group, _harmonic_mean(by_cluster, by_group)),
        removed=int((~stays).sum()),
        wrong_removals=int((~stays & ~np.isin(cells, cells[stays])).sum()),
        lost_photos=len(np.unique(groups)) - len(np.unique(groups[stays])),
        recall_by_level=_recall_by(truth.levels, truth, clusters),
        recall_by_edit=_recall_by(truth.edits, truth, clusters),
    )


def _pairs(sizes: np.ndarray) -> int:
    return int((sizes * (sizes - 1) // 2).sum())


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


def _harmonic_mean(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0


def _recall_by(names: list[str], truth: Truth, clusters: np.ndarray) -> dict[str, float]:
    """Share of the copies of each name that are in their original's cluster."""
    home = {truth.groups[i]: clusters[i] for i, level in enumerate(truth.levels) if level == "original"}
    hits: dict[str, list[bool]] = {}
    for name, level, group, cluster in zip(names, truth.levels, truth.groups, clusters, strict=True):
        if level != "original":
            hits.setdefault(name, []).append(bool(home.get(group) == cluster))
    return {name: sum(hits[name]) / len(hits[name]) for name in sorted(hits)}


def grouping_of(clusters: Iterable, images_dir: Path, truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) int and stays (n,) bool of truth.paths, as `score_grouping` takes them, from a list of `Cluster`."""
    rows = {path: row for row, path in enumerate(truth.paths)}
    labels, stays = np.full(len(rows), -1), np.ones(len(rows), bool)
    for cluster in clusters:
        for member in (cluster.keeper, *cluster.members):
            row = rows.get(member.path.relative_to(images_dir).as_posix())
            if row is not None:
                labels[row], stays[row] = cluster.number, not member.removable
    return labels, stays


@dataclass(frozen=True)
class PairCurve:
    """Pairs found within each distance at which a pair of copies lies.

    thresholds : (k,) cosine distances, rising
    right, wrong : (k,) pairs of copies, and of different pictures, within the threshold, inclusive
    copies : pairs of copies in all
    """

    thresholds: np.ndarray
    right: np.ndarray
    wrong: np.ndarray
    copies: int

    @property
    def precision(self) -> np.ndarray:
        return self.right / (self.right + self.wrong)

    @property
    def recall(self) -> np.ndarray:
        return self.right / max(self.copies, 1)

    @property
    def average_precision(self) -> float:
        """Precision averaged over recall, in steps, without interpolation; 0 when there are no copies."""
        return float(np.sum(np.diff(self.recall, prepend=0) * self.precision))

    def recall_at(self, precision: float) -> float:
        """The highest recall of a threshold that has at least this precision; 0 where none has."""
        return float(self.recall[self.precision >= precision].max(initial=0))

    def wrong_at(self, recall: float) -> int:
        """Pairs of different pictures within the least threshold that has at least this recall; 0 without copies."""
        return int(self.wrong[self.recall >= recall].min(initial=self.wrong.max(initial=0)))


def pair_curve(vectors: np.ndarray, groups: np.ndarray) -> PairCurve:
    """Count the right and the wrong among all pairs, nearest first. Exact; equal distances count as one step.

    Parameters
    ----------
    vectors : (n, d) float32, unit norm; or (n, views, d), where the nearest views of two files count. Hashes fit in as
        +-1 / sqrt(bits): cosine distance = 2 x share of unequal bits
    groups : (n,) int, equal for copies of one picture

    Raises
    ------
    ValueError : vectors and groups of different length
    """
    if len(vectors) != len(groups):
        raise ValueError(f"one group a vector, got {len(vectors)} vectors and {len(groups)} groups")
    copies = [np.zeros(0, np.float32)]
    for group in np.flatnonzero(np.bincount(groups, minlength=1) > 1):
        members = vectors[groups == group]  # (size, ...)
        copies.append(_distances(members, members)[np.triu_indices(len(members), 1)])
    found, counts = np.unique(np.concatenate(copies), return_counts=True)
    wrong = np.zeros(len(found) + 1, np.int64)  # by the first threshold that reaches the pair; last: beyond all
    for top in range(0, len(vectors), ROWS_AT_ONCE):
        rows = slice(top, top + ROWS_AT_ONCE)
        distances = _distances(vectors[rows], vectors[top:])  # (<= ROWS_AT_ONCE, n - top)
        different = np.triu(groups[rows, None] != groups[None, top:])
        wrong += np.bincount(np.searchsorted(found, distances[different]), minlength=len(wrong))
    return PairCurve(found, counts.cumsum(), wrong[:-1].cumsum(), int(counts.sum()))


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine distances (len(a), len(b)) of the nearest views."""
    if a.ndim == 2:
        return 1 - a @ b.T
    views = [1 - a[:, i] @ b[:, j].T for i in range(a.shape[1]) for j in range(b.shape[1])]
    return np.minimum.reduce(views)
