"""Which archive file stays for which incoming ones: groups in, a group for each keeper in the archive out.

A group may hold several archive files that each show some of the incoming ones. Those that let most go are taken
first, but a file whose very picture is there goes for that; one that none of them lets go comes with what shows most.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from heapq import nsmallest
from typing import NamedTuple

from dedup.clustering.keeper import keeper_candidates
from dedup.clustering.members import COVERED, what_is_missing
from dedup.clustering.pairs import Pairs
from dedup.matching.classification import TWINS

NEAR = 3  # archive files, nearest to an incoming one, that are tried as its keeper


class Group(NamedTuple):
    """Rows of one cluster, and of the files that contain its picture beside others."""

    rows: list[int]
    containers: dict[int, float]  # container -> share of it that the contained picture makes up

    def only(self, wanted: Container[int]) -> Group:
        """The part of it that is wanted."""
        containers = {row: share for row, share in self.containers.items() if row in wanted}
        return Group([row for row in self.rows if row in wanted], containers)


def share_out(pairs: Pairs, groups: Sequence[Group]) -> tuple[list[tuple[Group, int]], list[Group]]:
    """Split groups with archive files into one for each file of these that stays for others, and the keepers; the rest.

    Every incoming file of the first is in one of them, archive files that keep nothing are in none. The rest are groups
    of incoming files alone; those of archive files alone are left out.
    """
    mixed, rest = [], []
    for group in groups:
        rows = {*group.rows, *group.containers}
        archived = {row for row in rows if pairs.archived(row)}
        incoming, keepers = group.only(rows - archived), [row for row in group.rows if row in archived]
        if keepers and rows - archived:
            mixed.append((incoming, _candidates(pairs, keepers, sorted(rows - archived))))
        elif not keepers and len(rows - archived) > 1:
            rest.append(incoming)
    wanted = [(row, keeper) for _, tried in mixed for row in tried for keeper in tried[row]]
    pairs.match_all(wanted)
    pairs.look_closer([pair for pair in wanted if _may_go(pairs, *pair)])
    shared = ((each.only(rows), keeper) for each, tried in mixed for keeper, rows in _assigned(pairs, tried).items())
    return [(each._replace(rows=[keeper, *each.rows]), keeper) for each, keeper in shared], rest


def _candidates(pairs: Pairs, archived: Sequence[int], incoming: Sequence[int]) -> dict[int, set[int]]:
    """By incoming row, the archive files worth trying: those that could stay for the whole group, and the nearest."""
    of_all = keeper_candidates(pairs, archived)
    near = {
        row: nsmallest(NEAR, archived, key=lambda each, row=row: (pairs.distance(row, each), each)) for row in incoming
    }
    return {row: {*of_all, *near[row]} for row in incoming}


def _assigned(pairs: Pairs, tried: Mapping[int, set[int]]) -> dict[int, set[int]]:
    """The incoming rows by the keeper that they come with."""
    left, found, going = set(tried), {}, defaultdict(set)
    for row, keepers in tried.items():
        able = [keeper for keeper in keepers if pairs.member(row, keeper).removable]
        twins = [keeper for keeper in able if pairs.member(row, keeper).kind in TWINS]
        for keeper in twins or able:
            going[keeper].add(row)
    while going:
        best = min(going, key=lambda each: (-len(going[each] & left), -pairs.pixels(each), *pairs.by_quality(each)))
        if rows := going.pop(best) & left:
            found[best] = rows
            left -= rows
    for row in sorted(left):
        found.setdefault(max(tried[row], key=lambda keeper: _shown(pairs, row, keeper, found)), set()).add(row)
    return found


def _may_go(pairs: Pairs, row: int, keeper: int) -> bool:
    """Whether a file may go for a keeper, also if it is larger and shows no more detail."""
    view = pairs.view(row, keeper)
    if view and view.resolution < COVERED and not what_is_missing(view._replace(resolution=1.0)):
        pairs.is_enlarged(row, keeper)
    return pairs.member(row, keeper).removable


def _shown(pairs: Pairs, row: int, keeper: int, found: dict) -> tuple[float, bool, float, int]:
    """To sort keepers of a file by, none of which lets it go."""
    view = pairs.view(row, keeper)
    return view.coverage if view else -1.0, keeper in found, -pairs.distance(row, keeper), -keeper
