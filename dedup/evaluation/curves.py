"""How good distances are: vectors and the truth in, precision and recall over all pairs out, for every epsilon.

vectors (n, d), groups (n,)  ->  PairCurve(thresholds (k,), right (k,), wrong (k,))
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


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


def pair_curve(vectors: np.ndarray, groups: np.ndarray, block: int = 1024) -> PairCurve:
    """Count the right and the wrong among all pairs, nearest first. Exact; equal distances count as one step.

    Parameters
    ----------
    vectors : (n, d) float32, unit norm; or (n, views, d), where the nearest views of two files count. Hashes fit in as
        +-1 / sqrt(bits): cosine distance = 2 x share of unequal bits
    groups : (n,) int, equal for copies of one picture
    block : rows and columns at a time; memory is some block x block matrices and the pairs of copies

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
    wrong = np.zeros(len(found) + 1, np.int64)  # by the first threshold that reaches the pair; the last: none does
    for top in range(0, len(vectors), block):
        for left in range(top, len(vectors), block):
            distances = _distances(vectors[top : top + block], vectors[left : left + block])  # (<= block, <= block)
            different = groups[top : top + block, None] != groups[None, left : left + block]
            if top == left:
                different = np.triu(different)
            wrong += np.bincount(np.searchsorted(found, distances[different]), minlength=len(wrong))
    return PairCurve(found, counts.cumsum(), wrong[:-1].cumsum(), int(counts.sum()))


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine distances (len(a), len(b)) of the nearest views."""
    if a.ndim == 2:
        return 1 - a @ b.T
    views = [1 - a[:, i] @ b[:, j].T for i in range(a.shape[1]) for j in range(b.shape[1])]
    return np.minimum.reduce(views)
