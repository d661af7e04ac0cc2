"""Which pairs are worth comparing. Input: candidates. Output: the edges that join files showing one picture.

candidates [(i, j, distance)], nearest first  ->  edges [(i, j, distance)] that were confirmed

A pair is not compared if its files are joined already through others; if TRIES pairs between its two groups of files
did not join them; or if both groups were compared with OTHERS nearer ones. The groups come out the same, with far fewer
pairs: their number grows as n, the number of files.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import cv2
import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from dedup.matching.kinds import MatchKind
from dedup.matching.registration import outline
from dedup.workers import attempt, step

if TYPE_CHECKING:
    from dedup.matching.classification import Match
    from dedup.matching.confirmation import Verifier

TRIES = 20  # pairs compared between two groups; if none of them joined the groups, the others are skipped
FEW = 8  # files; a group with no more than these gets more tries against a larger one
FAILED_LARGE = 4  # tries that a failed pair counts as, between two groups of more than FEW files
OTHERS = 8  # nearest groups that a group is compared with; a further group only if that one was compared with fewer
AT_ONCE = 4  # pairs of two groups that are compared in one round; in each of the first two rounds it is one
CROWD = 3  # least files of a group that is searched for beyond the graph: of many copies some lie far from the others
HUBS, BEYOND = 2, 1.6  # nearest groups tried at the end; how far they may lie, times the farthest candidate's distance

Edge = tuple[int, int, float]  # rows i < j, cosine distance


def join(verifier: Verifier, candidates: Sequence[Edge], vectors: np.ndarray | None) -> list[Edge]:
    """Compare candidates, nearest first, in rounds, as long as that can change the groups.

    vectors : (n, d) float32, unit norm; None = compare candidates alone
    """
    waiting, rounds, n = list(candidates), 0, len(verifier.paths)
    edges: list[Edge] = []
    while waiting:
        rounds += 1
        now, waiting = _choose(verifier, waiting, _groups(edges, n), at_once=1 if rounds <= 2 else AT_ONCE)
        edges += _confirmed(verifier, now)
    edges += _confirmed(verifier, _through_hubs(verifier, edges, candidates, vectors))
    return without_bridges(edges, verifier)


def edges_graph(edges: Sequence[Edge], n: int) -> csr_matrix:
    """Edges as (n, n) CSR, symmetric, with explicit zeros and the diagonal."""
    rows, columns = np.array([edge[:2] for edge in edges], int).reshape(-1, 2).T
    distances, diagonal = np.array([edge[2] for edge in edges], np.float32), np.arange(n)
    values = np.r_[distances, distances, np.zeros(n, np.float32)]
    graph = csr_matrix((values, (np.r_[rows, columns, diagonal], np.r_[columns, rows, diagonal])), shape=(n, n))
    graph.sort_indices()
    return graph


def _confirmed(verifier: Verifier, pairs: list[Edge]) -> list[Edge]:
    verifier.match_many(pairs)
    return [pair for pair in pairs if (match := verifier.matches.get(pair[:2])) and match.kind.joins]


def without_bridges(edges: list[Edge], verifier: Verifier) -> list[Edge]:
    """Drop edges by which a collage would join two of its parts: it shows a crop of each.

    The edge to a part is kept if the part lies where the largest picture in the collage lies; elsewhere only if the
    part is joined with nothing else. If the collage has no copies of its own and all its parts are joined with that
    largest one already, no edge is kept: the collage comes into their cluster as what contains them. An edge whose
    match can't be laid out is dropped, and noted as lost.
    """
    matches = verifier.matches

    def place_of(pair: tuple[int, int]) -> tuple[int, int, np.ndarray] | None:
        return verifier.losses.note(attempt(_placed, pair, matches[pair]), *(verifier.paths[row] for row in pair))

    largest: dict[int, tuple[float, int, np.ndarray]] = {}  # the largest picture in a file: its share, row and place
    for pair, match in sorted(matches.items(), key=lambda found: (found[1].distance, found[0])):
        if match.kind == MatchKind.CONTAINS and (found := place_of(pair)):
            outer, inner, place = found
            share = min(match.first_coverage, match.second_coverage)
            if share > largest.get(outer, (0.0,))[0]:
                largest[outer] = share, inner, place
    kept, parts, beside = [], defaultdict(list), defaultdict(list)
    for edge in edges:
        found = place_of(edge[:2]) if matches[edge[:2]].kind == MatchKind.CROP else (None, None, None)
        if found is None:
            continue
        outer, part, place = found
        if outer not in largest:
            kept.append(edge)
        else:
            is_beside = cv2.pointPolygonTest(largest[outer][2], place.mean(axis=0).tolist(), measureDist=False) < 0
            (beside if is_beside else parts)[outer].append((edge, part))
    groups = _groups(kept, len(verifier.paths))
    sizes = np.bincount(groups)
    for outer, found in parts.items():
        home = groups[largest[outer][1]]
        if sizes[groups[outer]] > 1 or any(groups[part] != home for _, part in found):
            kept += [edge for edge, _ in found]
    for found in beside.values():
        kept += [edge for edge, part in found if len(found) == 1 and sizes[groups[part]] == 1]
    return kept


@step
def _placed(pair: tuple[int, int], match: Match) -> tuple[int, int, np.ndarray]:
    """Of two files: the one that shows the other, the other, and where that lies in the first, (4, 2) corners."""
    to_second = np.reshape(match.transform, (3, 3))
    if match.first_coverage < match.second_coverage:
        return *pair, outline(np.linalg.inv(to_second))
    return *pair[::-1], outline(to_second)


def _groups(edges: Sequence[Edge], n: int) -> np.ndarray:
    """(n,) int, equal for files that edges join."""
    return connected_components(edges_graph(edges, n) if edges else csr_matrix((n, n)))[1]


def _ordered(a: int, b: int) -> tuple[int, int]:
    return (a, b) if a < b else (b, a)


def _choose(verifier: Verifier, waiting: list[Edge], groups: np.ndarray, at_once: int) -> tuple[list, list]:
    """The pairs to compare next, and those to consider again afterwards.

    Each chosen pair is expected to join its groups, so that n files of one picture cost little more than n pairs.
    Between two groups, up to `at_once` pairs are chosen, so that there are few rounds.
    """
    from scipy.cluster.hierarchy import DisjointSet  # here, as it takes long to import

    tries: Counter = Counter()
    others: defaultdict[int, set[int]] = defaultdict(set)  # that a group was compared with
    sizes, groups = np.bincount(groups).tolist(), groups.tolist()
    for i, j in verifier.compared:
        both, fewer = _ordered(groups[i], groups[j]), min(sizes[groups[i]], sizes[groups[j]])
        contained = (match := verifier.matches.get((i, j))) is not None and match.kind == MatchKind.CONTAINS
        settled = contained and fewer == 1  # it comes into the other's cluster
        tries[both] += TRIES if settled else FAILED_LARGE if fewer > FEW else 1
        if both[0] != both[1]:
            others[both[0]].add(both[1])
            others[both[1]].add(both[0])
    hopeful, chosen = DisjointSet(set(groups)), Counter()
    now, later = [], []
    for i, j, distance in waiting:
        both = _ordered(groups[i], groups[j])
        if both[0] == both[1] or tries[both] + chosen[both] >= TRIES:
            continue
        if both not in tries and all(len(others[group]) >= OTHERS for group in both):
            continue
        take = hopeful.merge(*both) or 0 < chosen[both] < at_once
        chosen[both] += take
        (now if take else later).append((i, j, distance))
    return now, later


def _through_hubs(
    verifier: Verifier, edges: Sequence[Edge], candidates: Sequence[Edge], vectors: np.ndarray | None
) -> list[Edge]:
    """Pairs with the best connected file of a group, its hub: of two hubs, and of a hub and a file of a small group.

    A strongly edited copy may be near only to other such copies of a picture, and still show its original.
    """
    groups, degrees = _groups(edges, len(verifier.paths)), Counter(k for edge in edges for k in edge[:2])
    sizes, groups = np.bincount(groups).tolist(), groups.tolist()
    hubs: dict[int, int] = {}
    for k in sorted(degrees, key=lambda k: (-degrees[k], k)):
        hubs.setdefault(groups[k], k)
    settled = {(k, groups[m - k]) for pair in verifier.matches if (m := sum(pair)) for k in pair}
    wanted: dict[tuple[int, int], float] = {}
    for i, j, distance in candidates:
        a, b = groups[i], groups[j]
        if a != b and a in hubs and b in hubs:
            wanted.setdefault(_ordered(hubs[a], hubs[b]), distance)
        for k, near in ((i, b), (j, a)):
            if sizes[groups[k]] <= FEW and sizes[groups[k]] < sizes[near] and (k, near) not in settled:
                wanted.setdefault(_ordered(k, hubs[near]), distance)
    large = np.array([k for group, k in hubs.items() if sizes[group] >= CROWD], int)
    if vectors is not None and len(large):
        farthest = candidates[-1][2]
        lost = [k for k in sorted({k for edge in candidates for k in edge[:2]}) if sizes[groups[k]] <= FEW]
        tried = np.union1d(lost, list(hubs.values())).astype(int)
        for k, hub, _ in _nearest(vectors, tried, large, BEYOND * farthest):
            if groups[k] != groups[hub] and (k, groups[hub]) not in settled:
                wanted.setdefault(_ordered(k, hub), farthest)
    return [(*pair, distance) for pair, distance in wanted.items()]


def _nearest(vectors: np.ndarray, rows: np.ndarray, hubs: np.ndarray, limit: float) -> Iterator[Edge]:
    """The HUBS nearest hubs of each row, as far as they lie within a cosine distance."""
    targets = vectors[hubs]
    for start in range(0, len(rows), 1024):
        block = rows[start : start + 1024]
        distances = 1 - vectors[block] @ targets.T  # (<= 1024, len(hubs))
        distances[block[:, None] == hubs[None]] = np.inf  # itself
        order = np.argsort(distances, axis=1, kind="stable")[:, :HUBS]
        for k, columns, near in zip(block, order, np.take_along_axis(distances, order, axis=1), strict=True):
            yield from ((int(k), int(hubs[c]), float(d)) for c, d in zip(columns, near, strict=True) if d <= limit)
