"""Clusters: labels and confirmed pairs in, keepers and what may go for them out.

graph (n, n) CSR  ->  labels (n,), -1 = unique  ->  list[Cluster], each a keeper and its members
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from dedup.members import COVERED, Member, Pairs

if TYPE_CHECKING:
    from dedup.embeddings import Embeddings
    from dedup.verification import Match, Verifier

__all__ = ["Cluster", "Member", "build_clusters", "choose_keeper", "cluster_labels"]

BY_SIZE, BY_PLACE, BY_MATCHES = 1, 2, 1  # how many of each are tried as the keeper
ALMOST = 0.1  # share of a cluster's files that may stay for the sake of a better keeper
UNMARKED = 0.01  # share of a picture under marks that may be by chance
SAME_PLACE = 0.01  # difference of mean cosine distances that says nothing


@dataclass(frozen=True)
class Cluster:
    """Files that show one picture. members : all but the keeper, the removable ones first, then by distance and path"""

    number: int
    keeper: Member
    members: tuple[Member, ...]

    @property
    def freed(self) -> int:
        """Bytes that would be freed."""
        return sum(member.bytes for member in self.members if member.removable)


def cluster_labels(graph: csr_matrix, epsilon: float) -> np.ndarray:
    """Label what is connected, by DBSCAN (Ester et al., 1996) with two files as the least cluster.

    Parameters
    ----------
    graph : (n, n) CSR of cosine distances, symmetric; a stored zero is an exact copy, what is not stored is too far
    epsilon : cosine distance in [0, 2], inclusive

    Returns
    -------
    (n,) int, numbered by the first file of each cluster; -1 = unique
    """
    from sklearn.cluster import DBSCAN
    from sklearn.neighbors import sort_graph_by_row_values

    if not graph.shape[0]:
        return np.empty(0, int)
    by_distance = sort_graph_by_row_values(graph, copy=True, warn_when_not_sorted=False)
    nonzero = max(epsilon, np.finfo(float).tiny)  # DBSCAN refuses 0
    return DBSCAN(eps=nonzero, min_samples=2, metric="precomputed").fit(by_distance).labels_.astype(int)


def build_clusters(
    embeddings: Embeddings,
    labels: np.ndarray,
    verifier: Verifier | None,
    images_dir: Path,
    epsilon: float | None = None,
) -> list[Cluster]:
    """Choose a keeper for every cluster, and say of every other member whether it may go and why not.

    A member may go if its own match with the keeper is confirmed, the keeper shows all of it at no lower resolution,
    neither is hidden under marks, and `dedup.safeguards.why_it_stays` has nothing against it.

    Parameters
    ----------
    embeddings : of the n files below images_dir
    labels : (n,) int, -1 = unique
    verifier : whose matches join the files of a cluster; None = members within `epsilon` of the keeper may go
    epsilon : cosine distance in [0, 2]; read only without a verifier

    Returns
    -------
    list of Cluster, numbered from 1: what frees most bytes first, then by the keeper's path. Files that contain the
    picture of a cluster beside other things come with it, and always stay

    Raises
    ------
    ValueError : neither a verifier nor an epsilon
    """
    if verifier is None and epsilon is None:
        raise ValueError("without a verifier, epsilon says which members may go: give one of the two")
    pairs = Pairs(embeddings, verifier, images_dir, epsilon)
    groups = _groups(labels, verifier.matches if verifier else {})
    candidates = [keeper_candidates(pairs, group.rows) for group in groups]
    pairs.match_all(
        (row, keeper)
        for group, keepers in zip(groups, candidates, strict=True)
        for keeper in keepers
        for row in (*group.rows, *group.containers)
    )
    built = [_build(pairs, group, keepers) for group, keepers in zip(groups, candidates, strict=True)]
    built.sort(key=lambda cluster: (-cluster.freed, cluster.keeper.path))
    return [replace(cluster, number=number) for number, cluster in enumerate(built, start=1)]


def keeper_candidates(pairs: Pairs, rows: Sequence[int]) -> list[int]:
    """The few rows that are worth trying as the keeper.

    The largest, those nearest to all others, and the one that covers most others among the pairs matched so far.
    """
    means = dict(zip(rows, pairs.mean_distances(rows).tolist(), strict=True))
    middle = min(means.values())
    by_place = sorted(
        rows, key=lambda row: (int((means[row] - middle) / SAME_PLACE), -pairs.pixels(row), *pairs.by_quality(row))
    )
    twins = {row: (means[row], pairs.pixels(row), pairs.file(row)[0]) for row in rows}  # equal for copies of one file
    first = {twins[row]: row for row in reversed(by_place)}
    by_place.sort(key=lambda row: first[twins[row]] != row)
    by_size = sorted(by_place, key=lambda row: -pairs.pixels(row))
    by_matches = sorted(by_place, key=lambda row: -pairs.covered_by[row])
    return sorted({*by_size[:BY_SIZE], *by_place[:BY_PLACE], *by_matches[:BY_MATCHES]})


def choose_keeper(pairs: Pairs, rows: Sequence[int], candidates: Sequence[int]) -> int:
    """The candidate that lets most other rows go, or nearly most: few too many is better than the original too few.

    Of several, one that no other shows at a higher resolution (a larger canvas is none) or without marks that it
    carries; then one in the middle of the cluster, since each edit departs from the original; then the least
    compressed, the oldest, and the first by path.
    """
    going = {keeper: sum(pairs.member(row, keeper).removable for row in rows) for keeper in candidates}
    left = [keeper for keeper in candidates if going[keeper] >= max(going.values()) - ALMOST * len(rows)]
    left = [keeper for keeper in left if not any(_is_worse(pairs, keeper, other) for other in left)] or left
    means = dict(zip(rows, pairs.mean_distances(rows), strict=True))
    middle = min(means[keeper] for keeper in left)
    left = [keeper for keeper in left if means[keeper] <= middle + SAME_PLACE]
    return min(left, key=pairs.by_quality)


def _is_worse(pairs: Pairs, keeper: int, other: int) -> bool:
    view = pairs.view(keeper, other) if other != keeper else None
    return view is not None and (view.resolution > 1 / COVERED or view.marks > view.hidden + UNMARKED)


class _Group(NamedTuple):
    """Rows of one cluster, and of the files that contain its picture beside others."""

    rows: list[int]
    containers: dict[int, float]  # container -> share of it that the contained picture makes up


def _groups(labels: np.ndarray, matches: Mapping[tuple[int, int], Match]) -> list[_Group]:
    """Rows by label; with each cluster, or unique file, the unique files that contain its picture."""
    groups: defaultdict[tuple, _Group] = defaultdict(lambda: _Group([], {}))
    for row in np.flatnonzero(labels >= 0).tolist():
        groups["label", int(labels[row])].rows.append(row)
    parts = _best_parts(labels, matches)
    for container, (_, share) in sorted(parts.items()):
        root = _root(container, parts)
        home = groups["label", int(labels[root])] if labels[root] >= 0 else groups["alone", root]
        if labels[root] < 0 and not home.rows:
            home.rows.append(root)
        if container != root:
            home.containers[container] = share
    return [group for group in groups.values() if len(group.rows) + len(group.containers) > 1]


def _best_parts(labels: np.ndarray, matches: Mapping[tuple[int, int], Match]) -> dict[int, tuple[int, float]]:
    """For each unique file that contains others, the one that makes up most of it, and that share."""
    found: defaultdict[int, list[tuple]] = defaultdict(list)
    for (i, j), match in matches.items():
        if match.kind == "contains":
            ends = sorted(((match.first_coverage, i), (match.second_coverage, j)))
            (share, container), (_, part) = ends
            if labels[container] < 0:
                found[container].append((-share, match.distance, part))
    best = {container: min(parts) for container, parts in found.items()}
    return {container: (part, -negative) for container, (negative, _, part) in best.items()}


def _root(container: int, parts: Mapping[int, tuple[int, float]]) -> int:
    """What a container contains in the end; of files that contain each other, the first."""
    way = [container]
    while way[-1] in parts:
        part = parts[way[-1]][0]
        if part in way:
            return min(way[way.index(part) :])
        way.append(part)
    return way[-1]


def _build(pairs: Pairs, group: _Group, candidates: Sequence[int]) -> Cluster:
    keeper = choose_keeper(pairs, group.rows, candidates)
    members = [pairs.member(row, keeper) for row in group.rows if row != keeper]
    for row, share in group.containers.items():
        member = pairs.member(row, keeper)
        if member.kind != "contains":  # it holds another member than the keeper
            reason = "shows a member of the cluster beside other things"
            member = replace(member, kind="contains", coverage=share, removable=False, reason=reason)
        members.append(member)
    members.sort(key=lambda member: (not member.removable, member.distance, member.path))
    return Cluster(0, pairs.member(keeper, keeper), tuple(members))
