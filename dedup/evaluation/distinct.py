"""What is different in a folder: vectors in, a file of each duplicate and the nearest pairs of different pictures out.

vectors (n, d)  ->  rows (m,), distances (m,) of the m nearest pairs among these
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from dedup.matching.kinds import MatchKind

Confirm = Callable[[list[tuple[int, int, float]]], list[tuple[int, int]]]  # nearest pairs -> those that are copies


def nearest_pairs(vectors: np.ndarray, count: int, block: int = 2048) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The `count` nearest of all pairs: rows i < j and cosine distances, rising; memory is block x block and count."""
    best = (np.zeros(0, int), np.zeros(0, int), np.zeros(0, np.float32))
    for top in range(0, len(vectors), block):
        for left in range(top, len(vectors), block):
            distances = 1 - vectors[top : top + block] @ vectors[left : left + block].T  # (<= block, <= block)
            if top == left:
                distances[np.tril_indices(len(distances))] = np.inf
            nearest = np.argpartition(distances, min(count, distances.size - 1), axis=None)[:count]
            i, j = np.divmod(nearest[np.isfinite(distances.flat[nearest])], distances.shape[1])
            fresh = i + top, j + left, distances[i, j].clip(0)
            best = tuple(np.concatenate(parts) for parts in zip(best, fresh, strict=True))
            order = np.lexsort((best[1], best[0], best[2]))[:count]
            best = tuple(part[order] for part in best)
    return best


def distinct_pairs(vectors: np.ndarray, confirm: Confirm) -> tuple[np.ndarray, np.ndarray]:
    """Leave one file of each duplicate; rows (m,) of what is left, and the distances of its m nearest pairs, rising.

    confirm : which of some pairs (i, j, distance) are copies. Asked again until there are none among the nearest
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    kept = np.arange(len(vectors))
    while True:
        i, j, distances = nearest_pairs(vectors[kept], len(kept))
        copies = confirm([(int(kept[a]), int(kept[b]), float(d)) for a, b, d in zip(i, j, distances, strict=True)])
        if not copies:
            return kept, distances
        first, second = np.array(copies).T
        graph = coo_matrix((np.ones(len(copies)), (first, second)), shape=(len(vectors),) * 2)
        labels = connected_components(graph, directed=False)[1]
        kept = kept[np.unique(labels[kept], return_index=True)[1]]


def confirmer(paths: list[Path], num_workers: int, progress: bool) -> Confirm:
    """Which pairs geometry confirms; a picture that contains the other counts as a copy as well."""
    from dedup.matching.confirmation import Verifier

    verifier = Verifier(paths, num_workers, progress)

    def confirm(pairs: list[tuple[int, int, float]]) -> list[tuple[int, int]]:
        verifier.match_many(pairs)
        matches = ((i, j, verifier.match(i, j, distance)) for i, j, distance in pairs)
        return [(i, j) for i, j, match in matches if match is not None and match.kind is not MatchKind.SIMILAR]

    return confirm
