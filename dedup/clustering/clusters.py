"""Clusters: labels and confirmed pairs in, keepers and what may go for them out.

graph (n, n) CSR  ->  labels (n,), -1 = unique  ->  list[Cluster], each a keeper and its members
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix

from dedup.clustering.archives import Group, share_out
from dedup.clustering.criteria import enlargements_wanted, traces_wanted
from dedup.clustering.keeper import (
    Search,
    better_equal,
    better_keeper,
    choose_keeper,
    count_going,
    few_of,
    keeper_candidates,
    why_kept,
)
from dedup.clustering.members import Member
from dedup.clustering.pairs import NOT_LOOKED_AT, Pairs
from dedup.dataset.folder_rules import NOWHERE, Places
from dedup.store import Store

if TYPE_CHECKING:
    from dedup.encoder.embeddings import Embeddings
    from dedup.matching.confirmation import Match, Verifier
    from dedup.workers import Losses

__all__ = ["Cluster", "Member", "build_clusters", "choose_keeper", "cluster_labels"]


ENOUGH = 10  # files of a cluster, at least, on which would-be keepers are tried
ROUNDS = 2  # in which a better keeper is looked for, each among the equals of the last one


@dataclass(frozen=True)
class Cluster:
    """Files that show one picture.

    members : all but the keeper, the removable ones first, then by distance and path
    why : what decided for the keeper, against the file that came nearest to it
    """

    number: int
    keeper: Member
    members: tuple[Member, ...]
    why: str = ""

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
    places: Places = NOWHERE,
    facts: Store | None = None,
) -> list[Cluster]:
    """Choose a keeper for every cluster, and say of every other member whether it may go and why not.

    A member may go if its own match with the keeper is confirmed, the keeper shows all of it at no lower resolution,
    neither is hidden under marks, and `contents.why_it_stays` and a closer look have nothing against it.

    Parameters
    ----------
    embeddings : of the n files below images_dir
    labels : (n,) int, -1 = unique
    verifier : whose matches join the files of a cluster; None = members within `epsilon` of the keeper may go
    epsilon : cosine distance in [0, 2]; read only without a verifier
    places : folders whose files are preferred as keepers, or never go; archives
    facts : what is remembered of the files' contents, and notes what could not be found out; None = nothing is

    Returns
    -------
    list of Cluster, numbered from 1: what frees most bytes first, then by the keeper's path. Files that contain the
    picture of a cluster beside other things come with it, and always stay. Of files in archives, the keepers alone are
    in clusters; two clusters may show one picture then, each with another keeper

    Raises
    ------
    ValueError : neither a verifier nor an epsilon
    """
    if verifier is None and epsilon is None:
        raise ValueError("without a verifier, epsilon says which members may go: give one of the two")
    facts = facts or Store(losses=verifier.losses if verifier else None)
    pairs = Pairs(embeddings, verifier, images_dir, epsilon, places, facts)
    kept, groups = share_out(pairs, _groups(labels, verifier.matches if verifier else {}))
    chosen = _choose_keepers(pairs, groups)
    kept += zip(groups, _choose_again(pairs, groups, chosen), strict=True)
    pairs.look_closer((row, keeper) for group, keeper in kept for row in group.rows)
    built = [_build(pairs, group, keeper) for group, keeper in kept]
    built.sort(key=lambda cluster: (-cluster.freed, cluster.keeper.path))
    return [replace(cluster, number=number) for number, cluster in enumerate(built, start=1)]


def staying(clusters: Sequence[Cluster], losses: Losses) -> list[Cluster]:
    """The clusters, with the members that stay since something of them or of their keeper could not be found out."""

    def of(member: Member, keeper: Member) -> Member:
        lost = member.removable and losses.about(member.path, keeper.path)
        return replace(member, removable=False, reason=f"{NOT_LOOKED_AT}: {lost}") if lost else member

    return [
        replace(cluster, members=tuple(of(member, cluster.keeper) for member in cluster.members))
        for cluster in clusters
    ]


def _choose_keepers(pairs: Pairs, groups: Sequence[Group]) -> list[int]:
    """The keeper of each group, matched with all its files."""
    candidates = [keeper_candidates(pairs, group.rows) for group in groups]
    tried = [_some(group.rows, keepers) for group, keepers in zip(groups, candidates, strict=True)]
    _match_with(pairs, tried, candidates)
    chosen = [
        choose_keeper(pairs, some.rows, keepers, is_sample=len(some.rows) < len(group.rows))
        for group, some, keepers in zip(groups, tried, candidates, strict=True)
    ]
    _match_with(pairs, groups, [[keeper] for keeper in chosen])
    for _ in range(ROUNDS):
        searches = [better_equal(pairs, group.rows, keeper) for group, keeper in zip(groups, chosen, strict=True)]
        better = _side_by_side(pairs, groups, searches)
        _match_with(pairs, groups, [[keeper] for keeper in better])
        chosen = [better_keeper(pairs, group.rows, *two) for group, *two in zip(groups, better, chosen, strict=True)]
    return chosen


def _side_by_side(pairs: Pairs, groups: Sequence[Group], searches: Sequence[Search]) -> list[int]:
    """What searches come to, one in each group. All go on by a step at a time, so that what they want is done at once.

    That is to match pairs, and to look for traces of how one was made from the other where nothing else decides.
    """
    found: dict[int, int] = {}
    while len(found) < len(searches):
        wanted: dict[int, list[tuple[int, int]]] = {}
        for number, search in enumerate(searches):
            if number not in found:
                try:
                    wanted[number] = next(search)
                except StopIteration as end:
                    found[number] = end.value
        pairs.match_all(pair for some in wanted.values() for pair in some)
        rivals = [(number, *two) for number, some in wanted.items() for two in some if two[0] != two[1]]
        pairs.enlarge_all(pair for _, *two in rivals for pair in enlargements_wanted(pairs, *two))
        pairs.trace_all(pair for number, *two in rivals for pair in traces_wanted(pairs, *two, groups[number].rows))
    return [found[number] for number in range(len(searches))]


def _choose_again(pairs: Pairs, groups: Sequence[Group], chosen: Sequence[int]) -> list[int]:
    """Another keeper where a closer look has files stay that another one, looked at as closely, lets go."""
    kept = list(zip(groups, chosen, strict=True))
    hoped = [count_going(pairs, group.rows, keeper) for group, keeper in kept]
    pairs.look_closer((row, keeper) for group, keeper in kept for row in group.rows)
    going = [count_going(pairs, group.rows, keeper) for group, keeper in kept]
    doubted = [n for n, group in enumerate(groups) if _lets_more_go(hoped[n], going[n], group)]
    others = _choose_keepers(pairs, [groups[n] for n in doubted])
    pairs.look_closer((row, other) for n, other in zip(doubted, others, strict=True) for row in groups[n].rows)
    better = {
        n: other
        for n, other in zip(doubted, others, strict=True)
        if _lets_more_go(count_going(pairs, groups[n].rows, other), going[n], groups[n])
    }
    return [better.get(n, keeper) for n, keeper in enumerate(chosen)]


def _lets_more_go(one: int, other: int, group: Group) -> bool:
    """Whether one number of files that go is clearly more than another, or there are any at all."""
    return one - other > few_of(group.rows) or one > other == 0


def _match_with(pairs: Pairs, groups: Sequence[Group], keepers: Sequence[Sequence[int]]) -> None:
    """Match every file of each group with each of its would-be keepers."""
    pairs.match_all(
        (row, keeper)
        for group, some in zip(groups, keepers, strict=True)
        for keeper in some
        for row in (*group.rows, *group.containers)
    )


def _some(rows: Sequence[int], keepers: Sequence[int]) -> Group:
    """The would-be keepers, and enough of a large cluster to tell which of them lets most of it go."""
    return Group(sorted({*rows[:: max(1, len(rows) // ENOUGH)], *keepers}), {})


def _groups(labels: np.ndarray, matches: Mapping[tuple[int, int], Match]) -> list[Group]:
    """Rows by label; with each cluster, or unique file, the unique files that contain its picture."""
    groups: defaultdict[tuple, Group] = defaultdict(lambda: Group([], {}))
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


def _build(pairs: Pairs, group: Group, keeper: int) -> Cluster:
    members = [pairs.member(row, keeper) for row in group.rows if row != keeper]
    for row, share in group.containers.items():
        member = pairs.member(row, keeper)
        if member.kind != "contains":  # it holds another member than the keeper
            reason = "shows a member of the cluster beside other things"
            member = replace(member, kind="contains", coverage=share, removable=False, reason=reason)
        members.append(member)
    members.sort(key=lambda member: (not member.removable, member.distance, member.path))
    why = "lies in the archive" if pairs.archived(keeper) else why_kept(pairs, group.rows, keeper)
    return Cluster(0, pairs.member(keeper, keeper), tuple(members), why)
