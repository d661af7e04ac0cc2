"""Clusters. Input: labels and confirmed pairs. Output: versions, the keeper of each, and the files that may go for it.

graph (n, n) CSR  ->  labels (n,), -1 = unique  ->  list[Cluster], each a keeper and its members

First evidence is gathered in phases (`Evidence`), then everything is decided from it (`versions`).
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from heapq import nsmallest
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix

from dedup.clustering.evidence import NOT_LOOKED_AT, Evidence, Pair
from dedup.clustering.members import INDIRECT, KEEPER, LEVELS, UNSEEN, Choice, Member, Reason, View, Why, changes_of
from dedup.clustering.versions import (
    Decision,
    Version,
    agreeing,
    chains,
    choose_version,
    decide,
    decide_for,
    find_versions,
    keys_of,
    possible_sources,
    stands_for,
)
from dedup.dataset.folder_rules import NOWHERE, Places
from dedup.matching.kinds import MatchKind
from dedup.store import Store

if TYPE_CHECKING:
    from dedup.encoder.embeddings import Embeddings
    from dedup.matching.confirmation import Match, Verifier
    from dedup.workers import Losses

__all__ = ["Cluster", "Member", "build_clusters", "cluster_labels"]

NEAREST = 2  # nearest files that a file is compared with, besides the possible keepers of its cluster
SAME_VERSION = 0.05  # cosine distance beyond which two files are seldom one version
CHAINED = 2  # best files of a chain that are compared with the rest of it
LESS_THAN_HELD = (Why.RESOLUTION, Why.COMPRESSION)  # reasons that do not count for a file made from its keeper
BESIDE = Reason(Why.CONTAINS, "shows a member of the cluster beside other things")


@dataclass(frozen=True)
class Cluster:
    """Files that show one picture, in one version or several.

    keeper : the best file of the version that covers most
    members : all but the keeper, by version; in each the best file first, then those that may go, by distance and path
    why : the reason for the keeper, against the second best file
    """

    number: int
    keeper: Member
    members: tuple[Member, ...]
    why: str = ""

    @property
    def freed(self) -> int:
        """Bytes that would be freed."""
        return sum(member.bytes for member in self.members if member.removable)


class Group(NamedTuple):
    """Rows of one cluster, and of the files that contain its picture beside others.

    containers : by row, the share of that file that the contained picture takes up
    keeper : the archive file that all others could go for, the first of the rows; None if there is none
    """

    rows: list[int]
    containers: dict[int, float]
    keeper: int | None = None

    def only(self, wanted: Container[int]) -> Group:
        """The part of it that is wanted."""
        containers = {row: share for row, share in self.containers.items() if row in wanted}
        return Group([row for row in self.rows if row in wanted], containers)


def cluster_labels(graph: csr_matrix, epsilon: float) -> np.ndarray:
    """Label connected files, by DBSCAN (Ester et al., 1996); a cluster has at least two files.

    Parameters
    ----------
    graph : (n, n) CSR of cosine distances, symmetric; a stored zero is an exact copy, an entry not stored is too far
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
    remove: str = "copies",
    num_workers: int = 0,
) -> list[Cluster]:
    """Find the versions in every cluster and the best file of each, and decide whether each other file may go.

    A file may go if its own match with its keeper is as sure as `remove` asks, the keeper shows all of it at no lower
    resolution, neither is hidden under marks, and neither what it holds beside its picture nor a comparison at full
    resolution speaks against it.

    Parameters
    ----------
    embeddings : of the n files below images_dir
    labels : (n,) int, -1 = unique
    verifier : whose matches join the files of a cluster; None = members within `epsilon` of the keeper may go
    epsilon : cosine distance in [0, 2]; read only without a verifier
    places : which files are preferred as keepers; folders whose files never go; archives
    facts : remembers what was found out about files, and notes what could not be
    remove : exact, copies or edits: how far removal goes
    num_workers : processes that read and compare; 0 = this one

    Returns
    -------
    list of Cluster, numbered from 1: those that free most bytes first, then by the keeper's path. Files that contain
    the picture of a cluster beside other things are in it, and always stay. Of files in archives only the keepers are
    in clusters; then two clusters may show one picture, each with another keeper

    Raises
    ------
    ValueError : neither a verifier nor an epsilon, or no such level
    """
    if verifier is None and epsilon is None:
        raise ValueError("without a verifier, epsilon says which members may go: give one of the two")
    if remove not in LEVELS:
        raise ValueError(f"remove is one of {', '.join(LEVELS)}, got {remove!r}")
    facts = facts or Store(losses=verifier.losses if verifier else None)
    evidence = Evidence(embeddings, verifier, images_dir, epsilon, places, facts, num_workers)
    groups = groups_of(labels, verifier.matches if verifier else {})
    evidence.read_files(row for group in groups for row in (*group.rows, *group.containers))
    groups = _with_archives(evidence, groups, remove)
    parted = _part(evidence, groups)
    decided = _decide_at_levels(evidence, groups, parted, remove)
    chosen = [dict(zip(LEVELS, each, strict=True)) for each in zip(*decided.values(), strict=True)]
    built = [_build(evidence, *each, remove) for each in zip(groups, parted, chosen, strict=True)]
    built.sort(key=lambda cluster: (-cluster.freed, cluster.keeper.path))
    return [replace(cluster, number=number) for number, cluster in enumerate(built, start=1)]


def staying(clusters: Sequence[Cluster], losses: Losses) -> list[Cluster]:
    """The clusters; members stay if something about them or their keeper could not be found out."""

    def why(reason: Reason | None, path: Path, keeper: Path | None) -> Reason | None:
        lost = keeper and reason in (None, UNSEEN) and losses.about(path, keeper)
        return Reason(Why.LOST, f"{NOT_LOOKED_AT}: {lost}") if lost else reason

    def of(member: Member) -> Member:
        levels = tuple(Choice(keeper, why(reason, member.path, keeper)) for keeper, reason in member.levels)
        return replace(member, reason=why(member.reason, member.path, member.keeper), levels=levels)

    return [replace(cluster, members=tuple(map(of, cluster.members))) for cluster in clusters]


def _part(evidence: Evidence, groups: Sequence[Group]) -> list[list[Version]]:
    """The versions of each group, that of its keeper first.

    The number of pairs compared for it grows as the number of files does, however large a group is.
    """
    for turn in range(CHAINED):
        evidence.match(pair for group in groups for pair in _with_best_of_chains(evidence, group, turn))
        _trace(evidence, groups)
    covers = evidence.covers()
    tried = [_keeper_candidates(evidence, group, covers) for group in groups]
    evidence.match(pair for some in tried for pair in itertools.combinations(some, 2))
    both = [(group, _not_covered(evidence, some)) for group, some in zip(groups, tried, strict=True)]
    evidence.match(pair for group, some in both for pair in _each_with(group, some))
    evidence.match(pair for group, some in both for pair in _nearest(evidence, group, some))
    for _ in range(CHAINED):
        would_be = [_with_any(find_versions(group.rows, evidence), some) for group, some in both]
        bests = [[version.best for version in some] for some in would_be]
        evidence.match(pair for each in zip(groups, bests, strict=True) for pair in _each_with(*each))
        _trace(evidence, groups)
    return [_in_order(evidence, *each) for each in both]


def _not_covered(evidence: Evidence, rows: Sequence[int]) -> list[int]:
    """The rows, without those that a row with more files of its version shows in full."""
    same = {row: len(evidence.alike.get(row, ())) for row in rows}
    beyond = {row: [other for other in rows if same[other] > same[row]] for row in rows}
    return [row for row in rows if not any(evidence.is_covered(row, other) for other in beyond[row])]


def _with_any(versions: Sequence[Version], rows: Sequence[int]) -> list[Version]:
    return [version for version in versions if set(rows).intersection(version.rows)]


def _keeper_candidates(evidence: Evidence, group: Group, covers: Counter[int]) -> list[int]:
    """The few rows that are worth comparing with all others: the largest, the most central, the one that shows most.

    The best row of a version stands for its others. The best row of the version with most rows is among them.
    """
    if group.keeper is not None:
        return [group.keeper]
    means = evidence.means(group.rows)
    central = sorted(group.rows, key=lambda row: (means[row], row))
    largest = sorted(central, key=lambda row: -evidence.files[row].pixels)
    preferred = [row for row in largest if evidence.files[row].preferred]
    tried = {central[0], largest[0], *preferred[:1], max(central, key=lambda row: covers[row])}
    if evidence.places.prefer:
        tried.add(keys_of(group.rows, evidence)[0].row)
    if evidence.verifier is None:
        return sorted(tried)
    homes = list(chains(group.rows, evidence))
    most = max(2, *map(len, homes))
    return sorted({keys_of(chain, evidence)[0].row for chain in homes if len(chain) == most or tried & set(chain)})


def _each_with(group: Group, keepers: Sequence[int]) -> Iterator[Pair]:
    return ((row, keeper) for keeper in keepers for row in (*group.rows, *group.containers))


def _nearest(evidence: Evidence, group: Group, keepers: Sequence[int]) -> Iterator[Pair]:
    """The rows that are not one version with a possible keeper, each with its nearest others of these."""
    rows = np.array([row for row in group.rows if not evidence.alike.get(row, set()).intersection(keepers)], int)
    for start in range(0, len(rows) if evidence.verifier else 0, 1024):
        block = rows[start : start + 1024]
        products = evidence.vectors[block] @ evidence.vectors[rows].T  # (<= 1024, len(rows))
        products[block[:, None] == rows[None]] = -np.inf  # itself
        nearest = np.argsort(-products, axis=1, kind="stable")[:, : min(NEAREST, len(rows) - 1)]
        for row, near, places in zip(block.tolist(), products, nearest, strict=True):
            yield from ((row, int(rows[place])) for place in places if near[place] >= 1 - SAME_VERSION)


def _with_best_of_chains(evidence: Evidence, group: Group, turn: int) -> Iterator[Pair]:
    """In each chain, the rows outside its first `turn` versions, each with the best of these rows."""
    for chain in chains(group.rows, evidence) if evidence.verifier else ():
        if len(chain) > 2:
            left = find_versions(chain, evidence)[turn:]
            yield from ((row, left[0].best) for version in left[1:] for row in version.rows)


def _trace(evidence: Evidence, groups: Sequence[Group]) -> None:
    """Find what the best file of each chain was made from, until the best one was made from no other."""
    waiting = [chain for group in groups for chain in chains(group.rows, evidence) if len(chain) > 1]
    while waiting:
        wanted = [(chain, pairs) for chain in waiting if (pairs := possible_sources(chain, evidence))]
        evidence.trace(pair for _, pairs in wanted for pair in pairs)
        waiting = [chain for chain, pairs in wanted if evidence.made_from.intersection(pairs)]


def _in_order(evidence: Evidence, group: Group, tried: Sequence[int]) -> list[Version]:
    """Versions of a group, that of its keeper first, then the nearest to that."""
    versions = find_versions(group.rows, evidence)
    if group.keeper is None:
        chosen = choose_version(_with_any(versions, tried), group.rows, evidence)
    else:
        same = [row for row in group.rows[1:] if evidence.is_one_version(row, group.keeper)]
        chosen = Version((group.keeper, *same), "lies in the archive")
        versions = find_versions([row for row in group.rows[1:] if row not in set(same)], evidence)
    others = [version for version in versions if version.best != chosen.best]
    return [chosen, *sorted(others, key=lambda version: (evidence.distance(version.best, chosen.best), version.best))]


def _decide_all(
    evidence: Evidence, groups: Sequence[Group], parted: Sequence[Sequence[Version]], remove: str
) -> list[dict[int, Decision]]:
    """What becomes of the files of each group; those with an archive file go for that alone."""
    return [
        decide(versions, evidence, remove)
        if group.keeper is None
        else decide_for(group.rows[1:], group.keeper, evidence, remove)
        for group, versions in zip(groups, parted, strict=True)
    ]


def _decide_at_levels(
    evidence: Evidence, groups: Sequence[Group], parted: Sequence[Sequence[Version]], remove: str
) -> dict[str, list[dict[int, Decision]]]:
    """What becomes of the files at each of LEVELS. Only files that go at this run's level are compared in full size."""
    found = {}
    for level in sorted(LEVELS, key=lambda level: level != remove):
        found[level] = examine(evidence, partial(_decide_all, evidence, groups, parted, level), level == remove)
    for some in itertools.chain.from_iterable(found.values()):
        for row, (keeper, reason) in some.items():
            if reason is None and evidence.is_unseen(row, keeper):
                some[row] = Decision(keeper, UNSEEN)
    return {level: found[level] for level in LEVELS}


def examine(
    evidence: Evidence, decide_all: Callable[[], list[dict[int, Decision]]], closer: bool = True
) -> list[dict[int, Decision]]:
    """Decide, and check the files that would go, slowest checks last, until all of them are checked.

    closer : whether the comparison at full resolution is one of the checks
    """
    while True:
        decided = decide_all()
        found = {(row, each.keeper): each.reason for some in decided for row, each in some.items()}
        going = {pair for pair, reason in found.items() if reason is None}
        shown = going | {pair for pair, reason in found.items() if reason and reason.code == Why.LEVEL}
        doubted = {pair for pair, reason in found.items() if reason and reason.code in LESS_THAN_HELD}
        if untraced := {pair for pair in doubted if evidence.is_one_version(*pair)} - evidence.traced:
            evidence.trace(untraced)
        elif uncompared := shown - evidence.contents.keys():
            evidence.compare_contents(sorted(uncompared))
        elif closer and (unseen := going - evidence.closer.keys()):
            evidence.look_closer(sorted(unseen, key=lambda pair: pair[::-1]))  # each keeper is decoded once
        else:
            return agreeing(decided, evidence) if evidence.places.merges else decided


def _with_archives(evidence: Evidence, groups: Sequence[Group], remove: str) -> list[Group]:
    """The groups; one with archive files is split, into a group for each archive file that incoming ones could go for.

    Every incoming file is in one of them. Archive files that no file could go for, and groups of these, are left out.
    """
    found, mixed = [], []
    for group in groups:
        rows = {*group.rows, *group.containers}
        archived = {row for row in rows if evidence.files[row].archived}
        keepers, incoming = [row for row in group.rows if row in archived], group.only(rows - archived)
        if keepers and rows - archived:
            mixed.append((incoming, {row: _near(evidence, row, keepers) for row in sorted(rows - archived)}))
        elif not keepers and len(rows - archived) > 1:
            found.append(incoming)
    pairs = [(row, keeper) for _, tried in mixed for row, some in tried.items() for keeper in some]
    evidence.match(pairs)
    examine(evidence, lambda: [decide_for([row], keeper, evidence, remove) for row, keeper in pairs])
    for incoming, tried in mixed:
        going = defaultdict(set)
        for row, keepers in tried.items():
            going[stands_for(row, keepers, evidence, remove)].add(row)
        parts = ((keeper, incoming.only(rows)) for keeper, rows in sorted(going.items()))
        found += [part._replace(rows=[keeper, *part.rows], keeper=keeper) for keeper, part in parts]
    return found


def _near(evidence: Evidence, row: int, keepers: Sequence[int]) -> list[int]:
    """The archive files nearest to an incoming one."""
    return nsmallest(NEAREST, keepers, key=lambda keeper: (evidence.distance(row, keeper), keeper))


def _build(
    evidence: Evidence,
    group: Group,
    versions: Sequence[Version],
    decided: Mapping[str, Mapping[int, Decision]],
    remove: str,
) -> Cluster:
    keeper = versions[0].best

    def of(row: int, number: int) -> Member:
        levels = tuple(Choice(evidence.paths[at[row].keeper], at[row].reason) for at in decided.values())
        return replace(member_of(evidence, row, number, decided[remove][row]), levels=levels)

    members = []
    for number, version in enumerate(versions, start=1):
        some = [of(row, number) for row in version.rows if row != keeper]
        members += some[: number > 1]
        members += sorted(some[number > 1 :], key=lambda member: (not member.removable, member.distance, member.path))
    for row, share in group.containers.items():
        member = member_of(evidence, row, 0, Decision(keeper, evidence.reason(row, keeper, "exact")))
        if member.kind != MatchKind.CONTAINS:  # it contains a member other than the keeper
            member = replace(member, kind=MatchKind.CONTAINS, coverage=share, reason=BESIDE)
        members.append(member)
    return Cluster(0, member_of(evidence, keeper, 1, None), tuple(members), versions[0].why)


def member_of(evidence: Evidence, row: int, version: int, decision: Decision | None) -> Member:
    """A file as a member of its cluster; as its keeper if there is no decision on it."""
    file = evidence.files[row]
    seen = Member(file.path, file.width, file.height, file.bytes, 0.0, KEEPER, 1.0, version)
    if decision is None:
        return seen
    keeper = decision.keeper
    view, place = evidence.view(row, keeper) or View(INDIRECT, 0.0, 0.0, 0.0, 0.0, 0.0), evidence.place(row, keeper)
    return replace(
        seen,
        distance=evidence.distance(row, keeper),
        kind=view.kind,
        coverage=view.coverage,
        keeper=evidence.paths[keeper],
        reason=decision.reason,
        place=place,
        changes=changes_of(view, place),
        merge=evidence.merges.get((row, keeper), {}),
    )


def groups_of(labels: np.ndarray, matches: Mapping[tuple[int, int], Match]) -> list[Group]:
    """Groups of rows with one label, each with the unique files that contain its picture; a unique file counts too."""
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
    """For each unique file that contains others, the one that takes up most of it, and that share."""
    found: defaultdict[int, list[tuple]] = defaultdict(list)
    for (i, j), match in matches.items():
        if match.kind == MatchKind.CONTAINS:
            ends = sorted(((match.first_coverage, i), (match.second_coverage, j)))
            (share, container), (_, part) = ends
            if labels[container] < 0:
                found[container].append((-share, match.distance, part))
    best = {container: min(parts) for container, parts in found.items()}
    return {container: (part, -negative) for container, (negative, _, part) in best.items()}


def _root(container: int, parts: Mapping[int, tuple[int, float]]) -> int:
    """The innermost picture in a container; of files that contain each other, the first."""
    way = [container]
    while way[-1] in parts:
        part = parts[way[-1]][0]
        if part in way:
            return min(way[way.index(part) :])
        way.append(part)
    return way[-1]
